"""A process that has imported everything once and forks every run that it is told to start.

In: one order a line on standard input. Out: one answer a line on standard output. It is its own file because importing the
training command takes longer than the tiny runs of these tests; a fork of this process is a fresh process all the same: it can be
killed, gets signals, has its own environment, and leaves as a command does.

Orders: `{"start": [module, function, arguments], "env": {...}, "log": file, "crash": [folder, n] or null}` answers with the
process id; `{"wait": pid, "seconds": s}` answers with the exit status, negative for a signal, or null where it took longer and was killed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from surgrec.training.ending import ending_at_once

# what a file operation is called by Python's audit events (PEP 578)
_WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


def crash_before(folder: str, number: int) -> None:
    """Kill this process with SIGKILL just before its `number`-th operation that changes a file below `folder`, from 1."""
    done = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        is_write = event in _WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 0b11)
        if is_write and str(arguments[0]).startswith(folder):
            done += 1
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def run(order: dict[str, Any]) -> int:
    """What the forked process does."""
    os.setsid()  # a terminal of its own, so to speak: its workers are reached through its process group
    os.environ |= order["env"]
    with Path(order["log"]).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if order["crash"]:
        crash_before(*order["crash"])
    module, function, arguments = order["start"]
    sys.argv = [module, *arguments]
    return ending_at_once(lambda: int(getattr(importlib.import_module(module), function)() or 0))


def wait(pid: int, seconds: float) -> int | None:
    """The exit status of a fork."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def warm_up() -> None:
    """Import what a run needs, also what it imports late, and let Hydra find its plugins."""
    for module in (
        "surgrec.train",
        "surgrec.config.build",
        "tests.training.recorded",
        "surgrec.video.copy_reader",
        "surgrec.video.pyav_reader",
        "surgrec.video.open_readers",
        "pyarrow.dataset",
        "PIL.PngImagePlugin",
    ):
        importlib.import_module(module)
    compose = importlib.import_module("surgrec.config.compose")
    for variant in ("mae", "jepa"):
        compose.headline(compose.compose_config([f"+variant={variant}"]))  # remembers the published recipe
    gc.collect()
    gc.freeze()  # a fork neither copies nor visits what is here already


def serve() -> int:
    """Answer orders until standard input ends."""
    warm_up()
    print("ready", flush=True)
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "start" not in order:
            print(json.dumps(wait(order["wait"], order["seconds"])), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            return run(order)
        print(pid, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(serve())
