"""Laws of the hand-over between processes: the same clips, nothing left behind, and the sender may die."""

from __future__ import annotations

import gc
import multiprocessing
from pathlib import Path

import pytest
import torch

from surgrec.data.clips import Clip, Failure
from surgrec.data.errors import DataError
from surgrec.data.transport import Chunk, receive, send


def sent(chunk: Chunk) -> Chunk:
    """What arrives at the other end after this one was closed."""
    ours, theirs = multiprocessing.Pipe()
    send(theirs, chunk)
    theirs.close()
    with ours:
        return receive(ours)


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_clips_that_lie_ready_hold_no_descriptors() -> None:
    """A process may have a thousand, and a batch may be of more clips than that."""
    before, clip = num_descriptors(), Clip(torch.full((1, 2, 2, 3), 7, dtype=torch.uint8), 0, 0, 0, 0.0)
    kept = [sent(Chunk(index, (clip,))) for index in range(50)]
    assert num_descriptors() == before
    assert all(torch.equal(chunk.clips[0].pixels, clip.pixels) for chunk in kept)


def test_clips_arrive_as_they_were() -> None:
    failure = Failure(3, "alpha", "alpha_01", "corrupt", "alpha_02")
    shapes = [(2, 5, 7, 3), (1, 1, 1, 3), (4, 64, 48, 3)]
    pixels = [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes]
    pixels[2] = pixels[2].transpose(1, 2)  # not contiguous
    chunk = Chunk(7, tuple(Clip(part, index, 7, 1, 2.5, (failure,)) for index, part in enumerate(pixels)))
    received = sent(chunk)
    assert (received.index, received.num_bytes, received.error) == (7, chunk.num_bytes, None)
    for one, other in zip(chunk.clips, received.clips, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert (one.position, one.row, one.source_index, one.start_seconds, one.failures) == (
            other.position, other.row, other.source_index, other.start_seconds, other.failures
        )  # fmt: skip
    received.clips[0].pixels.zero_()  # writable, and not the sender's
    assert pixels[0].any()


def test_an_error_arrives_as_it_was() -> None:
    received = sent(Chunk(3, (), DataError("source 'alpha': nothing can be read")))
    assert received.index == 3 and received.clips == ()
    assert isinstance(received.error, DataError) and str(received.error) == "source 'alpha': nothing can be read"


def test_a_sender_that_is_gone_is_the_end() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with ours, pytest.raises(EOFError):
        receive(ours)


def test_nothing_is_left_behind() -> None:
    chunk = Chunk(0, (Clip(torch.zeros(2, 64, 64, 3, dtype=torch.uint8), 0, 0, 0, 0.0),))
    before = num_descriptors()
    kept = [sent(chunk) for _ in range(20)]
    assert len(kept) == 20
    gc.collect()
    assert num_descriptors() <= before + 20, "a mapping keeps a descriptor of its own"
    del kept
    gc.collect()
    assert num_descriptors() == before
