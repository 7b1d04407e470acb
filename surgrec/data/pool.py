"""Processes that read chunks of clips ahead, and hand them over in order, whatever becomes of the processes.

In: a `ClipReader` and the positions of every chunk. Out: the clips, chunk after chunk. It is its own file because it owns the
processes: how they start, what they are ordered to read, what follows when one dies or hangs, how they end.

A decoder library can end its process (a bad file, a bug) or never come back. torch's DataLoader then ends the run, and its workers share
queues whose locks a killed process may take along; hence this pool, in which each process has a pipe of its own and shares nothing that
it could leave in disorder. A process that dies is replaced and its chunks are read again, to the same clips. A clip whose reading has
ended its process `_STRIKES` (see there), or has taken more than `timeout_seconds`, is read without that video: it counts as failed, with
the reason `crashed` or `hung`, so that another of its source takes its place by the rule of `ClipReader`. From that position on the video
is not read again, in this process of the run: later clips that had been read ahead are read once more, so that what comes out does
not depend on who read what when. See docs/decisions/0012-a-loader-that-outlives-its-workers.md.

Start method, measured on 2 cores with torch 2.13 (first item from 2 / 8 workers; memory of each): `fork` 0.1 / 0.2 s, 27 MB, but
the parent has threads (autograd, OpenMP, NCCL, pinning) whose locks a forked child inherits in whatever state they are, and
then hangs; `spawn` 1.2 / 8.5 s, 152 MB, since every worker imports torch; `forkserver` 1.2 / 1.4 s the first time, of which 1.2
is one import of torch that overlaps with building the model, and 0.03 / 0.14 s afterwards, 28 MB. So: forkserver.
"""

from __future__ import annotations

import atexit
import heapq
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection, wait
from typing import Any

from surgrec.data.board import Board, Reading
from surgrec.data.clips import Clip, ClipReader
from surgrec.data.errors import DataError
from surgrec.data.transport import Chunk, receive
from surgrec.data.worker import ONLY_THE_PARENT_ACTS, Ban, ChunkPositions, Order, work

__all__ = ["ChunkPositions", "PoolLimits", "ReaderPool", "prepare_fork_server"]

_CONTEXT = multiprocessing.get_context("forkserver")

# A clip's reading is given up after two deaths of its process by the decoder's doing, or four by SIGKILL, which is no decoder's: the
# kernel ends a process so when memory is short, and an operator does.
_STRIKES, _STRIKES_OF_A_DEATH, _STRIKES_OF_A_KILL = 4, 2, 1
CLOSED = "the loader was closed while its clips were still being read; iterate it anew"
_ORDERS_AHEAD = 2  # of a process: it need not wait for its next order
_START_SECONDS = 300.0  # to load torch, on a machine that is busy with starting everything else
_TICK_SECONDS = 0.5  # between looks for processes that hang
_END_SECONDS = 1.0  # for a process that was killed to be gone: later ones are not waited for
_LONGEST_FOLDER = 107 - len("/pymp-xxxxxxxx/listener-xxxxxxxx")  # bytes: Linux ends the path of a socket there
_CHUNKS_A_DEATH = 4  # so many chunks must arrive for each unexplained death, in the long run


def prepare_fork_server() -> None:
    """Start the fork server, which imports what workers need in the background; harmless where it runs already.

    The server and multiprocessing's resource tracker inherit the blocked signals for good: a cluster warns every process of
    a job, and either of them dying takes the workers along before the run has saved. The server also inherits where this
    process finds modules; Python 3.11 hands that over and then forgets it.
    """
    _CONTEXT.set_forkserver_preload(["surgrec.data.fork_server"])
    own_path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    _keep_path_of_sockets_short()
    try:
        for ensure_running in (resource_tracker.ensure_running, forkserver.ensure_running):  # the first one unblocks
            with _blocked_signals():
                ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if own_path is not None:
            os.environ["PYTHONPATH"] = own_path


