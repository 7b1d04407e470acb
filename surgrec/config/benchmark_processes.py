"""The cells of a benchmark by several processes of one machine.

In: a configuration, its plan. Out: files of cells. It is its own file because here processes start, die and are waited for. They need
nothing of each other but the number of the next part: a process builds its own plan from the same configuration.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from ctypes import Array, c_int
from multiprocessing.process import BaseProcess
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
from surgrec.evaluation.results import Gap
from surgrec.evaluation.running.cells import Cells, Place
from surgrec.evaluation.running.plan import Plan, title_of
from surgrec.evaluation.running.run import Bench, run_cells

_LOOK_SECONDS = 0.5
_HELD_SECONDS = 5.0  # taking work takes microseconds: who holds the lock so long was killed with it
_ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KILLED = "this is mostly for lack of memory: run the same command again with fewer processes or a smaller features.batch_size"
_CRASHED = "see the end of {}, then run the same command again"


def run_in_processes(config: BenchmarkConfig, plan: Plan) -> None:
    """All cells, in `config.processes` processes.

    Where one of them is killed, as for lack of memory, or crashes, the cell that it was at becomes a gap that says so, and another process
    goes on after it. Raises `UserError` where one ended early in any other way; what was done is kept.
    """
    crew, cells, places = _Crew(config, plan), Cells(plan.folder / "cells"), plan.places()
    try:
        for part in range(config.processes):
            crew.start(part)
        with progress("cells", len(places)) as advance:
            known = 0
            while crew.is_working():
                time.sleep(_LOOK_SECONDS)
                crew.replace_lost(cells)
                done = cells.num_done(places)
                advance(done - known)
                known = done
    finally:
        crew.end()
    if failed := crew.failed():
        logs = ", ".join(map(str, failed))
        raise UserError(
            f"{counted(len(failed), 'process')} of {config.processes} ended early ({logs}); run the same command again to continue"
        )


class _Crew:
    """The processes, by their part, and the board on which each says which cell it is at, by its number; -1: at none."""

    def __init__(self, config: BenchmarkConfig, plan: Plan) -> None:
        self._config, self._plan = config, plan
        self._context = multiprocessing.get_context("spawn")
        # whoever is free takes the next, since parts are not of one length
        self._next_unit = self._context.Value("i", 0)
        self._board = self._context.Array("i", [-1] * config.processes, lock=False)  # who is killed gives no lock back
        self._of_part: dict[int, BaseProcess] = {}

    def start(self, part: int, after: int = -1) -> None:
        """A process that takes parts of the work; first it ends the one of which cell `after` is, where that is one."""
        log = self._log(part)
        if after < 0:
            write_text(log, "")
        self._board[part] = -1
        arguments = (self._config, self._next_unit, self._board, part, after, log, os.getpid())
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        self._of_part[part] = process

    def is_working(self) -> bool:
        return any(process.is_alive() for process in self._of_part.values()) or bool(self._lost())

    def replace_lost(self, cells: Cells) -> None:
        """The cell at which a process was killed is a gap, and not tried again by this call; so this ends."""
        for part in self._lost():
            number, status = self._board[part], self._of_part[part].exitcode or 0
            place = self._plan.places()[number]
            gap = Gap(place.task, place.encoder, title_of(place), _reason_of(-status, self._log(part)))
            cells.write_gap(place, gap)
            print(f"gap: {place.task}, {place.encoder}, {place.protocol}: {gap.reason}", file=sys.stderr, flush=True)
            self.start(part, number)

    def _lost(self) -> list[int]:
        """Parts whose process was at a cell when it was ended by a signal that nobody sends who only wants all to end."""
        return [
            part
            for part, process in self._of_part.items()
            if process.exitcode is not None
            and process.exitcode < 0
            and -process.exitcode not in _ASKED_TO_END
            and self._board[part] >= 0
        ]

    def end(self) -> None:
        for process in self._of_part.values():
            process.terminate()
        for process in self._of_part.values():
            process.join()

    def failed(self) -> list[Path]:
        """Logs of those that did not end well."""
        return [self._log(part) for part, process in self._of_part.items() if process.exitcode]

    def _log(self, part: int) -> Path:
        return self._plan.folder / f"process_{part}.log"


def _work(
    config: BenchmarkConfig,
    next_unit: Synchronized[int],
    board: Array[c_int],
    part: int,
    after: int,
    log: Path,
    parent: int,
) -> None:
    """What one process does; what it says goes to its log, since the parent shows the progress."""
    # the parent may have been killed while this process imported torch: its number comes from itself
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with log.open("a", buffering=1, encoding="utf-8") as target:
        os.dup2(target.fileno(), sys.stderr.fileno())
        os.dup2(target.fileno(), sys.stdout.fileno())
    torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores() // config.processes)))

    def run() -> int:
        plan = build_plan(config)
        units, bench, places = plan.units(config.processes), Bench(plan), plan.places()
        number_of = {place: number for number, place in enumerate(places)}
        first_of = [number_of[unit[0]] for unit in units]

        def begin(place: Place) -> None:
            board[part] = number_of[place]

        if after >= 0:
            unit = next(unit for unit in units if places[after] in unit)
            run_cells(plan, unit[unit.index(places[after]) + 1 :], bench, begin)
        while (taken := _taken(next_unit, board, part, first_of)) is not None:
            run_cells(plan, units[taken], bench, begin)
        board[part] = -1
        return 0

    sys.exit(run_command(run))


def _taken(next_unit: Synchronized[int], board: Array[c_int], part: int, first_of: list[int]) -> int | None:
    """The number of the next unit, None after the last. The first cell of it, `first_of`, is on the board before another takes the next:
    a process that is killed here has a cell, after which the rest of its unit is done.
    """
    lock, number = next_unit.get_lock(), next_unit.get_obj()  # which does not ask for the lock
    is_held = lock.acquire(timeout=_HELD_SECONDS)
    try:
        if (taken := number.value) >= len(first_of):
            return None
        board[part] = first_of[taken]
        number.value = taken + 1
        return taken
    finally:
        if is_held:
            lock.release()


def _reason_of(number: int, log: Path) -> str:
    """Why a process is no more that the signal `number` ended, and what to do."""
    names = {each.value: each.name for each in signal.Signals}
    advice = _KILLED if number == signal.SIGKILL else _CRASHED.format(log.name)
    return f"the process that measured it was ended by {names.get(number, f'signal {number}')}; {advice}"


def _end_with(parent: int) -> None:
    """End when the parent is gone: whoever starts the work again must find it alone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
