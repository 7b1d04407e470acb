"""A parallel map whose worker processes may die: a crash costs the one item that was being worked on.

In: a function of the module level and items. Out: pairs (index, result or `Crashed`) as they finish. It is its own file
because the standard pools give up as a whole when a worker dies, and decoder libraries do die on some damaged files.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Crashed:
    """What stands for the result of an item whose worker process died. `exit_code`: negative for a signal."""

    exit_code: int | None


def map_isolated(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int
) -> Iterator[tuple[int, Result | Crashed]]:
    """Apply `function` to each of `items` in `num_workers` processes; 0 works in this process, without the protection.

    An exception of `function` is raised here. Leaving the loop early, also by Ctrl-C, ends the workers.
    """
    if num_workers <= 0:
        for index, item in enumerate(items):
            yield index, function(item)
        return
    todo = iter(range(len(items)))
    workers = [_Worker(function) for _ in range(min(num_workers, len(items)))]
    try:
        busy = {worker.connection: worker for worker in workers if worker.give(todo, items)}
        while busy:
            for connection in wait(list(busy)):
                worker = busy.pop(connection)  # type: ignore[call-overload]
                yield worker.index, worker.take()
                if worker.has_died:
                    workers.remove(worker)
                    worker = _Worker(function)
                    workers.append(worker)
                if worker.give(todo, items):
                    busy[worker.connection] = worker
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Item, Result]):
    """One process and the pipe to it."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        context = multiprocessing.get_context("spawn")  # fork is unsafe beside the threads of a progress bar
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(function, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.index = -1
        self.has_died = False

    def give(self, todo: Iterator[int], items: Sequence[Item]) -> bool:
        """Send the next item; False where none is left."""
        index = next(todo, None)
        if index is None:
            return False
        self.index = index
        with suppress(BrokenPipeError):  # it died while idle; `take` will say so
            self.connection.send(items[index])
        return True

    def take(self) -> Result | Crashed:
        """The result, or the exception, or what is left of a dead worker."""
        try:
            is_good, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.has_died = True
            return Crashed(self._process.exitcode)
        if not is_good:
            raise value
        return value

    def end(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _work(function: Callable[[Any], Any], connection: Connection) -> None:
    """The worker process: answer items until the pipe closes."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, function(item))
        except Exception as error:
            answer = (False, error)
        connection.send(answer)
