"""Processes that measure together: one that is killed costs its cell, one whose parent is gone ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
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
    videos, is_well = tiny.write_videos(tmp_path / "videos"), tmp_path / "is_well"

    def heavy(seed: int) -> FrozenModel:
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
    is_well.touch()  # so that joining can load it
    results = join(plan, {})
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


def test_a_process_whose_parent_is_gone_ends(tmp_path: Path) -> None:
    """Also where the parent was killed before the process came so far as to look."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    config = compose_benchmark([GIVEN, f"paths.embedded={tmp_path}"])
    context = multiprocessing.get_context("fork")
    arguments = (config, context.Value("i", 0), tmp_path / "log", gone.pid)
    process = context.Process(target=_orphan, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == 1


def _orphan(*arguments: object) -> None:
    benchmark_processes.build_plan = lambda config: time.sleep(20) or os._exit(3)  # type: ignore[assignment]
    benchmark_processes._work(*arguments)  # type: ignore[arg-type]
