"""Laws of the way to the device: the same batches in the same order, one ahead and no more, and a thread that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
import torch

from surgrec.data.clips import Clip
from surgrec.data.errors import DataError
from surgrec.data.feed import DeviceFeed
from surgrec.data.loader import ClipBatch, ClipLoader, LoaderChain, PositionPlan, ReadAhead
from tests.data.readers import NumberReader, SlowReader

CPU = torch.device("cpu")


class Batches:
    """In place of a loader: batches of two clips of different sizes; the one numbered `broken` cannot be read."""

    seconds_waiting = 0.0

    def __init__(self, length: int = 5, broken: int | None = None) -> None:
        self.length, self.broken, self.num_read = length, broken, 0

    def __iter__(self) -> Iterator[ClipBatch]:
        generator = torch.Generator().manual_seed(0)
        for step in range(self.length):
            if step == self.broken:
                raise DataError("nothing can be read")
            self.num_read += 1
            shapes = [(2, 4 + step, 5, 3), (1, 3, 2, 3)]
            pixels = [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for shape in shapes]
            clips = [Clip(part, 2 * step + number, 7, 1, 0.5) for number, part in enumerate(pixels)]
            yield ClipBatch(clips, np.arange(2 * step, 2 * step + 2), step, 0)

    def close(self) -> None: ...


def assert_same_batches(ours: list[ClipBatch], theirs: list[ClipBatch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.step, one.micro, one.repeats) == (other.step, other.micro, other.repeats)
        np.testing.assert_array_equal(one.positions, other.positions)
        for mine, its in zip(one.clips, other.clips, strict=True):
            assert (mine.position, mine.row, mine.start_seconds) == (its.position, its.row, its.start_seconds)
            assert torch.equal(mine.pixels.cpu(), its.pixels)


def feed_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "device-feed"]


@pytest.mark.parametrize(
    "device",
    [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))],
    ids=str,
)
def test_the_same_batches_arrive(device: torch.device) -> None:
    feed = DeviceFeed(Batches(), device)  # type: ignore[arg-type]
    batches = []
    for batch in feed:
        assert all(clip.pixels.device.type == device.type for clip in batch.clips)
        batches.append(batch)
    assert_same_batches(batches, list(Batches()))
    feed.close()
    assert not feed_threads()


def test_one_batch_is_ahead_and_no_more() -> None:
    batches = Batches(20)
    feed = DeviceFeed(batches, CPU)  # type: ignore[arg-type]
    for number, _ in enumerate(feed):
        end = time.monotonic() + 10
        while batches.num_read < min(number + 2, 20) and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.005)
        assert batches.num_read == min(number + 2, 20)
        if number == 4:
            break
    feed.close()
    assert not feed_threads()


def test_what_the_loader_raises_comes_in_its_place() -> None:
    feed = DeviceFeed(Batches(broken=3), CPU)  # type: ignore[arg-type]
    steps = []
    with pytest.raises(DataError, match="nothing can be read"):
        for batch in feed:
            steps.append(batch.step)
    assert steps == [0, 1, 2]
    feed.close()


def test_closing_ends_processes_and_thread_wherever_they_are() -> None:
    loader = LoaderChain([ClipLoader(NumberReader(), PositionPlan(2), 0, 10**6, ReadAhead(1))])  # type: ignore[arg-type]
    feed = DeviceFeed(loader, CPU)
    batches = iter(feed)
    assert next(batches).step == 0
    feed.close()
    assert not feed_threads()
    assert next(iter(feed)).step == 0, "and it can be iterated anew"
    feed.close()
    assert feed.seconds_waiting > 0


@pytest.mark.parametrize("num_workers", [0, 2])
def test_closing_before_the_first_batch_does_not_wait_for_it(num_workers: int) -> None:
    """Whether the processes are up yet or not: a run that fails in its first seconds ends then."""
    for wait_seconds in (0.0, 0.02, 0.5):
        plan = PositionPlan(400)  # twenty seconds and more
        feed = DeviceFeed(LoaderChain([ClipLoader(SlowReader(), plan, 0, 10, ReadAhead(num_workers))]), CPU)  # type: ignore[arg-type]
        threading.Thread(target=_take_one, args=(iter(feed),), daemon=True).start()
        while not any(thread.is_alive() for thread in feed_threads()):
            time.sleep(0.001)
        time.sleep(wait_seconds)
        began = time.monotonic()
        feed.close()
        assert time.monotonic() - began < 8
        assert not feed_threads()


def _take_one(batches: Iterator[ClipBatch]) -> None:
    with suppress(DataError):  # that the loader was closed
        next(batches)
