"""A parallel map whose worker processes may die, hang or swell: that costs the one item that was being worked on.

In: a function of the module level, items, and the limits of each. Out: pairs (index, result or `Failed`) as they finish.
It is its own file because the standard pools give up as a whole when a worker dies, wait for ever for one that hangs, and
decoder libraries do both on some damaged files.

A worker is a fresh interpreter ("spawn"). Its limits: time, kept by the parent, which kills it; memory beyond what it had
when the item came (RLIMIT_DATA, which counts what is written to and not the address space that libraries and threads
reserve); size of any file written (RLIMIT_FSIZE); and no core dumps, since a dump of a decoder holds pictures. A worker
whose parent dies, however it dies, dies too.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from surgrec.core.errors import UserError
from surgrec.video.errors import VideoError

_WAIT_SECONDS = 3600.0  # at most at a time: the system counts a wait in milliseconds, in 32 bits
LONGEST_SECONDS = 7 * 24 * 3600.0  # that any item may take, whatever size or length its file declares
_MOST_BYTES = 1 << 60

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """Of one item; None: none. `memory_bytes`: beyond what the worker had when it began; `file_bytes`: of each file written.

    They are reckoned from what files declare of themselves, so whatever is beyond all measure is brought down to `LONGEST_SECONDS` and
    to what the system can count.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None:
            object.__setattr__(self, "seconds", min(LONGEST_SECONDS, self.seconds))  # in this order also for NaN
        for name in ("memory_bytes", "file_bytes"):
            if (wanted := getattr(self, name)) is not None:
                object.__setattr__(self, name, min(_MOST_BYTES, wanted))


@dataclass(frozen=True)
class Crashed:
    """What stands for the result of an item whose worker process died. `exit_code`: negative for a signal."""

    exit_code: int | None

    def as_error(self) -> VideoError:
        return VideoError("crashed", f"the decoder library ended its process with status {self.exit_code}")


@dataclass(frozen=True)
class TimedOut:
    """What stands for the result of an item that took longer than its limit and was killed."""

    seconds: float

    def as_error(self) -> VideoError:
        return VideoError("too_slow", f"it took more than the {self.seconds:.0f} s that its size allows")


@dataclass(frozen=True)
class OutOfMemory:
    """What stands for the result of an item that needed more memory than its limit."""

    limit_bytes: int | None

    def as_error(self) -> VideoError:
        limit = f"{self.limit_bytes / 2**20:.0f} MiB" if self.limit_bytes is not None else "memory"
        return VideoError("too_large", f"it needs more than the {limit} that are allowed")


_BEGUN = ("begun", None)  # what a worker sends first, then its answer

Failed = Crashed | TimedOut | OutOfMemory
LimitsOf = Callable[[Item], Limits]


def map_isolated(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    num_workers: int,
    limits_of: LimitsOf | None = None,
) -> Iterator[tuple[int, Result | Failed]]:
    """Apply `function` to each of `items` in `num_workers` processes; 0 works in this process, without the protection.

    `limits_of` gives the limits of an item. An exception of `function` is raised here, but for a lack of memory, which is a
    `Failed` result. Leaving the loop early, also by Ctrl-C, ends the workers. Raises `UserError` for a negative `num_workers`.
    """
    if num_workers < 0:
        raise UserError(
            f"--workers is {num_workers}; give the number of processes, or 0 to work without their protection"
        )
    if num_workers == 0:
        for index, item in enumerate(items):
            yield index, function(item)
        return
    todo = iter(range(len(items)))
    limits_of = limits_of or (lambda item: Limits())
    workers = [_Worker(function, limits_of) for _ in range(min(num_workers, len(items)))]
    try:
        busy = {worker.connection: worker for worker in workers if worker.give(todo, items)}
        while busy:
            for worker in _finished(list(busy.values())):
                del busy[worker.connection]
                yield worker.index, worker.take()
                if not worker.is_usable:
                    worker.end()
                    workers.remove(worker)
                    worker = _Worker(function, limits_of)
                    workers.append(worker)
                if worker.give(todo, items):
                    busy[worker.connection] = worker
    finally:
        for worker in workers:
            worker.end()


