"""The end of a run that hangs.

In: a beat whenever something is done. Out: where none came for `runtime.hang_minutes`, the stacks of every rank in `stacks/rank_N.txt` of
the run folder, one sentence, and the end of the process with status 1, so that a scheduler starts it again. It is its own file because
it runs beside the loop, in a thread: whoever waits in a collective for a rank that will not come cannot tell anybody.
"""

from __future__ import annotations

import faulthandler
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TypeVar

STATUS_HUNG = 1

_MOST_SECONDS_BETWEEN_LOOKS = 5.0
_MOST_SECONDS_TO_WAIT_FOR_OTHERS = 20.0
_MOST_SECONDS_FOR_THE_FOLDER = 20.0  # to answer

Thing = TypeVar("Thing")


class HangWatch:
    """Ends the process when nothing is done for `seconds` (infinite: never); `folder` is shared by the ranks.

    All ranks hang together, but need not notice together: the first to do so waits a little for the others, which look, once they have
    been idle for half of the time, whether one has written. So a launcher that ends all with the first to go ends none too early. What a
    rank wrote in an earlier hang is kept as `rank_N.before.txt`. The folder may be what hangs, so nobody waits for it for long.
    """

    def __init__(self, folder: Path, rank: int, world_size: int, seconds: float) -> None:
        self.folder, self.rank, self.world_size, self.seconds = folder, rank, world_size, seconds
        self.file = folder / f"rank_{rank}.txt"
        self._beats = 0
        self._asking: threading.Thread | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang watch", daemon=True)

    def beat(self) -> None:
        """Something has been done."""
        self._beats += 1

    def beating(self, things: Iterator[Thing]) -> Iterator[Thing]:
        """The same, with a beat whenever one has come."""
        for thing in things:
            self.beat()
            yield thing

    def start(self) -> None:
        """From now on beats are expected. The first rank sees to what ranks wrote that there are no more."""
        gone = [file for file in self.folder.glob("rank_*.txt") if self.rank == 0 and self._is_of_none(file)]
        for file in (self.file, *gone):
            if file.exists():
                file.replace(file.with_suffix(".before.txt"))
        if math.isfinite(self.seconds):
            self._thread.start()

    def stop(self) -> None:
        """No more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        pause = min(self.seconds / 10, _MOST_SECONDS_BETWEEN_LOOKS)
        idle, beats = 0.0, -1
        while not self._is_over.wait(pause):
            # counted by looks, not by a clock: a job that a scheduler has suspended for an hour does not hang
            idle, beats = (idle + pause if beats == self._beats else 0.0), self._beats
            if idle >= self.seconds or (idle >= self.seconds / 2 and self._written()):
                self._end()

    def _is_of_none(self, file: Path) -> bool:
        """Whether it is of a rank of a larger world than this."""
        number = file.stem.removeprefix("rank_")
        return number.isdecimal() and int(number) >= self.world_size

    def _written(self) -> list[int]:
        """The ranks that have written their stacks; none where the folder does not tell."""
        names: set[str] = set()  # by one look at the folder, however many they are
        self._done(lambda: names.update(file.name for file in self.folder.iterdir()))
        return [rank for rank in range(self.world_size) if f"rank_{rank}.txt" in names]

    def _done(self, action: Callable[[], object]) -> bool:
        """Whether the folder let `action` be done. One that does not answer is asked one thing, by a thread that may be left behind."""
        if self._asking is not None and self._asking.is_alive():
            return False
        done = threading.Event()

        def ask() -> None:
            with suppress(OSError):
                action()
                done.set()

        self._asking = threading.Thread(target=ask, name="hang watch, at the folder", daemon=True)
        self._asking.start()
        self._asking.join(_MOST_SECONDS_FOR_THE_FOLDER)
        return done.is_set()

    def _end(self) -> NoReturn:
        if not self._done(self._write_stacks):  # the folder may be what hangs, or be full
            faulthandler.dump_traceback(file=2, all_threads=True)
        pause = min(self.seconds, _MOST_SECONDS_TO_WAIT_FOR_OTHERS) / 20
        for _ in range(20):
            if len(self._written()) == self.world_size:
                break
            time.sleep(pause)
        written = self._written()
        if self.rank == min(written, default=self.rank):
            self._tell(written)
        os._exit(STATUS_HUNG)  # nothing that hangs is asked

    def _write_stacks(self) -> None:
        """Those of all threads."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.file.open("w") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}: nothing done for {self.seconds / 60:g} minutes\n")
            file.flush()  # what follows goes past Python's buffer
            faulthandler.dump_traceback(file=file, all_threads=True)

    def _tell(self, written: list[int]) -> None:
        """In one write past Python's buffers, which a thread that hangs may hold."""
        silent = [str(rank) for rank in range(self.world_size) if rank not in written]
        of_whom = f"; rank {', '.join(silent)} wrote none, so look there first" if silent else ""
        sentence = (
            f"error: nothing was done for {self.seconds / 60:g} minutes (runtime.hang_minutes), so the run ends; the stacks of its "
            f"processes are in {self.folder}{of_whom}. The same command continues from the newest checkpoint.\n"
        )
        os.write(2, sentence.encode())


@contextmanager
def watch_for_hangs(folder: Path, rank: int, world_size: int, minutes: float | None) -> Iterator[HangWatch]:
    """A `HangWatch` while the block runs, which never ends anything where `minutes` is None or 0."""
    watch = HangWatch(folder, rank, world_size, 60 * minutes if minutes else math.inf)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
