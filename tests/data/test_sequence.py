"""The law of the sequence for every kind of mixture: any number of ranks and workers reads the same clips."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus.manifest import Manifest
from surgrec.data.clips import Clip, ClipReader, ClipSpec
from surgrec.data.loader import ClipLoader, PositionPlan, ReadAhead
from surgrec.data.mixture import Course, Mixture, MixtureOptions, Weighting
from surgrec.data.sampler import Sampler

SPEC = ClipSpec(num_frames=4, frame_interval_seconds=0.3)
BATCH, STEPS = 16, 4
COURSE = Course((0, 12), BATCH * STEPS // 2, (2.4, 2.4), (0.0, 1.0))


def reader_of(manifest: Manifest) -> ClipReader:
    """A mixture that changes, with a cap, two clips of each opened video."""
    options = MixtureOptions(("domain", "source"), end_alpha=1.0, end=Weighting(), max_passes=2.2)
    mixture = Mixture(manifest, "temperature", 0.0, None, options, COURSE)
    return ClipReader(manifest, Sampler(mixture, 0, SPEC.span_seconds, clips_per_open=2), SPEC)


def facts(clips: list[Clip]) -> list[tuple[int, int, float]]:
    return sorted((clip.position, clip.row, clip.start_seconds) for clip in clips)


@pytest.fixture(scope="module")
def expected(corpus: Manifest) -> list[tuple[int, int, float]]:
    draws = reader_of(corpus).sampler.draw(np.arange(BATCH * STEPS))
    return list(zip(range(BATCH * STEPS), draws.rows.tolist(), draws.start_seconds.tolist(), strict=True))


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_ranks_share_out_one_sequence(corpus: Manifest, expected: list, world_size: int) -> None:
    clips: list[Clip] = []
    for rank in range(world_size):
        with ClipLoader(reader_of(corpus), PositionPlan(BATCH, world_size, rank), 0, STEPS) as loader:
            clips += [clip for batch in loader for clip in batch.clips]
    assert facts(clips) == expected


@pytest.mark.parametrize("num_workers", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 4))])
def test_workers_change_nothing(corpus: Manifest, expected: list, num_workers: int) -> None:
    with ClipLoader(reader_of(corpus), PositionPlan(BATCH), 1, STEPS, ReadAhead(num_workers)) as loader:
        assert facts([clip for batch in loader for clip in batch.clips]) == expected[BATCH:]
