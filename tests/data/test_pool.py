"""Laws of the loading processes: whatever becomes of them, the clips are the same, and a video that does harm costs a video."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from surgrec.corpus.manifest import Manifest
from surgrec.data import pool
from surgrec.data.clips import Clip, ClipReader, ClipSpec
from surgrec.data.errors import DataError
from surgrec.data.loader import ClipLoader, PositionPlan, ReadAhead
from surgrec.data.mixture import Mixture
from surgrec.data.pool import PoolLimits, ReaderPool
from surgrec.data.sampler import Sampler
from tests.data.readers import (
    CountingReader,
    DyingReader,
    ForgottenReader,
    HarmfulReader,
    MistakenReader,
    NumberReader,
    SlowReader,
)
from tests.data.test_loader import assert_same_clips

SPEC = ClipSpec(num_frames=2, frame_interval_seconds=0.3)
NUM_CLIPS = 48
VICTIM = "alpha_02"


def reader_of(kind: type[ClipReader], manifest: Manifest, **attributes: Any) -> ClipReader:
    reader = kind(manifest, Sampler(Mixture(manifest, "temperature"), 0, SPEC.span_seconds), SPEC)
    vars(reader).update(attributes)
    return reader


def read_all(reader: Any, ahead: ReadAhead, said: list[str] | None = None) -> list[Clip]:
    """The clips of positions 0 to NUM_CLIPS - 1, in their order."""
    say = said.append if said is not None else lambda sentence: None
    with ClipLoader(reader, PositionPlan(8), 0, NUM_CLIPS // 8, ahead, say) as loader:
        clips = [clip for batch in loader for clip in batch.clips]
    assert [clip.position for clip in clips] == list(range(NUM_CLIPS))
    return clips


@pytest.mark.parametrize(
    ("harm", "reason"),
    [("crash", "crashed"), pytest.param("starve", "crashed", marks=pytest.mark.slow), ("hang", "hung")],
)
def test_a_video_that_does_harm_costs_that_video(corpus: Manifest, harm: str, reason: str) -> None:
    said: list[str] = []
    ahead = ReadAhead(2, batches=2, timeout_seconds=1.0)
    clips = read_all(reader_of(HarmfulReader, corpus, harm={VICTIM: harm}), ahead, said)
    assert_same_clips(clips, read_all(reader_of(HarmfulReader, corpus, harm={VICTIM: f"fail {reason}"}), ReadAhead()))
    failures = [failure for clip in clips for failure in clip.failures]
    assert {(failure.video_id, failure.reason) for failure in failures} == {(VICTIM, reason)}
    assert all(str(failure.replaced_by).startswith("alpha_") for failure in failures)
    assert said[-1].startswith(
        f"{VICTIM} is not read any more: at position {failures[0].position} its decoder {reason}"
    )


@pytest.mark.parametrize("num_workers", [2, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 4))])
def test_what_a_crash_changes_does_not_depend_on_who_read_what_when(corpus: Manifest, num_workers: int) -> None:
    """A video that crashes at some positions is given up from the first of them on, also where later ones were read already."""
    whole = read_all(reader_of(ClipReader, corpus), ReadAhead())
    number = [str(name) for name in corpus.video_ids].index(VICTIM)
    drawn = [clip.position for clip in whole if clip.row == number]
    first = next(position for position in drawn if position % 2)
    later = [position for position in drawn if position > first and position % 2 == 0]
    assert later, "the case that the law is about"
    clips = read_all(reader_of(HarmfulReader, corpus, harm={VICTIM: "crash at odd"}), ReadAhead(num_workers, batches=6))
    left = reader_of(ForgottenReader, corpus, harm={VICTIM: "fail crashed"}, from_position=first)
    assert_same_clips(clips, read_all(left, ReadAhead()))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_nothing(corpus: Manifest, seed: int) -> None:
    chance, is_over, kills = random.Random(seed), threading.Event(), 0

    def kill_now_and_then() -> None:
        nonlocal kills
        while kills < 10 and not is_over.wait(chance.uniform(0.02, 0.15)):  # more would be a storm, on a slow machine
            if pids := [child.pid for child in multiprocessing.active_children() if child.name.startswith("clip-")]:
                os.kill(chance.choice(pids), signal.SIGKILL)  # type: ignore[arg-type]
                kills += 1

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        clips = read_all(reader_of(ClipReader, corpus), ReadAhead(3, batches=1))
    finally:
        is_over.set()
        killer.join()
    assert kills >= 2
    assert_same_clips(clips, read_all(reader_of(ClipReader, corpus), ReadAhead()))
    assert not any(clip.failures for clip in clips)


def test_a_worker_killed_between_two_batches_is_replaced() -> None:
    before = set(multiprocessing.active_children())
    with ClipLoader(SlowReader(), PositionPlan(2), 0, 6, ReadAhead(2)) as loader:  # type: ignore[arg-type]
        positions = []
        for batch in loader:
            positions += batch.positions.tolist()
            if batch.step == 1:
                for child in set(multiprocessing.active_children()) - before:
                    child.kill()
    assert positions == list(range(12))


def test_processes_that_always_die_end_the_run_with_a_sentence() -> None:
    with pytest.raises(DataError, match=r"died again and again .*exit status 9 times 3; .*lower data.workers"):
        read_all(DyingReader(), ReadAhead(1))


def test_a_source_whose_videos_all_crash_ends_the_run_with_a_sentence(corpus: Manifest) -> None:
    harm = {f"gamma_{number:02d}": "crash" for number in range(2)}
    with pytest.raises(DataError, match=r"source 'gamma': none of 2 videos .*crashed"):
        read_all(reader_of(HarmfulReader, corpus, harm=harm), ReadAhead(2))


def test_a_mistake_in_a_worker_is_told_with_its_places_and_not_its_text() -> None:
    """Which may hold the name of a file."""
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError in a loading process, at(.|\n)*readers.py:\d+, read$"):
        read_all(MistakenReader(), ReadAhead(2))


# What is read ahead


class _OneByOne:
    """Chunks of one position."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Any:
        import numpy as np

        return np.array([index])


