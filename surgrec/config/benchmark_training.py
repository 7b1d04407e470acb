"""The quickstart encoders of a benchmark, trained where they are not there.

In: a configuration. Out: run folders. It is its own file because here other commands of ours are started and waited for: each training is
what a user would type, and continues when the benchmark is started again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from surgrec.config.benchmark_schema import BenchmarkConfig
from surgrec.config.compose import compose_config, read_config
from surgrec.config.footage import provide_footage, resolve_footage
from surgrec.config.phases import spans_of
from surgrec.core.cores import usable_cores
from surgrec.core.errors import ToldError, UserError
from surgrec.training.checkpoint_facts import read_progress
from surgrec.training.checkpoint_listing import checkpoint_of
from surgrec.training.folder import RunFolder

_SECONDS_TO_SAVE = 30


def trained(config: BenchmarkConfig, variant: str) -> Path:
    """The run folder of a quickstart encoder."""
    return Path(config.paths.runs) / f"quickstart_{variant}"


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "config.yaml").is_file()


def is_trained(folder: Path) -> bool:
    """Whether its run came to its last step."""
    if not is_run(folder):
        return False
    try:
        step = read_progress(checkpoint_of(RunFolder(folder).checkpoints, None)).step
    except UserError:
        return False
    return step == spans_of(read_config(folder / "config.yaml")).num_steps


def train(config: BenchmarkConfig, variants: Sequence[str]) -> None:
    """Train them, with `processes` side by side where that is more than one: small encoders gain little from more cores each.

    Raises `ToldError` where one fails, once all have ended.
    """
    commands = {variant: _command(config, variant) for variant in variants}  # what is wrong is told before any begins
    at_once = max(1, min(config.processes, len(commands)))
    failed: dict[str, int] = {}
    names = list(commands)
    for first in range(0, len(names), at_once):
        some = names[first : first + at_once]
        failed |= _run({name: commands[name] for name in some})
    for variant, status in failed.items():
        error = UserError(f"training the quickstart {variant} ended with status {status}")
        error.status = status if status > 0 else 1
        raise ToldError(error)


def _command(config: BenchmarkConfig, variant: str) -> list[str]:
    folder = trained(config, variant)
    overrides = [
        f"+variant={variant}",
        "+experiment=quickstart",
        f"name={folder.name}",
        f"paths.runs={config.paths.runs}",
        f"paths.embedded={config.paths.embedded}",
    ]
    composed = compose_config(overrides)
    resolve_footage(composed)
    provide_footage(composed)  # once, before trainings that begin together would each synthesise it
    return [sys.executable, "-m", "surgrec.train", *overrides]


def _run(commands: dict[str, list[str]]) -> dict[str, int]:
    """All at the same time; returns the statuses that are not 0. Alone, one has the terminal; else each line says whose it is."""
    print(f"training the quickstart {' and '.join(name.upper() for name in commands)}", file=sys.stderr, flush=True)
    if len(commands) == 1:
        statuses = {name: subprocess.run(command, stdout=sys.stderr).returncode for name, command in commands.items()}
        return {name: status for name, status in statuses.items() if status}
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, usable_cores() // len(commands)))}
    started, readers = {}, []
    try:
        for name, command in commands.items():
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True, errors="replace"
            )
            started[name] = process
            assert process.stdout is not None
            readers.append(threading.Thread(target=_pass_on, args=(name, process.stdout)))
            readers[-1].start()
        return {name: status for name, process in started.items() if (status := process.wait())}
    finally:
        for process in started.values():
            try:
                process.wait(_SECONDS_TO_SAVE)  # Ctrl-C has reached it too, and it saves
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
        for reader in readers:
            reader.join()


def _pass_on(name: str, lines: IO[str]) -> None:
    for line in lines:
        print(f"{name}: {line}", end="", file=sys.stderr, flush=True)
