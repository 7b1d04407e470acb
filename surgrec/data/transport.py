"""How clips travel from a loading process to the training process.

In: clips. Out: the same clips in another process. It is its own file because of two traps. torch sends tensors through files in
/dev/shm, under both of its sharing strategies, and a container has 64 MB there unless it was started otherwise, so that
workers die of "bus error". And a process may be killed at any moment, also while it hands over. So the pixels of a chunk, and what
is to be said of them, go into one anonymous memory file (memfd), which no mount limits and the kernel frees with its last user; one
message of 16 bytes then carries its descriptor (SCM_RIGHTS), whole or not at all, and from there on the sender may die.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch

from surgrec.data.clips import Clip

_NO_PIXELS = torch.empty(0, dtype=torch.uint8)
_SIZES = struct.Struct("QQ")  # bytes of pixels, bytes of the pickled rest behind them


@dataclass(frozen=True)
class Chunk:
    """Consecutive clips, the unit that a process hands over; or, in their place, the `error` that reading them raised."""

    index: int
    clips: tuple[Clip, ...]
    error: Exception | None = None

    @property
    def num_bytes(self) -> int:
        """Of the pixels."""
        return sum(clip.pixels.nbytes for clip in self.clips)


def send(connection: Connection, chunk: Chunk) -> None:
    """Hand over a chunk. `connection` is an end of a duplex `Pipe`, which is a Unix socket."""
    descriptor = _anonymous_file()
    try:
        for clip in chunk.clips:
            _write_all(descriptor, clip.pixels.contiguous().numpy().data.cast("B"))
        bare = tuple(replace(clip, pixels=_NO_PIXELS) for clip in chunk.clips)
        shapes = tuple(tuple(clip.pixels.shape) for clip in chunk.clips)
        rest = pickle.dumps((replace(chunk, clips=bare), shapes))
        _write_all(descriptor, memoryview(rest))
        with socket.socket(fileno=os.dup(connection.fileno())) as channel:
            socket.send_fds(channel, [_SIZES.pack(chunk.num_bytes, len(rest))], [descriptor])
    finally:
        os.close(descriptor)


def receive(connection: Connection) -> Chunk:
    """The next chunk; its clips are views of one mapping, freed with the last of them. Raises `EOFError` where the sender is gone."""
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        try:
            message, descriptors, _, _ = socket.recv_fds(channel, _SIZES.size, 1)
        except ConnectionResetError:
            raise EOFError from None
    if not descriptors:
        raise EOFError
    (descriptor,) = descriptors
    try:
        num_bytes, num_more = _SIZES.unpack(message)
        bare, shapes = pickle.loads(_read_all(descriptor, num_more, num_bytes))
        whole = _NO_PIXELS
        if num_bytes:  # torch maps it and keeps no descriptor, of which a process has a thousand
            whole = torch.from_file(f"/proc/self/fd/{descriptor}", shared=True, size=num_bytes, dtype=torch.uint8)
    finally:
        os.close(descriptor)
    parts = torch.split(whole, [torch.Size(shape).numel() for shape in shapes])
    clips = (
        replace(clip, pixels=part.view(shape)) for clip, part, shape in zip(bare.clips, parts, shapes, strict=True)
    )
    return replace(bare, clips=tuple(clips))


def _anonymous_file() -> int:
    """Descriptor of a file without a name, in memory."""
    return os.memfd_create("surgrec-clips", os.MFD_CLOEXEC)


def _read_all(descriptor: int, num_bytes: int, offset: int) -> bytes:
    """`os.pread` until all is there."""
    parts = []
    while num_bytes:
        parts.append(os.pread(descriptor, num_bytes, offset))
        num_bytes, offset = num_bytes - len(parts[-1]), offset + len(parts[-1])
    return b"".join(parts)


def _write_all(descriptor: int, data: memoryview[Any]) -> None:
    """`os.write` until nothing is left: one call writes 2 GB at most."""
    while data.nbytes:
        data = data[os.write(descriptor, data) :]
