"""What a loading process is: single-threaded, deaf to signals, and gone when its parent is gone.

In: orders for chunks of clips. Out: the chunks. It is its own file because it is all that runs in such a process.

Ctrl-C reaches every process of a terminal, and a cluster's warning (SIGTERM, SIGUSR1) every process of a job. Only the parent
may act on them: it finishes its step, saves, and stops its workers; a worker that died first would turn a clean stop into a
crash. So a worker stops by SIGKILL, or with its parent. It holds nothing that could be left in disorder.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import PurePath
from typing import Protocol

import torch

from surgrec.core.errors import UserError
from surgrec.core.memory import keep_freed_memory
from surgrec.data.board import Board
from surgrec.data.clips import ClipReader
from surgrec.data.mixture import Integers
from surgrec.data.transport import Chunk, send
from surgrec.video.errors import VideoError

ONLY_THE_PARENT_ACTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class ChunkPositions(Protocol):
    """The positions (n,) of chunk i, i from 0."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Integers: ...


@dataclass(frozen=True)
class Ban:
    """A video that is not to be read for `from_position` and later ones, and why: `crashed` or `hung`."""

    from_position: int
    reason: str


Bans = Mapping[int, Ban]  # by manifest row


@dataclass(frozen=True)
class Order:
    """Read this chunk, but nothing that is banned."""

    index: int
    bans: Bans


def work(slot: int, board: Board, reader: ClipReader, chunks: ChunkPositions, connection: Connection) -> None:
    """The loading process `slot`: answers orders until the parent is gone or ends it."""
    _prepare()
    board.end(slot)
    while True:
        try:
            order: Order = connection.recv()
        except EOFError:
            return
        send(connection, read_chunk(slot, board, reader, chunks, order))


def read_chunk(slot: int, board: Board, reader: ClipReader, chunks: ChunkPositions, order: Order) -> Chunk:
    """The chunk ordered. Says on the board what it is about to read, each time."""
    clips = []
    try:
        for position in chunks[order.index].tolist():

            def begin(row: int, position: int = position) -> None:
                ban = order.bans.get(row)
                if ban is not None and position >= ban.from_position:
                    raise VideoError(ban.reason)
                board.begin(slot, position, row)

            clips.append(reader.read(position, begin))
            board.end(slot)
    except UserError as error:  # told by the parent, when it comes to this chunk
        return Chunk(order.index, (), error)
    except (
        Exception
    ) as error:  # a mistake of ours, or want of memory; told by its kind and places, since its text may hold a path
        places = "".join(
            f"\n  {PurePath(one.filename).name}:{one.lineno}, {one.name}"
            for one in traceback.extract_tb(error.__traceback__)
        )
        return Chunk(order.index, (), RuntimeError(f"{type(error).__name__} in a loading process, at{places}"))
    return Chunk(order.index, tuple(clips))


def _prepare() -> None:
    """Make this process what the head of the file says; and let it leave no core dump, which would hold pictures."""
    for number in ONLY_THE_PARENT_ACTS:
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    keep_freed_memory()  # a third of a decoded clip's time was page faults, in memory given back and asked for again
    threading.Thread(target=_die_with_parent, name="die-with-parent", daemon=True).start()


def _die_with_parent() -> None:
    """End this process the moment its parent ends, however it ends: also while it decodes, unless it hangs in a library that keeps Python's
    lock.

    Its parent's process id would not tell: under a fork server that is the server's, which in turn waits for its workers.
    """
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
