"""Processes that measure together: one that is killed costs its cell, one whose parent is gone ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import pytest

from surgrec.config import benchmark_processes
from surgrec.config.benchmark_compose import compose_benchmark
from surgrec.core.errors import UserError
from surgrec.evaluation.running.join import is_complete, join
from surgrec.evaluation.running.plan import Plan
from surgrec.features.baseline import FrozenModel
from tests.evaluation.running import tiny

GIVEN = "tasks.synthesised=tiny"


def _forked(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    """Processes that have what the test has patched."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(benchmark_processes.multiprocessing, "get_context", lambda method: context)
    monkeypatch.setattr(benchmark_processes, "build_plan", lambda config: plan)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_that_is_killed_costs_its_cell_alone(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the kernel kills what takes all memory. The next call tries the cell again."""
    videos, is_well, own = tiny.write_videos(tmp_path / "videos"), tmp_path / "is_well", os.getpid()

    def heavy(seed: int) -> FrozenModel:
        assert is_well.exists() or os.getpid() != own, "joining loads what would end it too"
        if not is_well.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return tiny.model(7)

    entrants = (tiny.entrant("heavy", heavy), tiny.entrant("light"), tiny.entrant("last"))
    plan = tiny.plan(tmp_path, videos, protocols=("knn", "frame_linear"), entrants=entrants, num_seeds=1)
    config = compose_benchmark([GIVEN, f"processes={processes}"])
    _forked(monkeypatch, plan)
    benchmark_processes.run_in_processes(config, plan)
    assert is_complete(plan)
    assert "gap: halves, heavy, knn: the process that measured it was ended by SIGKILL" in capfd.readouterr().err
    results = join(plan, {})
    assert "it has no number, and was not loaded" in results.encoders[0].weights["used"]
    assert results.encoders[1].num_parameters > 0
    is_well.touch()
    assert {(gap.task, gap.encoder) for gap in results.gaps} == {("halves", "heavy"), ("moments", "heavy")}
    assert {cell.encoder for cell in results.cells} == {"light", "last"} and len(results.cells) == 4
    benchmark_processes.run_in_processes(config, plan)
    assert join(plan, {}).gaps == () and len(join(plan, {}).cells) == 6


def test_a_process_that_is_asked_to_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put in its place, and no cell is a gap by it."""

    def ended(seed: int) -> FrozenModel:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        raise AssertionError

    videos = tiny.write_videos(tmp_path / "videos")
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant("one", ended),))
    _forked(monkeypatch, plan)
    with pytest.raises(UserError, match=r"1 process of 1 ended early \(.*process_0\.log\)"):
        benchmark_processes.run_in_processes(compose_benchmark([GIVEN, "processes=1"]), plan)
    assert not is_complete(plan) and not list(tmp_path.rglob("*.gap.json"))


def test_a_process_that_was_killed_as_it_took_work_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the lock of the work's number with it."""
    monkeypatch.setattr(benchmark_processes, "_HELD_SECONDS", 0.1, raising=False)
    context = multiprocessing.get_context("fork")
    next_unit, board = context.Value("i", 1), context.Array("i", [-1], lock=False)
    holder = context.Process(target=_die_with, args=(next_unit,))
    holder.start()
    holder.join()
    other = context.Process(target=benchmark_processes._taken, args=(next_unit, board, 0, [4, 2, 7]), daemon=True)
    other.start()
    other.join(20)
    assert other.exitcode == 0 and next_unit.get_obj().value == 2
    assert board[0] == 2, "whoever is killed before the first cell of what it took costs that cell, not all of them"


def test_a_crash_is_not_told_as_a_lack_of_memory(tmp_path: Path) -> None:
    """Also where the signal has no name."""
    told = [benchmark_processes._reason_of(number, tmp_path / "process_1.log") for number in (signal.SIGKILL, 11, 40)]
    assert "SIGKILL; this is mostly for lack of memory" in told[0]
    assert "SIGSEGV; see the end of process_1.log" in told[1] and "memory" not in told[1]
    assert "by signal 40; " in told[2]


def _die_with(next_unit: Synchronized[int]) -> None:
    next_unit.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_whose_parent_is_gone_ends(tmp_path: Path) -> None:
    """Also where the parent was killed before the process came so far as to look."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    config = compose_benchmark([GIVEN, f"paths.embedded={tmp_path}"])
    context = multiprocessing.get_context("fork")
    arguments = (config, context.Value("i", 0), context.Array("i", [-1]), 0, -1, tmp_path / "log", gone.pid)
    process = context.Process(target=_orphan, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == 1


def _orphan(*arguments: object) -> None:
    """Ends with 1 by nothing but the parent's absence."""
    benchmark_processes.build_plan = lambda config: time.sleep(20) or os._exit(3)  # type: ignore[assignment]
    try:
        benchmark_processes._work(*arguments)  # type: ignore[arg-type]
    finally:
        os._exit(4)
