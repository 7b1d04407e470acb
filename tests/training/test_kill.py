"""Killed with SIGKILL at any moment, the same command continues as if nothing had happened: same metrics, same bits."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from surgrec.training.folder import RunFolder
from tests.training.tiny import (
    VARIANTS,
    Running,
    Runs,
    Warm,
    assert_same_run,
    lines_of,
    overrides,
    start_command,
    state_of,
    wait_until,
)

Start = Callable[[], Running]


def num_lines(folder: Path) -> int:
    """Whole lines of `metrics.jsonl`."""
    file = RunFolder(folder).metrics_file
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill_after(seconds: float) -> Callable[[Running, Path], None]:
    """At a moment that the clock chooses: while it starts, or anywhere."""

    def kill(process: Running, folder: Path) -> None:
        time.sleep(seconds)
        process.signal(signal.SIGKILL)

    return kill


def kill_between_steps(more_lines: int, seconds: float = 0.0) -> Callable[[Running, Path], None]:
    """So many lines of metrics after it started, and a little later."""

    def kill(process: Running, folder: Path) -> None:
        wanted = num_lines(folder) + more_lines
        wait_until(lambda: num_lines(folder) >= wanted, process)
        time.sleep(seconds)
        process.signal(signal.SIGKILL)

    return kill


def kill_while_saving(seconds: float = 0.0) -> Callable[[Running, Path], None]:
    """As soon as a new partial checkpoint is seen, or a little later: while it is written, flushed, renamed or named."""

    def kill(process: Running, folder: Path) -> None:
        checkpoints = RunFolder(folder).checkpoints
        known = set(checkpoints.glob(".step_*"))
        wait_until(lambda: bool(set(checkpoints.glob(".step_*")) - known), process)
        time.sleep(seconds)
        process.signal(signal.SIGKILL)

    return kill


def moments(seed: int) -> list[Callable[[Running, Path], None]]:
    """Five moments: at the start, between steps, twice while saving, and one left to the clock."""
    chance = random.Random(seed)
    return [
        kill_after(chance.uniform(0.0, 1.0)),
        kill_between_steps(chance.randint(1, 3), chance.uniform(0.0, 0.05)),
        kill_while_saving(),
        kill_while_saving(chance.uniform(0.0, 0.1)),
        kill_after(chance.uniform(0.5, 2.0)),
    ]


def kill_again_and_again(start: Start, folder: Path, kills: list[Callable[[Running, Path], None]]) -> list[int]:
    """Start, kill, start again, ..., and run to the end; returns the statuses, -9 for a kill that landed in time."""
    statuses = []
    for kill in kills:
        process = start()
        kill(process, folder)
        statuses.append(process.wait())
        lines_of(RunFolder(folder).metrics_file)  # even now every line is whole: each is one write
    process = start()
    assert process.wait() == 0, process.log.read_text()
    return statuses


def check(start: Start, folder: Path, reference: Path, kills: list[Callable[[Running, Path], None]]) -> None:
    statuses = kill_again_and_again(start, folder, kills)
    assert statuses[0] == -signal.SIGKILL and set(statuses) <= {-signal.SIGKILL, 0}, statuses
    assert_same_run(folder, reference)
    assert not list(RunFolder(folder).checkpoints.glob(".step_*")), "what interrupted saves left is gone"


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_kill_while_saving(variant: str, warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path) -> None:
    arguments = overrides(variant, footage, tmp_path, "killed")
    check(lambda: warm.start(arguments), tmp_path / "killed", uninterrupted / variant, [kill_while_saving()])


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "workers"), [("mae", 0), ("jepa", 2)])
def test_five_kills(variant: str, workers: int, warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path) -> None:
    arguments = overrides(variant, footage, tmp_path, "killed", f"data.workers={workers}")
    kills = moments(seed=VARIANTS.index(variant) * 3 + workers)
    check(lambda: warm.start(arguments), tmp_path / "killed", uninterrupted / variant, kills)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["jepa"])
def test_kills_of_the_command_itself(variant: str, footage: Path, uninterrupted: Runs, tmp_path: Path) -> None:
    """Not a fork but `python -m surgrec.train`, killed in one of its imports, between steps, and while it saves."""
    arguments = overrides(variant, footage, tmp_path, "killed", "data.workers=2")
    kills = [kill_after(2.0), kill_between_steps(2), kill_while_saving()]
    check(lambda: start_command(arguments, tmp_path / "log"), tmp_path / "killed", uninterrupted / variant, kills)


SHORT = ("trainer.steps=2", "trainer.checkpoint_every=1", "trainer.keep_checkpoints=1", "mask.ratio=0.5")


@pytest.fixture(scope="module")
def short(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shortest run, undisturbed."""
    runs = tmp_path_factory.mktemp("short")
    warm.run(overrides("mae", footage, runs, "whole", *SHORT))
    return runs / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_killed_before_every_single_change_of_a_file(
    first: int, warm: Warm, footage: Path, short: Path, tmp_path: Path
) -> None:
    """All states that the run folder can be found in: before each file that is opened for writing, renamed or deleted."""
    for number in count(first, step=4):
        folder = tmp_path / f"killed_{number}"
        arguments = overrides("mae", footage, tmp_path, folder.name, *SHORT)
        status = warm.start(arguments, crash=(folder, number)).wait()
        if status == 0:  # there are not that many changes
            break
        assert status == -signal.SIGKILL
        warm.run(arguments)
        assert_same_run(folder, short)
        assert [path.name for path in folder.rglob("*.partial*") if path.parent.name != "checkpoints"] == []
        steps = [int(path.name.removeprefix("step_")) for path in folder.glob("checkpoints/step_*")]
        assert 2 in steps and all(state_of(folder, step) for step in steps), "whole or absent"
    assert number > 20