def _keep_path_of_sockets_short() -> None:
    """Have multiprocessing keep its sockets under /tmp where the temporary folder, of a job say, has too long a name for them."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
        return
    own = tempfile.tempdir
    tempfile.tempdir = "/tmp"
    try:
        util.get_temp_dir()  # which it makes once, and removes at exit
    finally:
        tempfile.tempdir = own


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Hold back, for the processes that start meanwhile for ever, the signals that only this process may act on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ONLY_THE_PARENT_ACTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Start processes without the parent's `__main__`.

    A new process imports the script that started it, under another name: seconds for a training script, and a second run of
    a script without the `if __name__ == "__main__"` guard. Workers need nothing of it.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main).pop(name) for name in ("__spec__", "__file__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


@dataclass(frozen=True)
class PoolLimits:
    """How much is read ahead, and how long a video may take.

    `chunks`: not yet taken, those in the making included. `num_bytes`: of pixels, likewise; the chunk that is waited for is read whatever
    its size; one in the making counts as much as the largest so far, and until the first is there, each process makes one.
    `timeout_seconds`: for one video at one position.
    """

    chunks: int
    num_bytes: int
    timeout_seconds: float


class ReaderPool:
    """Reads the chunks in order, by processes that start with it and end with `close`.

    A thread orders, receives and watches, so that all goes on while the caller is at work between two calls of `next`.

    Args:
        reader: reads the clip at a position.
        chunks: the positions of every chunk.
        num_workers: processes, 1 or more.
        limits: of what is read ahead.
        say: is told, a sentence each, of processes that were replaced and videos that are read no more.

    Attributes:
        most_bytes: the most that lay ready or was reserved at once.
    """

    def __init__(
        self,
        reader: ClipReader,
        chunks: ChunkPositions,
        num_workers: int,
        limits: PoolLimits,
        say: Callable[[str], object],
    ) -> None:
        self._reader, self._chunks, self._limits, self._say = reader, chunks, limits, say
        self._board = Board(_CONTEXT, num_workers)
        self._changed = threading.Condition()
        self._ready: dict[int, Chunk] = {}
        self._bans: dict[int, Ban] = {}
        self._strikes: Counter[tuple[int, int]] = Counter()  # by (position, row)
        self._deaths: list[str] = []  # unexplained ones since the last chunks
        self._arrived = 0
        self._again: list[int] = []  # a heap of chunks to be read once more
        self._new = 0  # the first chunk that nobody was ordered to read
        self._taken = 0
        self._largest = 0
        self.most_bytes = 0
        self._clock = _Clock()
        self._error: BaseException | None = None
        self._is_closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._workers: list[_Worker] = []
        self._ending: list[
            _Worker
        ] = []  # killed, and not yet gone: the system may be at something for them that cannot be interrupted
        try:
            for slot in range(num_workers):
                self._workers.append(self._start(slot))
        except BaseException:
            self._end_all()
            raise
        self._keeper = threading.Thread(target=self._keep, name="clip-readers", daemon=True)
        self._keeper.start()
        atexit.register(self.close)  # before multiprocessing's own, which waits for children that ignore its SIGTERM

    def next(self) -> tuple[Clip, ...]:
        """The clips of the next chunk. Raises what reading them raised, or `DataError` where processes die again and again."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken in self._ready or self._error is not None or self._is_closed)
            if self._is_closed:
                raise DataError(CLOSED)
            if self._taken not in self._ready:
                assert self._error is not None
                raise self._error
            chunk = self._ready.pop(self._taken)
            self._taken += 1
            self._wake()
        if chunk.error is not None:
            raise chunk.error
        return chunk.clips

    def close(self) -> None:
        """End the processes, at once: what they were reading is of no use to anybody."""
        with self._changed:
            is_first = not self._is_closed
            self._is_closed = True
            self._changed.notify_all()
        if not is_first:
            return
        self._wake()
        if self._keeper is not threading.current_thread():
            self._keeper.join()
        self._end_all()
        self._ready.clear()
        atexit.unregister(self.close)

    def _end_all(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in [*self._workers, *self._ending]:
            worker.end(_END_SECONDS)
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # -- the keeper's thread

    def _keep(self) -> None:
        try:
            while not self._is_closed:
                self._order()
                self._hear()
                self._look_for_hangs()
        except BaseException as error:  # the caller's thread raises it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _hear(self) -> None:
        """Wait for what processes hand over, for the end of one, or for a change that this pool made itself."""
        heard = wait([*(worker.connection for worker in self._workers), self._wake_reader], _TICK_SECONDS)
        self._clock.tick()
        if self._wake_reader in heard:
            os.read(self._wake_reader, 4096)
        for slot, worker in enumerate(self._workers):
            if worker.connection in heard:
                self._take_from(slot, worker)

    def _take_from(self, slot: int, worker: _Worker) -> None:
        chunk = worker.take()
        if chunk is None:
            self._bury(slot, worker, None)
            return
        worker.orders.popleft()
        self._arrived += 1
        if self._deaths and self._arrived % _CHUNKS_A_DEATH == 0:
            self._deaths.pop(0)
        with self._changed:
            self._largest = max(self._largest, chunk.num_bytes)
            if self._is_stale(chunk):
                heapq.heappush(self._again, chunk.index)
            else:
                self._ready[chunk.index] = chunk
            self._changed.notify_all()

    def _order(self) -> None:
        """Give processes work, the idlest first, as far as may be read ahead."""
        while True:
            slot, worker = min(enumerate(self._workers), key=lambda pair: len(pair[1].orders))
            index = self._again[0] if self._again else self._new
            if len(worker.orders) >= (_ORDERS_AHEAD if self._largest else 1) or not self._may_read(index):
                return
            if self._again:
                heapq.heappop(self._again)
            else:
                self._new += 1
            worker.give(Order(index, dict(self._bans)), self._board.look(slot), self._clock.seconds)

    def _may_read(self, index: int) -> bool:
        with self._changed:
            if index >= len(self._chunks):
                return False
            lying = sum(chunk.num_bytes for chunk in self._ready.values())
            reserved = lying + self._largest * (1 + sum(len(worker.orders) for worker in self._workers))
            is_allowed = index == self._taken or (
                index < self._taken + self._limits.chunks and reserved <= self._limits.num_bytes
            )
            self.most_bytes = max(self.most_bytes, reserved if is_allowed else 0)
            return is_allowed

    def _look_for_hangs(self) -> None:
        for slot, worker in enumerate(self._workers):
            reading = self._board.look(slot)
            allowed = self._limits.timeout_seconds if reading.signs else _START_SECONDS
            if worker.seconds_silent(reading, self._clock.seconds) > allowed:
                self._bury(slot, worker, "hung", reading)
        self._ending = [worker for worker in self._ending if not worker.end(0.0)]

    def _bury(self, slot: int, worker: _Worker, reason: str | None, reading: Reading | None = None) -> None:
        """Replace a process that has ended, or that hangs at a `reading` (`reason` is hung); its chunks are read again."""
        reading = reading or self._board.look(slot)
        if not worker.end(_END_SECONDS):
            self._ending.append(worker)
        status = worker.process.exitcode
        for index in worker.orders:
            heapq.heappush(self._again, index)
        self._deaths.append(reason or str(status))
        if reading.row is not None:
            self._judge(reading, status, reason)
        self._check_storm()
        if not self._is_closed:
            self._workers[slot] = self._start(slot)

    def _judge(self, reading: Reading, status: int | None, reason: str | None) -> None:
        """Ban the video that was being read, if it has ended processes often enough."""
        assert reading.row is not None
        known = self._bans.get(reading.row)
        if known is not None and known.from_position <= reading.position:
            self._deaths.pop()  # explained: this process was reading the video when another's end was its last
            return
        place = reading.position, reading.row
        is_kill = status == -signal.SIGKILL and reason is None
        before = self._strikes[place]
        self._strikes[place] += _STRIKES if reason else _STRIKES_OF_A_KILL if is_kill else _STRIKES_OF_A_DEATH
        if self._strikes[place] < _STRIKES:
            self._say(
                f"a loading process ended with status {status} while it read {self._reader.name_of(reading.row)}; a new one "
                "reads it again"
            )
            return
        self._ban(reading.row, Ban(reading.position, reason or "crashed"))
        deaths = 1 + before // (_STRIKES_OF_A_KILL if is_kill else _STRIKES_OF_A_DEATH)
        del self._deaths[-deaths:]  # explained: a video costs a video, not the run

    def _ban(self, row: int, ban: Ban) -> None:
        """From the ban's position on, read the video no more; where it was found for a later position first, the earlier holds."""
        known = self._bans.get(row)
        if known is not None and known.from_position <= ban.from_position:
            return
        self._bans[row] = ban
        self._say(
            f"{self._reader.name_of(row)} is not read any more: at position {ban.from_position} its decoder {ban.reason}; others of "
            "its source take its place"
        )
        with self._changed:
            for index in [index for index, chunk in self._ready.items() if self._is_stale(chunk)]:
                del self._ready[index]
                heapq.heappush(self._again, index)

    def _is_stale(self, chunk: Chunk) -> bool:
        """Whether a chunk holds a clip of a video that is banned for it, read before that was known."""
        return any(
            (ban := self._bans.get(clip.row)) is not None and clip.position >= ban.from_position for clip in chunk.clips
        )

    def _check_storm(self) -> None:
        if len(self._deaths) <= 4 * len(self._workers) + 4:
            return
        ends = ", ".join(f"{count} times {end}" for end, count in Counter(self._deaths).most_common())
        raise DataError(
            f"loading processes died again and again while {self._arrived} chunks of clips were read (exit status {ends}; -9 is "
            "most often a machine out of memory): lower data.workers or data.prefetch_bytes, or set data.workers=0 to see what "
            "happens"
        )

    def _start(self, slot: int) -> _Worker:
        self._board.clear(slot)
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(
            target=work, args=(slot, self._board, self._reader, self._chunks, theirs), name=f"clip-reader-{slot}"
        )
        with _without_main_module():
            process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        return _Worker(process, ours, self._clock.seconds)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full: it will wake
            os.write(self._wake_writer, b".")


@dataclass
class _Worker:
    """A loading process, what it was ordered to read, and when it last gave a sign of life."""

    process: Any
    connection: Connection
    heard_seconds: float
    orders: deque[int] = field(default_factory=deque)
    signs: int = 0

    def give(self, order: Order, reading: Reading, now_seconds: float) -> None:
        if not self.orders:
            self.signs, self.heard_seconds = reading.signs, now_seconds
        self.orders.append(order.index)
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died; the pool will hear of it
            self.connection.send(order)

    def take(self) -> Chunk | None:
        """What it hands over; None where it has ended instead."""
        with suppress(EOFError):
            return receive(self.connection)
        return None

    def seconds_silent(self, reading: Reading, now_seconds: float) -> float:
        """How long it has owed a chunk and given no sign of life."""
        if not self.orders or reading.signs != self.signs:
            self.signs, self.heard_seconds = reading.signs, now_seconds
        return now_seconds - self.heard_seconds

    def end(self, wait_seconds: float) -> bool:
        """Kill the process; whether it is gone within the time."""
        self.process.kill()
        self.process.join(wait_seconds)
        self.connection.close()
        return self.process.exitcode is not None


class _Clock:
    """Seconds in which this process was running: while the whole job is suspended, no decoder hangs."""

    def __init__(self) -> None:
        self.seconds, self._last = 0.0, time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        self.seconds += min(now - self._last, 2 * _TICK_SECONDS)
        self._last = now
