"""Laws of the loader: one sequence for any number of ranks and workers, from any step, and processes that end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.core.spans import Spans
from surgrec.corpus.manifest import Manifest
from surgrec.data.clips import Clip, ClipReader, ClipSpec
from surgrec.data.errors import DataError
from surgrec.data.loader import ClipLoader, LoaderChain, PositionPlan, ReadAhead, fewest_micro_batches
from surgrec.data.mixture import Mixture
from surgrec.data.sampler import Sampler
from tests.data.readers import NumberReader, SlowReader, slow_loader

SPEC = ClipSpec(num_frames=4, frame_interval_seconds=0.3)
REPOSITORY = Path(__file__).resolve().parents[2]


def reader_of(manifest: Manifest) -> ClipReader:
    return ClipReader(manifest, Sampler(Mixture(manifest, "temperature"), 0, SPEC.span_seconds), SPEC)


def assert_same_clips(ours: list[Clip], theirs: list[Clip]) -> None:
    assert [(c.position, c.row, c.start_seconds, c.failures) for c in ours] == [
        (c.position, c.row, c.start_seconds, c.failures) for c in theirs
    ]
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module")
def expected(corpus: Manifest) -> list[Clip]:
    """The clips of positions 0 to 47."""
    reader = reader_of(corpus)
    return [reader.read(position) for position in range(48)]


# PositionPlan


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_ranks_and_micro_batches_share_out_the_same_slots(world_size: int, accumulation: int) -> None:
    plans = [PositionPlan(48, world_size, rank, accumulation) for rank in range(world_size)]
    for step in (0, 1, 10**9):
        parts = [plan.positions(step, micro) for micro in range(accumulation) for plan in plans]
        np.testing.assert_array_equal(np.concatenate(parts), np.arange(step * 48, (step + 1) * 48))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((30, 4, 0, 1), "use a global batch of 28 or 32, or keep it and start 1, 2, 3, 5, 6, 10, 15, 30 processes"),
        ((32, 4, 0, 3), "use a global batch of 24 or 36, or keep it and accumulate 1, 2, 4, 8"),
        ((2, 4, 0, 1), "use a global batch of 4, or keep it and start 1, 2 processes"),
        ((0, 1, 0, 1), "at least 1"),
        ((8, 2, 2, 1), "rank below"),
    ],
)
def test_a_batch_that_cannot_be_split_is_explained(sizes: tuple[int, int, int, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        PositionPlan(*sizes)


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
@pytest.mark.parametrize("most", [2, 3, 4, 7, 48])
def test_micro_batches_are_as_few_as_fit_on_any_number_of_processes(most: int, world_size: int, repeats: int) -> None:
    accumulation = fewest_micro_batches(48, world_size, most, repeats)
    plan = PositionPlan(48, world_size, 0, accumulation, repeats)
    assert plan.micro_batch_size <= most
    for fewer in range(1, accumulation):
        fits = 48 % (world_size * fewer * repeats) == 0 and 48 // (world_size * fewer) <= most
        assert not fits, f"{fewer} would do"


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (
            (48, 5, 4, 1),
            "use a global batch of 45 or 50, or keep it and start 1, 2, 3, 4, 6, 8, 12, 16, 24, 48 processes",
        ),
        (
            (48, 8, 8, 4),
            "data.repeats=4 samples; use a global batch of 32 or 64, or keep it and start 1, 2, 3, 4, 6, 12",
        ),
        ((48, 2, 3, 4), "runtime.device_batch_size=3 is below data.repeats=4.* set it to 4 or more"),
    ],
)
def test_a_world_that_no_accumulation_fits_is_explained(sizes: tuple[int, int, int, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        fewest_micro_batches(*sizes)


# Repeated samples


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_all_samples_of_a_clip_lie_in_one_micro_batch(world_size: int, accumulation: int) -> None:
    plans = [PositionPlan(48, world_size, rank, accumulation, repeats=3) for rank in range(world_size)]
    for step in (0, 7):
        micros = [(plan, micro) for micro in range(accumulation) for plan in plans]
        samples = np.concatenate([plan.positions(step, micro) for plan, micro in micros])
        np.testing.assert_array_equal(samples, np.arange(step * 48, (step + 1) * 48))
        for plan, micro in micros:
            np.testing.assert_array_equal(np.repeat(plan.clips(step, micro), 3), plan.positions(step, micro) // 3)
        clips = np.concatenate([plan.clips(step, micro) for plan, micro in micros])
        np.testing.assert_array_equal(clips, np.arange(step * 16, (step + 1) * 16))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((24, 2, 0, 1, 5), "data.repeats=5 samples; use a global batch of 20 or 30$"),
        ((16, 2, 0, 4, 4), "data.repeats=4 samples; use a global batch of 32, or keep it and accumulate 1, 2"),
        ((4, 2, 0, 1, 4), "use a global batch of 8, or keep it and start 1 processes"),
    ],
)
def test_a_batch_that_would_part_the_samples_of_a_clip_is_explained(sizes: tuple[int, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        PositionPlan(*sizes)


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_clip_is_read_once_for_all_its_samples(corpus: Manifest, expected: list[Clip], num_workers: int) -> None:
    plan = PositionPlan(24, accumulation=2, repeats=4)
    with ClipLoader(reader_of(corpus), plan, 1, 4, ReadAhead(num_workers)) as loader:
        batches = list(loader)
    assert_same_clips([clip for batch in batches for clip in batch.clips], expected[6:24])
    for batch in batches:
        pixels = [expected[position // 4].pixels for position in batch.positions]
        assert all(torch.equal(one, other) for one, other in zip(batch.pixels, pixels, strict=True))
        assert len(batch.clips) == 3 and len({id(one) for one in batch.pixels}) == 3


def test_a_chain_reads_phase_after_phase() -> None:
    spans = Spans([(2, 4), (3, 6)])

    def chain(first_step: int) -> LoaderChain:
        return LoaderChain([
            ClipLoader(NumberReader(), PositionPlan(span.batch, span=span), max(first_step, span.first_step), span.stop_step)  # type: ignore[arg-type]
            for span in spans.phases
        ])  # fmt: skip

    batches = list(chain(0))
    assert [batch.step for batch in batches] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.concatenate([batch.positions for batch in batches]), np.arange(26))
    for first in range(5):
        for again, whole in zip(chain(first), batches[first:], strict=True):
            np.testing.assert_array_equal(again.positions, whole.positions)
            assert again.step == whole.step


# Order


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_pixels_do_not_depend_on_workers(corpus: Manifest, expected: list[Clip], num_workers: int) -> None:
    plan = PositionPlan(12, accumulation=2)
    with ClipLoader(reader_of(corpus), plan, 0, 4, ReadAhead(num_workers)) as loader:
        batches = list(loader)
    assert [(batch.step, batch.micro) for batch in batches] == [
        (step, micro) for step in range(4) for micro in range(2)
    ]
    for batch in batches:
        np.testing.assert_array_equal(batch.positions, plan.positions(batch.step, batch.micro))
    assert_same_clips([clip for batch in batches for clip in batch.clips], expected)


@pytest.mark.parametrize(("world_size", "num_workers"), [(2, 1), (4, 0), (8, 0)])
def test_pixels_do_not_depend_on_the_world_size(
    corpus: Manifest, expected: list[Clip], world_size: int, num_workers: int
) -> None:
    reader = reader_of(corpus)
    clips: list[Clip] = []
    for rank in range(world_size):
        loader = ClipLoader(reader, PositionPlan(16, world_size, rank), 0, 3, ReadAhead(num_workers))
        clips.extend(clip for batch in loader for clip in batch.clips)
    assert_same_clips(sorted(clips, key=lambda clip: clip.position), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_starting_at_a_step_is_never_having_stopped(corpus: Manifest, expected: list[Clip], num_workers: int) -> None:
    loader = ClipLoader(reader_of(corpus), PositionPlan(8), 4, 6, ReadAhead(num_workers))
    assert len(loader) == 2
    assert_same_clips([clip for batch in loader for clip in batch.clips], expected[32:48])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_failures_travel_with_the_batch(with_broken: Callable[[dict[str, str]], Manifest], num_workers: int) -> None:
    reader = reader_of(with_broken({"alpha_01": "corrupt"}))
    batches = list(ClipLoader(reader, PositionPlan(16), 0, 2, ReadAhead(num_workers)))
    failures = [failure for batch in batches for failure in batch.failures]
    assert failures == [failure for position in range(32) for failure in reader.read(position).failures]
    assert failures


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_chunks_join_to_batches(batch_size: int, num_workers: int) -> None:
    loader = ClipLoader(NumberReader(), PositionPlan(batch_size), 2, 5, ReadAhead(num_workers, batches=1))  # type: ignore[arg-type]
    for batch in loader:
        assert [int(pixels[0, 0, 0, 0]) for pixels in batch.pixels] == (batch.positions % 256).tolist()
        assert len(batch.clips) == len(batch.source_index) == len(batch.rows) == batch_size
    assert batch.step == 4


def test_the_run_s_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    list(ClipLoader(NumberReader(), PositionPlan(2), 0, 2, ReadAhead(1)))  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())


def test_waiting_is_measured() -> None:
    loader = ClipLoader(SlowReader(), PositionPlan(2), 0, 3)  # type: ignore[arg-type]
    waited = [loader.seconds_waiting for _ in loader]
    assert waited == sorted(waited)
    assert waited[-1] >= 0.3
    list(loader)
    assert loader.seconds_waiting >= 0.6


def test_wrong_numbers_are_explained() -> None:
    for workers, prefetch in [(-1, 1), (1, 0)]:
        with pytest.raises(UserError, match="prefetch of 1 or more"):
            ReadAhead(workers, prefetch)


# Processes


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting for its parent to notice its end."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_end(pids: list[int], seconds: float = 20) -> None:
    """The processes end within `seconds` (in practice within a few tenths, on an idle machine)."""
    end = time.monotonic() + seconds
    while any(map(is_running, pids)):
        assert time.monotonic() < end, f"still running: {[pid for pid in pids if is_running(pid)]}"
        time.sleep(0.02)


def test_what_a_worker_cannot_read_is_one_sentence(with_broken: Callable[[dict[str, str]], Manifest]) -> None:
    reader = reader_of(with_broken({"gamma_00": "missing", "gamma_01": "missing"}))
    with pytest.raises(DataError) as caught:
        list(ClipLoader(reader, PositionPlan(8), 0, 8, ReadAhead(1)))
    assert str(caught.value).startswith("source 'gamma'")
    assert "Traceback" not in str(caught.value)


def test_workers_leave_signals_to_the_parent_and_end_with_the_loader() -> None:
    loader, batches, pids = slow_loader()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        for pid in pids:
            os.kill(pid, number)
    for _ in range(6):  # more than was read ahead
        next(batches)
    assert all(map(is_running, pids))
    loader.close()
    assert_end(pids)
    with pytest.raises(DataError, match="closed"):
        next(batches)


def test_a_new_iteration_ends_the_one_before() -> None:
    loader, _, pids = slow_loader(num_workers=1)
    batch = next(iter(loader))
    assert batch.step == 0
    assert_end(pids)
    loader.close()


CHILD = """
import multiprocessing, os, signal, sys, time
from tests.data.readers import slow_loader
if __name__ == "__mp_main__":
    raise SystemExit("a worker has imported the training script")
