"""A run that hangs ends, with the stacks of its ranks in the run folder; one that is slow does not."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from surgrec.training import hang
from surgrec.training.folder import RunFolder
from surgrec.training.hang import HangWatch, watch_for_hangs
from tests.training.tiny import TRAIN, Runs, Warm, overrides, wait_until

SECONDS = 20.0  # much longer than a step of a tiny run takes, also on a machine that has others to serve


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_when_one_rank_stands_still_the_others_tell_where_they_wait_and_end(
    strategy: str, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "hung")
    endless = ("trainer.steps=100000", "trainer.checkpoint_every=3", f"runtime.hang_minutes={SECONDS / 60}")
    options = overrides("mae", footage, tmp_path, "hung", *endless, f"runtime={strategy}", "runtime.accelerator=cpu")
    first, second = warm.start_world(2, options, TRAIN)
    try:
        wait_until((folder.checkpoints / "latest").exists, first)  # saved beside the steps, so some steps after its own
        second.signal(signal.SIGSTOP)
        assert first.wait() == 1, first.log.read_text()
        said = first.log.read_text()
        assert f"nothing was done for {SECONDS / 60:g} minutes (runtime.hang_minutes)" in said
        assert f"are in {folder.stacks}; rank 1 wrote none, so look there first" in said
        stacks = (folder.stacks / "rank_0.txt").read_text()
        assert "train_stretch" in stacks and "Current thread" in stacks
        assert [file.name for file in folder.stacks.iterdir()] == ["rank_0.txt"]
        assert (folder.checkpoints / "latest").exists()
    finally:
        second.signal(signal.SIGKILL)
        second.wait()


@pytest.mark.slow
def test_when_all_hang_all_write_their_stacks_and_the_same_command_continues(
    warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "hung")
    options = overrides("mae", footage, tmp_path, "hung", f"runtime.hang_minutes={SECONDS / 60}")
    world = [*options, "runtime=ddp", "runtime.accelerator=cpu"]
    ranks = warm.start_world(2, world, "tests.training.stuck:main")
    assert [rank.wait() for rank in ranks] == [1, 1]
    said = [rank.log.read_text() for rank in ranks]
    assert sum("nothing was done for" in each for each in said) == 1, said
    assert "wrote none" not in "".join(said)
    for rank in range(2):
        assert "stand_still" in (folder.stacks / f"rank_{rank}.txt").read_text()
    warm.run(options)
    assert {file.name for file in folder.stacks.iterdir()} == {"rank_0.before.txt", "rank_1.before.txt"}, "kept"


def test_whoever_beats_lives_and_whoever_is_done_is_left_alone(tmp_path: Path) -> None:
    """In this very process, which it would end."""
    with watch_for_hangs(tmp_path / "stacks", 0, 1, 0.4 / 60) as watch:
        for thing in watch.beating(iter(range(12))):
            time.sleep(0.05)
            assert thing < 12
    time.sleep(0.6)
    assert not (tmp_path / "stacks").exists()


def end(folder: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[HangWatch], None] | None = None) -> HangWatch:
    """Let a watch end this process, which does not end."""

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(hang.os, "_exit", leave)
    monkeypatch.setattr(hang, "_MOST_SECONDS_FOR_THE_FOLDER", 0.1)
    if write is not None:
        monkeypatch.setattr(HangWatch, "_write_stacks", write)
    watch = HangWatch(folder, 0, 2, 0.2)
    with pytest.raises(SystemExit) as left:
        watch._end()
    assert left.value.code == hang.STATUS_HUNG
    return watch


def test_a_folder_that_refuses_all_keeps_no_run_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    end(tmp_path / ("x" * 300), monkeypatch)  # a name too long, which even looking there is refused
    said = capfd.readouterr().err
    assert "test_a_folder_that_refuses_all" in said and "rank 0, 1 wrote none" in said, (
        "the stacks, where there is room"
    )


def test_a_folder_that_does_not_answer_keeps_no_run_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = threading.Event()
    try:
        watch = end(tmp_path, monkeypatch, lambda watch: answers.wait() and None)
        assert watch._written() == [], "nobody asks a second time"
    finally:
        answers.set()
    assert "test_a_folder_that_does_not_answer" in capfd.readouterr().err


def test_what_ranks_wrote_that_are_no_more_is_of_an_earlier_hang(tmp_path: Path) -> None:
    for rank in range(4):
        (tmp_path / f"rank_{rank}.txt").write_text("File ...")
    for rank in (1, 0):
        with watch_for_hangs(tmp_path, rank, 2, 60.0):
            pass
    assert {file.name for file in tmp_path.iterdir()} == {f"rank_{rank}.before.txt" for rank in range(4)}


@pytest.mark.parametrize("minutes", [None, 0.0])
def test_without_a_limit_nothing_is_watched(minutes: float | None, tmp_path: Path) -> None:
    with watch_for_hangs(tmp_path, 0, 1, minutes) as watch:
        assert watch.seconds == math.inf and not watch._thread.is_alive()
    watch.beat()


def test_a_suspended_job_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    """What counts is how often was looked, so what the clock does in between does not."""
    watch = HangWatch(tmp_path, 0, 1, 1000.0)
    ended: list[float] = []
    watch._end = lambda: ended.append(1.0)  # type: ignore[assignment,method-assign]

    class Looks:
        """Time flies by between two looks."""

        def __init__(self) -> None:
            self.number = 0

        def wait(self, pause: float) -> bool:
            self.number += 1
            return self.number * pause > 900 or bool(ended)

    watch._is_over = Looks()  # type: ignore[assignment]
    watch._watch()
    assert ended == []
    watch._is_over = type("Patient", (Looks,), {"wait": lambda self, pause: bool(ended)})()  # type: ignore[assignment]
    watch._watch()
    assert ended == [1.0]
