"""The cells of a benchmark by several processes of one machine.

In: a configuration, its plan. Out: files of cells. It is its own file because here processes start, die and are waited for. They need
nothing of each other but the number of the next part: a process builds its own plan from the same configuration.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import torch

from surgrec.config.benchmark import build_plan
from surgrec.config.benchmark_schema import BenchmarkConfig
from surgrec.core.atomic import write_text
from surgrec.core.console import progress, run_command
from surgrec.core.cores import usable_cores
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.running.cells import Cells
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.run import Bench, run_cells

_LOOK_SECONDS = 0.5


def run_in_processes(config: BenchmarkConfig, plan: Plan) -> None:
    """All cells, in `config.processes` processes. Raises `UserError` where one of them ended before its work; what was done is kept."""
    context, places = multiprocessing.get_context("spawn"), plan.places()
    cells, started = Cells(plan.folder / "cells"), []
    next_unit = context.Value("i", 0)  # whoever is free takes the next part, since parts are not of one length
    try:
        for part in range(config.processes):
            log = plan.folder / f"process_{part}.log"
            write_text(log, "")
            process = context.Process(target=_work, args=(config, next_unit, log, os.getpid()), daemon=True)
            process.start()
            started.append(process)
        with progress("cells", len(places)) as advance:
            known = 0
            while any(process.is_alive() for process in started):
                time.sleep(_LOOK_SECONDS)
                done = cells.num_done(places)
                advance(done - known)
                known = done
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join()
    if failed := [part for part, process in enumerate(started) if process.exitcode]:
        logs = ", ".join(str(plan.folder / f"process_{part}.log") for part in failed)
        raise UserError(
            f"{counted(len(failed), 'process')} of {len(started)} ended early ({logs}); run the same command again to continue"
        )


def _work(config: BenchmarkConfig, next_unit: Synchronized[int], log: Path, parent: int) -> None:
    """What one process does; what it says goes to its log, since the parent shows the progress."""
    # the parent may have been killed while this process imported torch: its number comes from itself
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with log.open("a", buffering=1, encoding="utf-8") as target:
        os.dup2(target.fileno(), sys.stderr.fileno())
        os.dup2(target.fileno(), sys.stdout.fileno())
    torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores() // config.processes)))

    def run() -> int:
        plan = build_plan(config)
        units, bench = plan.units(config.processes), Bench(plan)
        while (unit := _taken(next_unit)) < len(units):
            run_cells(plan, units[unit], bench)
        return 0

    sys.exit(run_command(run))


def _taken(next_unit: Synchronized[int]) -> int:
    with next_unit.get_lock():
        next_unit.value += 1
        return next_unit.value - 1


def _end_with(parent: int) -> None:
    """End when the parent is gone: whoever starts the work again must find it alone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
