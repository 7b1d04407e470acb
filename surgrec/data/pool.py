"""Worker processes that read chunks of clips ahead, and hand them over in order.

In: a `ClipReader` and the positions of every chunk. Out: the clips, chunk after chunk. It is its own file because it owns the
processes: how they start, what reaches them, how they end.

Start method, measured on 2 cores with torch 2.13 (first item from 2 / 8 workers; memory of each): `fork` 0.1 / 0.2 s, 27 MB, but
the parent has threads (autograd, OpenMP, NCCL, pinning) whose locks a forked child inherits in whatever state they are, and
then hangs; `spawn` 1.2 / 8.5 s, 152 MB, since every worker imports torch; `forkserver` 1.2 / 1.4 s the first time, of which 1.2
is one import of torch that overlaps with building the model, and 0.03 / 0.14 s afterwards, 28 MB. So: forkserver.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from surgrec.core.errors import UserError
from surgrec.data.clips import Clip, ClipReader
from surgrec.data.errors import DataError
from surgrec.data.mixture import Integers
from surgrec.data.transport import ClipChunk
from surgrec.data.worker import ONLY_THE_PARENT_ACTS, start_worker

_CONTEXT = multiprocessing.get_context("forkserver")


def prepare_fork_server() -> None:
    """Start the fork server, which imports what workers need in the background; harmless where it runs already.

    The server and multiprocessing's resource tracker inherit the blocked signals for good: a cluster warns every process of
    a job, and either of them dying takes the workers along before the run has saved. The server also inherits where this
    process finds modules; Python 3.11 hands that over and then forgets it.
    """
    _CONTEXT.set_forkserver_preload(["surgrec.data.fork_server"])
    own_path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        for ensure_running in (resource_tracker.ensure_running, forkserver.ensure_running):  # the first one unblocks
            with _blocked_signals():
                ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if own_path is not None:
            os.environ["PYTHONPATH"] = own_path


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Hold back, for the processes that start meanwhile for ever, the signals that only this process may act on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ONLY_THE_PARENT_ACTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ChunkPositions(Protocol):
    """The positions (n,) of chunk i, i from 0."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Integers: ...


class _ChunkDataset(Dataset[ClipChunk | UserError]):
    """What a worker does with the number of a chunk."""

    def __init__(self, reader: ClipReader, chunks: ChunkPositions, stop: Any) -> None:
        self.reader = reader
        self.chunks = chunks
        self.stop = stop

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> ClipChunk | UserError:
        clips = []
        for position in self.chunks[index].tolist():
            if self.stop.is_set():
                break
            try:
                clips.append(self.reader.read(position))
            except UserError as error:  # handed over as a value: torch would wrap its sentence in a traceback
                return error
        return ClipChunk(tuple(clips))


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


class ReaderPool:
    """Reads the chunks in order; its processes start with it and end with `close`.

    Args:
        reader: reads the clip at a position.
        chunks: the positions of every chunk.
        num_workers: processes; 0 reads in this one.
        ahead: chunks read ahead, over all workers.
        pin_memory: hand the clips over in page-locked memory.
    """

    def __init__(
        self, reader: ClipReader, chunks: ChunkPositions, num_workers: int, ahead: int, pin_memory: bool
    ) -> None:
        self._stop: Any = _CONTEXT.Event() if num_workers else threading.Event()
        options: dict[str, Any] = {}
        if num_workers:
            options = {
                "prefetch_factor": -(-ahead // num_workers),
                "multiprocessing_context": _CONTEXT,
                "worker_init_fn": start_worker,
            }
        loader = DataLoader(
            _ChunkDataset(reader, chunks, self._stop),
            batch_size=None,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else torch draws a seed for the workers from the run's global generator
            **options,
        )
        before = set(multiprocessing.active_children())
        with _without_main_module():
            self._iterator: Iterator[ClipChunk | UserError] | None = iter(loader)
        self._processes: list[Any] = [child for child in multiprocessing.active_children() if child not in before]
        atexit.register(self.close)  # before multiprocessing's own, which waits for children that ignore its SIGTERM

    def next(self) -> tuple[Clip, ...]:
        """The clips of the next chunk. Raises what its worker raised, or `DataError` where a worker is gone."""
        if self._iterator is None:
            raise DataError("the loader was closed while its clips were still being read; iterate it anew")
        try:
            chunk = next(self._iterator)
        except RuntimeError as error:
            died = [process for process in self._processes if not process.is_alive()]
            if not died:
                raise
            codes = ", ".join(str(process.exitcode) for process in died)
            raise DataError(
                f"{len(died)} of {len(self._processes)} loading processes died (exit status {codes}; -9 is most often a "
                "machine out of memory); lower data.workers, or set data.workers=0 to see what happens"
            ) from error
        if isinstance(chunk, UserError):
            raise chunk
        return chunk.clips

    def close(self) -> None:
        """End the processes; each finishes the clip it is reading, and is killed where that takes more than seconds."""
        self._stop.set()
        self._iterator = None  # torch's iterator asks the workers to end, and waits, when nothing refers to it any more
        for process in self._processes:
            if process.is_alive():
                process.kill()
            process.join()
        self._processes = []
        atexit.unregister(self.close)


def _as_it_is(chunk: Any) -> Any:
    """In place of torch's conversion of arrays to tensors."""
    return chunk
