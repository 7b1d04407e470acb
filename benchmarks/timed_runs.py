"""Trainings that last for so many minutes, however fast the machine is.

In: a command line of `surgrec train` and minutes. Out: finished run folders. It is its own file because the schedules of a run need its
number of steps before its first one: a short run of the same configuration, which is thrown away, tells how many the minutes hold.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from surgrec.core.atomic import write_json
from surgrec.core.console import progress
from surgrec.core.errors import UserError

MARGIN = 1.1  # more steps than the pace says, since a run that ends early has not met its minutes
_NEVER_STEPS = 100_000  # of a run that is stopped long before
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class TimedRun:
    """A run in the folder `runs/name` of `batch` clips a step; `options(steps)` is its command line."""

    name: str
    runs: Path
    batch: int
    options: Callable[[int], Sequence[str]]

    @property
    def folder(self) -> Path:
        return self.runs / self.name

    def is_done(self, steps: int) -> bool:
        """Whether its last checkpoint is that of the last step."""
        latest = self.folder / "checkpoints" / "latest"
        return latest.is_file() and latest.read_text().strip() == f"step_{steps:08d}"


def train_for(runs: Sequence[TimedRun], minutes: float, pace_seconds: float, file: Path) -> dict[str, int]:
    """Train the runs at the same time, as many steps each as fit; returns their numbers of steps, which `file` keeps.

    What was interrupted continues. Raises `UserError` where a training fails.
    """
    known: dict[str, int] = json.loads(file.read_text()) if file.is_file() else {}
    if any(run.name not in known for run in runs):
        rates = _paces(runs, pace_seconds)
        known |= {run.name: math.ceil(rates[run.name] * minutes * 60 * MARGIN) for run in runs}
        write_json(file, known)
    left = [run for run in runs if not run.is_done(known[run.name])]
    commands = {run.folder: _command(run, known[run.name], run.runs) for run in left}
    total = sum(known[run.name] for run in left)
    names = " and ".join(run.name for run in left)
    with started(commands) as processes, progress(f"training {names}, steps", total) as advance:
        done = 0
        while any(process.poll() is None for process in processes.values()):
            time.sleep(_LOOK_SECONDS)
            now = sum(last_step(run.folder) for run in left)
            advance(now - done)
            done = now
            _refuse_failed(processes)
        _refuse_failed(processes)
    return known


def _paces(runs: Sequence[TimedRun], seconds: float) -> dict[str, float]:
    """Steps a second of each, all at once, over the second half of `seconds` of training."""
    place = runs[0].runs / ".pace"
    shutil.rmtree(place, ignore_errors=True)
    commands = {place / run.name: [*_command(run, _NEVER_STEPS, place), "trainer.log_every=1"] for run in runs}
    with started(commands) as processes, progress("measuring the pace", None):
        while any(sum(each for _, each in lines_of(place / run.name, run.batch)) < seconds for run in runs):
            time.sleep(_LOOK_SECONDS)
            _refuse_failed(processes)
    paces = {}
    for run in runs:
        lines = lines_of(place / run.name, run.batch)
        later = lines[len(lines) // 2 :]
        paces[run.name] = sum(steps for steps, _ in later) / sum(each for _, each in later)
    shutil.rmtree(place)
    return paces


def _command(run: TimedRun, steps: int, runs: Path) -> list[str]:
    return [sys.executable, "-m", "surgrec.train", *run.options(steps), f"name={run.name}", f"paths.runs={runs}"]


def lines_of(folder: Path, batch: int) -> list[tuple[int, float]]:
    """(steps, seconds) of each line of the `metrics.jsonl` of a run of `batch` clips a step: how long they took, imports left out."""
    lines, before = [], 0
    for line in _metrics(folder):
        steps = int(line["step"]) - before
        lines.append((steps, batch * steps / float(line["clips_per_second"])))
        before = int(line["step"])
    return lines


def last_step(folder: Path) -> int:
    """The last one that was logged."""
    return int(max((line["step"] for line in _metrics(folder)), default=0))


def _metrics(folder: Path) -> list[dict[str, float]]:
    file = folder / "metrics.jsonl"
    text = file.read_text() if file.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


# -- processes


@contextmanager
def started(
    commands: Mapping[Path, Sequence[str]], has_log: bool = True
) -> Iterator[dict[Path, subprocess.Popen[bytes]]]:
    """Processes by the folder that they write. What they say is in FOLDER.log, or, without `has_log`, on stderr. However the block ends,
    they are asked to end and waited for, which saves a training."""
    processes: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for folder, command in commands.items():
            with _log(folder) if has_log else nullcontext(sys.stderr.buffer) as said:
                processes[folder] = subprocess.Popen(command, stdout=said, stderr=said)
        yield processes
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes.values():
            process.wait()


def log_of(folder: Path) -> Path:
    """Where a process says what it does."""
    return folder.with_name(f"{folder.name}.log")


def _log(folder: Path) -> BinaryIO:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return log_of(folder).open("ab")


def _refuse_failed(processes: Mapping[Path, subprocess.Popen[bytes]]) -> None:
    for folder, process in processes.items():
        if process.poll():
            said = log_of(folder).read_text(errors="replace").strip().splitlines()
            raise UserError(
                f"{folder.name} ended with status {process.returncode}: {said[-1] if said else 'it said nothing'}; "
                f"all of it is in {log_of(folder)}"
            )
