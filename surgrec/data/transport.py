"""How clips travel from a loading process to the training process.

In: clips. Out: the same clips in another process. It is its own file because of one trap: torch sends tensors through files in
/dev/shm, under both of its sharing strategies, and a container has 64 MB there unless it was started otherwise, so that
workers die of "bus error"; `file_system` leaves its files behind after kill -9 besides, and `file_descriptor` holds one
descriptor for every tensor in flight. Here the pixels of a chunk go into one anonymous memory file (memfd), which no mount
limits and the kernel frees with its last user, and its descriptor is handed over.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass, replace
from multiprocessing.reduction import DupFd
from typing import Any

import torch

from surgrec.data.clips import Clip

_NO_PIXELS = torch.empty(0, dtype=torch.uint8)


def _anonymous_file() -> int:
    """Descriptor of a file without a name: in memory where the system has memfd (Linux), else on the temporary disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("surgrec-clips", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write_all(descriptor: int, data: memoryview) -> None:
    """`os.write` until nothing is left: one call writes 2 GB at most."""
    while data.nbytes:
        data = data[os.write(descriptor, data) :]


@dataclass(frozen=True)
class ClipChunk:
    """Consecutive clips, the unit that a worker hands over."""

    clips: tuple[Clip, ...]

    def pin_memory(self) -> ClipChunk:
        """The same clips in page-locked memory; torch's pinning thread calls this."""
        return ClipChunk(tuple(replace(clip, pixels=clip.pixels.pin_memory()) for clip in self.clips))

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.clips:  # a worker that is being stopped; an empty file cannot be mapped
            return ClipChunk, ((),)
        descriptor = _anonymous_file()
        try:
            for clip in self.clips:
                _write_all(descriptor, clip.pixels.contiguous().numpy().data.cast("B"))
            handle = DupFd(descriptor)
        finally:
            os.close(descriptor)
        bare = tuple(replace(clip, pixels=_NO_PIXELS) for clip in self.clips)
        return _receive, (handle, bare, tuple(tuple(clip.pixels.shape) for clip in self.clips))


def _receive(handle: Any, bare: tuple[Clip, ...], shapes: tuple[tuple[int, ...], ...]) -> ClipChunk:
    """The chunk whose pixels are in the file of `handle`; the clips are views of one mapping, freed with the last of them."""
    descriptor = handle.detach()
    try:
        buffer = torch.frombuffer(mmap.mmap(descriptor, 0), dtype=torch.uint8)
    finally:
        os.close(descriptor)
    sizes = [torch.Size(shape).numel() for shape in shapes]
    pixels = [part.view(shape) for part, shape in zip(torch.split(buffer, sizes), shapes, strict=True)]
    return ClipChunk(tuple(replace(clip, pixels=part) for clip, part in zip(bare, pixels, strict=True)))