loader, batches, pids = slow_loader()
print(os.getpid(), *pids, flush=True)
{rest}
"""


def start_child(tmp_path: Path, rest: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A training script, in a session of its own, that reads and then runs `rest`; its workers' process ids."""
    script = tmp_path / "train.py"
    script.write_text(CHILD.format(rest=rest))
    child = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    pid, *workers = map(int, child.stdout.readline().split())
    assert pid == child.pid
    return child, workers


@pytest.mark.slow
def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    child, workers = start_child(tmp_path, "for _ in batches: pass")
    child.kill()
    assert_end(workers)
    child.communicate()


@pytest.mark.slow
def test_a_signal_to_the_whole_job_is_the_parent_s_to_answer_and_its_exit_does_not_hang(tmp_path: Path) -> None:
    rest = (
        "asked = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: asked.append('term'))\n"
        "signal.signal(signal.SIGUSR1, lambda *_: asked.append('usr1'))\n"
        "os.killpg(0, signal.SIGTERM), os.killpg(0, signal.SIGUSR1)\n"
        "try:\n    os.killpg(0, signal.SIGINT), time.sleep(5)\n"
        "except KeyboardInterrupt:\n    asked.append('ctrl-c')\n"
        "for _ in range(6): next(batches)\n"
        "print(*asked)\n"
        "raise SystemExit('stopped in the middle of an iteration')"
    )
    child, workers = start_child(tmp_path, rest)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out.split()) == (1, ["term", "usr1", "ctrl-c"])
    assert err == "stopped in the middle of an iteration\n"
    assert_end(workers)
