"""Laws of the hand-over between processes: the same clips, nothing left behind."""

from __future__ import annotations

import gc
import os
import pickle
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from surgrec.data.clips import Clip, Failure
from surgrec.data.transport import ClipChunk


def send(chunk: ClipChunk) -> ClipChunk:
    """What a queue between two processes does, within one."""
    return pickle.loads(ForkingPickler.dumps(chunk))


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_clips_arrive_as_they_were(monkeypatch: pytest.MonkeyPatch, has_memory_files: bool) -> None:
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    failure = Failure(3, "alpha", "alpha_01", "corrupt", "alpha_02")
    shapes = [(2, 5, 7, 3), (1, 1, 1, 3), (4, 64, 48, 3)]
    pixels = [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes]
    pixels[2] = pixels[2].transpose(1, 2)  # not contiguous
    sent = ClipChunk(tuple(Clip(part, index, 7, 1, 2.5, (failure,)) for index, part in enumerate(pixels)))
    received = send(sent)
    for one, other in zip(sent.clips, received.clips, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert (one.position, one.row, one.source_index, one.start_seconds, one.failures) == (
            other.position, other.row, other.source_index, other.start_seconds, other.failures
        )  # fmt: skip
    received.clips[0].pixels.zero_()  # writable, and not the sender's
    assert pixels[0].any()


def test_a_stopping_worker_hands_over_nothing() -> None:
    assert send(ClipChunk(())) == ClipChunk(())


def test_nothing_is_left_behind() -> None:
    chunk = ClipChunk((Clip(torch.zeros(2, 64, 64, 3, dtype=torch.uint8), 0, 0, 0, 0.0),))
    send(chunk)  # the first one starts the thread that hands descriptors over
    gc.collect()
    before = num_descriptors()
    kept = [send(chunk) for _ in range(20)]
    assert len(kept) == 20
    del kept
    gc.collect()
    end = time.monotonic() + 20
    while num_descriptors() > before:  # the thread closes its own a moment later
        assert time.monotonic() < end
        time.sleep(0.01)
