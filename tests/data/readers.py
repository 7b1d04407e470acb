"""Readers of made-up clips, in a file that a training script and a worker can import without pytest."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator

import torch

from surgrec.data.clips import Clip
from surgrec.data.loader import ClipBatch, ClipLoader, PositionPlan


class NumberReader:
    """In place of a `ClipReader`: a clip whose only pixel is its position."""

    def read(self, position: int) -> Clip:
        return Clip(torch.full((1, 1, 1, 3), position % 256, dtype=torch.uint8), position, 0, 0, 0.0)


class SlowReader(NumberReader):
    """Twenty clips a second."""

    def read(self, position: int) -> Clip:
        time.sleep(0.05)
        return super().read(position)


def slow_loader(num_workers: int = 2) -> tuple[ClipLoader, Iterator[ClipBatch], list[int]]:
    """A loader that is reading, and the process ids of its workers."""
    before = set(multiprocessing.active_children())
    loader = ClipLoader(SlowReader(), PositionPlan(4), 0, 10**6, num_workers)  # type: ignore[arg-type]
    batches = iter(loader)
    next(batches)
    return loader, batches, [int(child.pid or 0) for child in set(multiprocessing.active_children()) - before]
