"""What is proposed does not depend on how many processes look for it, nor on where the vectors lie."""

from __future__ import annotations

import dataclasses
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus import isolated, neighbours, proposals
from surgrec.corpus.proposals import Moments, propose
from tests.corpus.test_neighbours import vectors

NUM_VIDEOS, MOMENTS = 12, 40


@pytest.fixture
def two_sets(monkeypatch: pytest.MonkeyPatch) -> tuple[Moments, Moments]:
    """Five seconds of each video of the first are in the second, some of it mirrored; several pieces, several leaves."""
    monkeypatch.setattr(proposals, "_PIECE", 100)
    monkeypatch.setattr(neighbours, "BUDGET", 1e5)
    random = np.random.default_rng(0)
    parts = [vectors(random, NUM_VIDEOS * MOMENTS * 6).reshape(-1, 6, 99) for _ in range(2)]
    for video in range(NUM_VIDEOS):
        seen = parts[0][video * MOMENTS + 5 : video * MOMENTS + 15]
        start = (NUM_VIDEOS - 1 - video) * MOMENTS + 20
        parts[1][start : start + 10] = proposals.mirrored(seen) if video % 3 == 0 else seen
    times = np.tile(np.arange(MOMENTS) * proposals.HOP_SECONDS, NUM_VIDEOS).astype(np.float32)
    video = np.repeat(np.arange(NUM_VIDEOS, dtype=np.int32), MOMENTS)
    return Moments(parts[0], times, video), Moments(parts[1], times, video)


@pytest.mark.slow
def test_processes_propose_what_one_process_does(two_sets: tuple[Moments, Moments], tmp_path: Path) -> None:
    first, second = two_sets
    alone = propose(first, second)
    pairs = {(one.first, one.second, one.is_mirrored) for one in alone[:NUM_VIDEOS]}
    assert pairs == {(video, NUM_VIDEOS - 1 - video, video % 3 == 0) for video in range(NUM_VIDEOS)}
    file = tmp_path / "vectors.bin"
    file.write_bytes(b"17 bytes of head." + second.vectors.tobytes())
    mapped = np.memmap(file, np.int8, "r", offset=17, shape=second.vectors.shape)
    told: list[int] = []

    @contextmanager
    def progress(_: str, total: int):
        told.append(total)
        yield lambda *_: told.append(1)

    assert propose(first, dataclasses.replace(second, vectors=mapped), 2, progress) == alone
    assert len(told) == 1 + told[0] > 2
    assert propose(first, second, 2) == alone
    behind = Moments(
        mapped[MOMENTS:], second.times_seconds[MOMENTS:], second.video[MOMENTS:]
    )  # a part of a mapped file
    assert propose(first, behind, 2) == propose(first, behind)


def test_a_worker_that_dies_is_told(two_sets: tuple[Moments, Moments], monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> object:
        yield 0, isolated.Crashed(-signal.SIGKILL)

    monkeypatch.setattr(proposals, "map_isolated", die)
    with pytest.raises(UserError, match="fewer --workers"):
        propose(*two_sets, 2)
