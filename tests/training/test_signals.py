"""Ctrl-C and a cluster's warning: the run saves at once, says how to continue, and continues as if nothing had happened."""

from __future__ import annotations

import signal
import time
from itertools import cycle
from pathlib import Path

import pytest

from surgrec.training.folder import RunFolder
from surgrec.training.preempt import listen
from tests.training.tiny import TRAIN, Runs, Warm, assert_same_run, lines_of, metrics_of, overrides, wait_until


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "number", "workers"),
    [("mae", signal.SIGINT, 2), ("jepa", signal.SIGTERM, 0)],
)
def test_a_signal_saves_and_the_same_command_continues(
    variant: str, number: signal.Signals, workers: int, warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "stopped")
    arguments = overrides(variant, footage, tmp_path, "stopped", f"data.workers={workers}")
    process = warm.start(arguments)
    wait_until(
        lambda: folder.metrics_file.exists() and len(folder.metrics_file.read_bytes().splitlines()) >= 4, process
    )
    process.signal(number, whole_group=True)  # as a terminal does: the loading processes get it too
    assert process.wait() == 130, process.log.read_text()
    said = process.log.read_text()
    assert f"stopped by {number.name}; saved in {folder.checkpoints}. The same command continues." in said
    assert "Traceback" not in said
    last = metrics_of(folder.path)[-1]["step"]
    assert (folder.checkpoints / "latest").read_text() == f"step_{last:08d}\n" and 4 <= last < 12

    warm.run([*arguments, "data.workers=0"])
    assert_same_run(folder.path, uninterrupted / variant)


def test_ctrl_c_before_the_first_step_is_one_sentence(warm: Warm, footage: Path, tmp_path: Path) -> None:
    process = warm.start(overrides("mae", footage, tmp_path, "early"))
    wait_until((tmp_path / "early" / "config.yaml").exists, process)
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    said = process.log.read_text()
    assert "Traceback" not in said and "continue" in said
    assert len(lines_of(tmp_path / "early" / "metrics.jsonl")) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mae", pytest.param("jepa", marks=pytest.mark.slow)])
def test_further_signals_while_it_saves_and_leaves_change_nothing(
    variant: str, warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path
) -> None:
    """All three, again and again from the first one to the end of the process."""
    folder = RunFolder(tmp_path / "hurried")
    arguments = overrides(variant, footage, tmp_path, "hurried")
    process = warm.start(arguments)
    wait_until(
        lambda: folder.metrics_file.exists() and len(folder.metrics_file.read_bytes().splitlines()) >= 4, process
    )
    numbers = cycle((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1))
    while process.is_alive():
        process.signal(next(numbers))
        time.sleep(0.002)
    assert process.wait() == 130, process.log.read_text()
    said = process.log.read_text()
    assert "; saved in " in said and "Traceback" not in said
    last = metrics_of(folder.path)[-1]["step"]
    assert (folder.checkpoints / "latest").read_text() == f"step_{last:08d}\n" and 4 <= last < 12
    warm.run(arguments)
    assert_same_run(folder.path, uninterrupted / variant)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "number"), [("ddp", signal.SIGUSR1), ("fsdp", signal.SIGTERM)])
def test_all_ranks_stop_after_the_same_step_when_one_of_them_is_asked_to(
    strategy: str, number: signal.Signals, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "asked")
    world = ("trainer.steps=1000", f"runtime={strategy}", "runtime.accelerator=cpu")
    ranks = warm.start_world(2, overrides("mae", footage, tmp_path, "asked", *world), TRAIN)
    wait_until(
        lambda: folder.metrics_file.exists() and len(folder.metrics_file.read_bytes().splitlines()) >= 4, ranks[0]
    )
    ranks[1].signal(number)
    said = [(rank.wait(), rank.log.read_text()) for rank in ranks]
    assert [status for status, _ in said] == [130, 130], said
    assert "stopped by a signal on another rank; saved in" in said[0][1] and "Traceback" not in f"{said}"
    last = metrics_of(folder.path)[-1]["step"]
    assert (folder.checkpoints / "latest").read_text() == f"step_{last:08d}\n" and last < 1000


def test_whoever_leaves_hears_no_signal_any_more() -> None:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        with listen() as stop:
            stop.is_leaving = True
        for number in former:
            signal.raise_signal(number)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def test_the_flag_names_the_first_signal_and_former_handlers_come_back() -> None:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with listen() as stop:
        assert not stop and stop.reason is None
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGINT)
        assert stop and stop.reason == "SIGUSR1"
    assert {number: signal.getsignal(number) for number in former} == former
