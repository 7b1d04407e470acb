"""Work done ahead of whoever needs it, in threads.

In: jobs, each an iterator of results. Out: their results, those of one job in its order. It is its own file because decoding must go on
while the encoder computes, and because threads must end with whoever started them, whatever happens in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Result = TypeVar("Result")
_POLL_SECONDS = 0.1


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Ahead(Generic[Result]):
    """Iterates over the results of `jobs`, which `num_threads` threads compute, at most `depth` results ahead; use it in a `with` block.

    A job is begun by the next free thread, in the given order. What a job raises is raised here, once what came before it was handed out.
    """

    def __init__(self, jobs: Sequence[Callable[[], Iterator[Result]]], num_threads: int, depth: int) -> None:
        self._results: Queue[Result | _Failed | None] = Queue(maxsize=max(1, depth))
        self._jobs = iter(jobs)
        self._lock, self._is_over = threading.Lock(), threading.Event()
        count = min(max(1, num_threads), len(jobs))
        self._threads = [threading.Thread(target=self._work, name=f"ahead {i}", daemon=True) for i in range(count)]
        self._num_working = count
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Result]:
        while self._num_working:
            result = self._results.get()
            if result is None:
                self._num_working -= 1
            elif isinstance(result, _Failed):
                raise result.error
            else:
                yield result

    def close(self) -> None:
        """End the threads; results that were not asked for are lost."""
        self._is_over.set()
        while any(thread.is_alive() for thread in self._threads):
            try:
                self._results.get(timeout=_POLL_SECONDS)
            except Empty:
                continue

    def __enter__(self) -> Ahead[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        try:
            while not self._is_over.is_set() and (job := self._next_job()) is not None:
                for result in job():
                    if not self._put(result):
                        return
        except BaseException as error:
            self._put(_Failed(error))
        finally:
            self._put(None)

    def _next_job(self) -> Callable[[], Iterator[Result]] | None:
        with self._lock:
            return next(self._jobs, None)

    def _put(self, result: Result | _Failed | None) -> bool:
        """False where nobody wants results any more."""
        while not self._is_over.is_set():
            try:
                self._results.put(result, timeout=_POLL_SECONDS)
                return True
            except Full:
                continue
        return False
