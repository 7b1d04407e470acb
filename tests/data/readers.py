"""Readers of made-up clips, in a file that a training script and a worker can import without pytest."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from surgrec.data.clips import Clip, ClipReader
from surgrec.data.loader import ClipBatch, ClipLoader, PositionPlan, ReadAhead
from surgrec.video.errors import VideoError


class NumberReader:
    """In place of a `ClipReader`: a clip whose only pixel is its position."""

    def name_of(self, row: int) -> str:
        return f"video {row}"

    def read(self, position: int, begin: Callable[[int], object] = print) -> Clip:
        return Clip(torch.full((1, 1, 1, 3), position % 256, dtype=torch.uint8), position, 0, 0, 0.0)


class SlowReader(NumberReader):
    """Twenty clips a second."""

    def read(self, position: int, begin: Callable[[int], object] = print) -> Clip:
        time.sleep(0.05)
        return super().read(position)


def slow_loader(num_workers: int = 2) -> tuple[ClipLoader, Iterator[ClipBatch], list[int]]:
    """A loader that is reading, and the process ids of its workers."""
    before = set(multiprocessing.active_children())
    loader = ClipLoader(SlowReader(), PositionPlan(4), 0, 10**6, ReadAhead(num_workers))  # type: ignore[arg-type]
    batches = iter(loader)
    next(batches)
    return loader, batches, [int(child.pid or 0) for child in set(multiprocessing.active_children()) - before]


class HarmfulReader(ClipReader):
    """A `ClipReader` some of whose videos do harm to the process that reads them.

    `harm` by video id: `crash` (a segmentation fault), `hang`, `starve` (killed by the kernel), `crash at odd` (at odd positions alone);
    or, to compare with, `fail <reason>`.
    """

    harm: Mapping[str, str] = {}

    def read(self, position: int, begin: Callable[[int], object] = print) -> Clip:
        def begin_and_do_harm(row: int) -> None:
            begin(row)
            match self.harm.get(self.name_of(row), "").split():
                case ["crash"]:
                    os.kill(os.getpid(), signal.SIGSEGV)
                case ["crash", "at", "odd"] if position % 2:
                    os.kill(os.getpid(), signal.SIGSEGV)
                case ["starve"]:
                    os.kill(os.getpid(), signal.SIGKILL)
                case ["hang"]:
                    time.sleep(1000)
                case ["fail", reason]:
                    raise VideoError(reason)

        return super().read(position, begin_and_do_harm)


class ForgottenReader(HarmfulReader):
    """One that fails with `crashed` from `from_position` on, which is what is left of a video that crashed there."""

    from_position = 0

    def read(self, position: int, begin: Callable[[int], object] = print) -> Clip:
        return super().read(position) if position >= self.from_position else ClipReader.read(self, position)


class DyingReader(NumberReader):
    """Its process ends, whatever it is to read."""

    def read(self, position: int, begin: Callable[[int], object] = print) -> Clip:
        os._exit(3)


class MistakenReader(NumberReader):
    """It has a mistake in its code."""

    def read(self, position: int, begin: Callable[[int], object] = print) -> Clip:
        raise ZeroDivisionError("a mistake")


class CountingReader(NumberReader):
    """Clips of 1,000 bytes; each that is read leaves a byte in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self, position: int, begin: Callable[[int], object] = print) -> Clip:
        with self.file.open("ab") as file:
            file.write(b".")
        return Clip(torch.zeros((10, 10, 10, 1), dtype=torch.uint8), position, 0, 0, 0.0)
