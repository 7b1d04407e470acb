"""Killing a command with SIGKILL: before a renaming of its choice, or at random moments until it gets through.

In: a command. Out: how it ended. It is its own file because every command that writes files which later runs trust is tested so.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def killed_before_renaming(number: int, command: Callable[[], object]) -> int | None:
    """Exit code of a process that runs `command` and is killed in place of its renaming `number`, counted from 0."""
    process = multiprocessing.get_context("fork").Process(target=_run_and_die, args=(number, command))
    process.start()
    process.join()
    return process.exitcode


def _run_and_die(left: int, command: Callable[[], object]) -> None:
    rename = Path.replace

    def counted(self: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return rename(self, target)

    Path.replace = counted  # type: ignore[method-assign]
    command()


def killed_at_random(
    arguments: Sequence[str], longest_seconds: float, moments: random.Random, look: Callable[[], object]
) -> int:
    """Start a program again and again, kill each after a random part of `longest_seconds` and `look` at what it left, until one ends by
    itself, well; returns how often it was killed."""
    num_killed = 0
    while True:
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                status = process.wait(timeout=moments.uniform(0.15, 1.0) * longest_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                num_killed += 1
                time.sleep(0.2)  # its workers die with it, but not before it
                look()
                continue
        assert status == 0
        time.sleep(0.2)
        return num_killed