def _finished(busy: list[_Worker]) -> list[_Worker]:
    """Those that have answered, died or run out of time; waits until there is one."""
    while True:
        next_deadline = min(worker.deadline for worker in busy)
        timeout = min(_WAIT_SECONDS, max(0.0, next_deadline - time.monotonic()))
        ready = wait([worker.connection for worker in busy], timeout)
        now = time.monotonic()
        if finished := [
            worker
            for worker in busy
            if (worker.connection in ready and not worker.has_begun()) or worker.deadline <= now
        ]:
            return finished


class _Worker(Generic[Item, Result]):
    """One process and the pipe to it."""

    def __init__(self, function: Callable[[Item], Result], limits_of: LimitsOf) -> None:
        context = multiprocessing.get_context("spawn")  # fork is unsafe beside the threads of a progress bar
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(function, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._limits_of = limits_of
        self._limits = Limits()
        self.deadline = math.inf
        self.index = -1
        self.is_usable = True
        self._message: tuple[str, Any] | None = None

    def give(self, todo: Iterator[int], items: Sequence[Item]) -> bool:
        """Send the next item; False where none is left."""
        index = next(todo, None)
        if index is None:
            return False
        self.index = index
        self._limits = self._limits_of(items[index])
        with suppress(BrokenPipeError):  # it died while idle; `take` will say so
            self.connection.send((items[index], self._limits))
        self.deadline = math.inf
        return True

    def has_begun(self) -> bool:
        """Whether what the worker sent is that it begins; from then on time counts, not while the interpreter starts."""
        if self._message is None:
            self._message = self._receive()
        if self._message != _BEGUN:
            return False
        self._message = None
        self.deadline = time.monotonic() + (math.inf if self._limits.seconds is None else self._limits.seconds)
        return True

    def _receive(self) -> tuple[str, Any]:
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            return ("death", self._process.exitcode)

    def take(self) -> Result | Failed:
        """The result, or the exception, or what is left of a dead worker; one that has not answered is out of time."""
        message, self._message = self._message, None
        if message is None:
            self.is_usable = False
            self._process.kill()
            self._process.join()  # whoever gets the result may touch the files that it was writing
            return TimedOut(self._limits.seconds or 0.0)
        kind, value = message
        self.is_usable = kind in ("result", "error")  # what a library leaves behind that lacked memory, nobody knows
        match kind:
            case "death":
                return Crashed(value)
            case "memory":
                return OutOfMemory(self._limits.memory_bytes)
            case "error":
                raise value
        return value

    def end(self) -> None:
        self.connection.close()
        self._process.kill()  # not SIGTERM, which a library's own code may hold up
        self._process.join()


# -- in the worker


def _work(function: Callable[[Any], Any], connection: Connection) -> None:
    """The worker process: answer items until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_die_with_parent, name="die-with-parent", daemon=True).start()
    while True:
        try:
            item, limits = connection.recv()
        except EOFError:
            return
        _limit(limits)
        connection.send(_BEGUN)
        try:
            answer = ("result", function(item))
        except MemoryError:
            answer = ("memory", None)
        except Exception as error:
            answer = ("error", error)
        _limit(Limits())
        connection.send(answer)


def _die_with_parent() -> None:
    """End this process the moment its parent ends, by `kill -9` too: nobody would take its result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _limit(limits: Limits) -> None:
    """Set the soft limits of this process, which it may raise again for the next item."""
    memory = None if limits.memory_bytes is None else _data_bytes() + limits.memory_bytes
    for kind, wanted in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, limits.file_bytes)):
        _, hard = resource.getrlimit(kind)
        is_lower = wanted is not None and (hard == resource.RLIM_INFINITY or wanted < hard)
        resource.setrlimit(kind, (wanted if is_lower and wanted is not None else hard, hard))


def _data_bytes() -> int:
    """Private writable memory of this process, what RLIMIT_DATA counts: VmData of /proc/self/status."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