def num_read(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@pytest.mark.parametrize(("num_bytes", "chunks", "expected"), [(5_500, 50, 5), (10**9, 7, 7), (1, 50, 1)])
def test_no_more_is_read_ahead_than_allowed(tmp_path: Path, num_bytes: int, chunks: int, expected: int) -> None:
    reader: Any = CountingReader(tmp_path / "read")
    pool = ReaderPool(reader, _OneByOne(), 2, PoolLimits(chunks, num_bytes, 60.0), print)
    try:
        for taken in range(2):  # until the first is there, nobody knows how large they are
            assert [clip.position for clip in pool.next()] == [taken]
        for taken in range(2, 6):
            end = time.monotonic() + 20
            while num_read(reader.file) < taken + expected and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.1)  # time to read too much
            assert num_read(reader.file) == taken + expected
            (clip,) = pool.next()
            assert clip.position == taken
        assert pool.most_bytes <= max(num_bytes, 1_000)
    finally:
        pool.close()


def test_a_process_that_cannot_be_ended_at_once_keeps_nobody_waiting(
    corpus: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may be at something for it that it cannot interrupt, as with a network folder that is gone."""
    end, waited = pool._Worker.end, []

    def seems_to_stay(worker: Any, wait_seconds: float) -> bool:
        waited.append(wait_seconds)
        return end(worker, wait_seconds) and len(waited) > 4

    monkeypatch.setattr(pool._Worker, "end", seems_to_stay)
    clips = read_all(reader_of(HarmfulReader, corpus, harm={VICTIM: "hang"}), ReadAhead(2, timeout_seconds=1.0))
    assert_same_clips(clips, read_all(reader_of(HarmfulReader, corpus, harm={VICTIM: "fail hung"}), ReadAhead()))
    assert len(waited) > 4 and max(waited) <= 1.0


def test_what_cannot_be_started_leaves_nothing_behind() -> None:
    reader = NumberReader()
    reader.lock = threading.Lock()  # type: ignore[attr-defined]  # cannot travel to another process
    before, children = None, set(multiprocessing.active_children())
    for _ in range(3):
        with (
            pytest.raises(TypeError, match="pickle"),
            ClipLoader(reader, PositionPlan(4), 0, 10, ReadAhead(2)) as loader,
        ):  # type: ignore[arg-type]
            next(iter(loader))
        gc.collect()
        number = len(list(Path("/proc/self/fd").iterdir()))
        assert before in (None, number)
        before = number
    assert set(multiprocessing.active_children()) == children


def test_a_slow_consumer_gets_all_clips_in_order() -> None:
    limits = PoolLimits(6, 10**9, 60.0)
    reader: Any = NumberReader()
    pool = ReaderPool(reader, _OneByOne(), 2, limits, print)
    try:
        assert [clip.position for _ in range(100) for clip in pool.next()] == list(range(100))
    finally:
        pool.close()
    pool.close()  # twice does no harm


def test_clips_read_here_and_by_processes_are_alike(corpus: Manifest) -> None:
    reader = reader_of(ClipReader, corpus)
    here = read_all(reader, ReadAhead())
    there = read_all(reader, ReadAhead(4, num_bytes=1))
    assert_same_clips(here, there)
    assert all(clip.pixels.dtype == torch.uint8 for clip in there)


@pytest.mark.slow
def test_a_temporary_folder_with_a_long_name_keeps_no_process_from_starting(tmp_path: Path) -> None:
    """Where a job's TMPDIR is long, multiprocessing's own choice ends in "AF_UNIX path too long"."""
    folder = tmp_path / ("a" * 100)
    folder.mkdir()
    program = (
        "from surgrec.data.pool import _CONTEXT, prepare_fork_server; prepare_fork_server(); p = _CONTEXT.Process(target=print); "
        + ("p.start(); p.join(); raise SystemExit(p.exitcode)")
    )
    environment = {**os.environ, "TMPDIR": str(folder)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    assert list(folder.iterdir()) == []
