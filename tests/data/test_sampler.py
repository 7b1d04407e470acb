"""Laws of the sampler: frequencies are the shares, starts are uniform inside the usable intervals, all of it addressed."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus.manifest import Manifest
from surgrec.data.mixture import Course, Mixture, MixtureOptions, Weighting
from surgrec.data.sampler import Sampler
from tests.data.conftest import manifest_of

CLIP_SECONDS = 3.0
WINDOW = 20_000


def long_manifest(reverse: bool = False) -> Manifest:
    """Four sources from 1 to 100 hours, several videos of unequal length each."""
    videos = [
        {"video_id": f"s{source}_{index}", "source": f"s{source}", "usable": [(0.0, hours * 3600 * (index + 1) / 6)]}
        for source, hours in enumerate([1, 5, 30, 100])
        for index in range(3)
    ]
    return manifest_of(videos[::-1] if reverse else videos)


def is_within_binomial_bounds(counts: np.ndarray, shares: np.ndarray, total: int) -> bool:
    """Every count within five standard deviations of its expectation."""
    return bool((np.abs(counts - total * shares) <= 5 * np.sqrt(total * shares * (1 - shares)) + 1).all())


@pytest.mark.parametrize("policy", ["natural", "uniform", "temperature"])
@pytest.mark.parametrize("first", [0, 7 * WINDOW, 10**12])
def test_frequencies_are_the_shares_over_any_window(policy: str, first: int) -> None:
    mixture = Mixture(long_manifest(), policy)
    draws = Sampler(mixture, 3, CLIP_SECONDS).draw(np.arange(first, first + WINDOW))
    counts = np.bincount(draws.source_index, minlength=4)
    assert is_within_binomial_bounds(counts, mixture.table.shares, WINDOW)


def test_a_video_is_drawn_in_proportion_to_its_usable_seconds() -> None:
    manifest = long_manifest()
    draws = Sampler(Mixture(manifest, "uniform"), 0, CLIP_SECONDS).draw(np.arange(4 * WINDOW))
    counts = np.bincount(draws.rows, minlength=len(manifest)).reshape(4, 3)
    for of_source in counts:
        assert is_within_binomial_bounds(of_source, np.array([1, 2, 3]) / 6, of_source.sum())
    assert (manifest.sources[draws.rows] == np.array([f"s{index}" for index in draws.source_index])).all()


def test_starts_are_uniform_where_the_clip_fits() -> None:
    intervals = [(2.0, 12.0), (20.0, 21.0), (30.0, 33.5)]  # room for 7, 0 and 0.5 seconds of starts
    manifest = manifest_of([{"video_id": "v", "source": "s", "usable": intervals}])
    starts = Sampler(Mixture(manifest, "natural"), 0, CLIP_SECONDS).draw(np.arange(WINDOW)).start_seconds
    is_first = (starts >= 2.0) & (starts <= 9.0)
    assert (is_first | ((starts >= 30.0) & (starts <= 30.5))).all()
    unrolled = np.sort(np.where(is_first, starts - 2.0, starts - 30.0 + 7.0)) / 7.5
    largest_gap = np.abs(unrolled - (np.arange(WINDOW) + 0.5) / WINDOW).max()
    assert largest_gap < 1.95 / np.sqrt(WINDOW)  # Kolmogorov-Smirnov at one in a thousand


def test_a_clip_lies_inside_one_usable_interval() -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(0, 5000, size=(200, 6)), axis=1).reshape(200, 3, 2)
    videos = [{"video_id": f"v{i:03d}", "source": f"s{i % 7}", "usable": edges[i].tolist()} for i in range(200)]
    draws = Sampler(Mixture(manifest_of(videos), "temperature"), 1, CLIP_SECONDS).draw(np.arange(WINDOW))
    inside = edges[draws.rows]
    start = draws.start_seconds[:, None]
    fits = (start >= inside[..., 0]) & (start + CLIP_SECONDS <= inside[..., 1] + 1e-9)
    assert fits.any(axis=1).all()


def test_a_video_shorter_than_the_clip_starts_at_an_interval_start() -> None:
    manifest = manifest_of([{"video_id": "v", "source": "s", "usable": [(1.0, 3.0), (5.0, 6.0)]}])
    starts = Sampler(Mixture(manifest, "natural"), 0, CLIP_SECONDS).draw(np.arange(WINDOW)).start_seconds
    assert set(starts) == {1.0, 5.0}
    assert is_within_binomial_bounds(np.array([(starts == 1.0).sum()]), np.array([2 / 3]), WINDOW)


def test_an_interval_as_long_as_the_clip_has_one_start() -> None:
    manifest = manifest_of([{"video_id": "v", "source": "s", "usable": [(4.0, 4.0 + CLIP_SECONDS)]}])
    assert set(Sampler(Mixture(manifest, "natural"), 0, CLIP_SECONDS).draw(np.arange(100)).start_seconds) == {4.0}


def test_a_draw_depends_on_seed_and_position_alone() -> None:
    sampler = Sampler(Mixture(long_manifest(), "temperature"), 5, CLIP_SECONDS)
    whole = sampler.draw(np.arange(1000))
    some = np.random.default_rng(0).permutation(1000)[:100]
    part = sampler.draw(some)
    np.testing.assert_array_equal(part.rows, whole.rows[some])
    np.testing.assert_array_equal(part.start_seconds, whole.start_seconds[some])
    other = Sampler(sampler.mixture, 6, CLIP_SECONDS).draw(np.arange(1000))
    assert (other.start_seconds != whole.start_seconds).all()


def test_the_order_of_the_manifest_changes_nothing() -> None:
    manifests = [long_manifest(), long_manifest(reverse=True)]
    draws = [Sampler(Mixture(one, "temperature"), 5, CLIP_SECONDS).draw(np.arange(1000)) for one in manifests]
    ids = [one.video_ids[draw.rows] for one, draw in zip(manifests, draws, strict=True)]
    np.testing.assert_array_equal(ids[0], ids[1])
    np.testing.assert_array_equal(draws[0].start_seconds, draws[1].start_seconds)


def test_another_attempt_stays_in_the_source_and_avoids_what_failed() -> None:
    manifest = long_manifest()
    sampler = Sampler(Mixture(manifest, "temperature"), 5, CLIP_SECONDS)
    positions = np.arange(5000)
    first = sampler.draw(positions)
    excluded = {2, 5, 8, 11, 0}  # the longest video of every source, and a second one
    second = sampler.draw(positions, attempt=1, excluded_rows=excluded)
    np.testing.assert_array_equal(second.source_index, first.source_index)
    np.testing.assert_array_equal(manifest.sources[second.rows], manifest.sources[first.rows])
    assert not set(second.rows.tolist()) & excluded
    assert set(second.rows.tolist()) == set(range(12)) - excluded
    assert (second.start_seconds != first.start_seconds).all()


@pytest.mark.parametrize("clips_per_open", [1, 4])
def test_the_intended_shares_of_a_beginning_are_what_is_drawn_of_it(clips_per_open: int) -> None:
    """Under a schedule they are not those of the whole run."""
    number = 40_000 // clips_per_open
    course = Course((0, number // 2), number, (CLIP_SECONDS * clips_per_open,) * 2, (0.0, 1.0))
    options = MixtureOptions(end_alpha=1.0, end=Weighting())
    mixture = Mixture(long_manifest(), "temperature", 0.0, None, options, course)
    sampler = Sampler(mixture, 3, CLIP_SECONDS, clips_per_open)
    for num_clips in (4_000, 20_000, 30_000, 40_000):
        shares = sampler.intended_shares(num_clips)
        assert shares.sum() == pytest.approx(1.0)
        counts = np.bincount(sampler.sources(np.arange(num_clips)), minlength=4) / clips_per_open
        assert is_within_binomial_bounds(counts, shares, num_clips / clips_per_open)
    np.testing.assert_allclose(sampler.intended_shares(20_000), 0.25)
    np.testing.assert_allclose(sampler.intended_shares(40_000), mixture.table.shares)
    constant = Mixture(long_manifest(), "uniform")
    np.testing.assert_allclose(Sampler(constant, 3, CLIP_SECONDS).intended_shares(7), constant.table.shares)
