"""Bootstrap intervals: they cover the truth, know that clips of one patient are alike, and pairing helps."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.metrics import accuracy, macro_f1
from surgrec.evaluation.statistics import bootstrap_interval, group_confusions, paired_difference


def right_or_wrong(num_right: np.ndarray, num_rows: int) -> np.ndarray:
    """Confusion matrices (G, 2, 2) of groups with one true class, of which so many rows are right."""
    counts = np.zeros((len(num_right), 2, 2), dtype=np.int64)
    counts[:, 0, 0], counts[:, 0, 1] = num_right, num_rows - num_right
    return counts


def patients(seed: int, num_groups: int = 40, num_rows: int = 30) -> np.ndarray:
    """Each patient has an own chance of being right, on average 0.7; rows of a patient follow it."""
    rng = np.random.default_rng(seed)
    return right_or_wrong(rng.binomial(num_rows, rng.beta(3.5, 1.5, num_groups)), num_rows)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    intervals = [bootstrap_interval(patients(seed), accuracy, seed, num_resamples=400) for seed in range(200)]
    covered = np.mean([interval.low <= 0.7 <= interval.high for interval in intervals])
    assert 0.88 <= covered <= 0.99  # nominally 0.95; percentile intervals of 40 groups fall a little short


def test_treating_rows_as_independent_would_be_far_too_sure() -> None:
    counts = patients(0)
    by_group = bootstrap_interval(counts, accuracy, seed=0)
    rows = right_or_wrong(np.repeat([1, 0], [counts[:, 0, 0].sum(), counts[:, 0, 1].sum()]), 1)
    by_row = bootstrap_interval(rows, accuracy, seed=0, num_resamples=500)
    assert by_group.high - by_group.low > 1.8 * (by_row.high - by_row.low)


def test_interval_of_a_mean_matches_its_closed_form() -> None:
    counts = patients(1, num_groups=200)
    share = counts[:, 0, 0] / counts.sum((1, 2))
    interval = bootstrap_interval(counts, accuracy, seed=4, num_resamples=20_000)
    half_width = 1.96 * share.std() / np.sqrt(200)
    assert interval.estimate == pytest.approx(share.mean())
    assert interval.low == pytest.approx(share.mean() - half_width, abs=0.06 * 2 * half_width)
    assert interval.high == pytest.approx(share.mean() + half_width, abs=0.06 * 2 * half_width)


def test_pairing_finds_a_small_difference_between_patients_that_differ_much() -> None:
    worse = patients(2)
    better = worse.copy()
    moved = np.minimum(worse[:, 0, 1], 1)  # one more row right in every patient that has a wrong one
    better[:, 0, 0] += moved
    better[:, 0, 1] -= moved
    difference = paired_difference(better, worse, accuracy, seed=0)
    assert difference.low > 0
    first, second = bootstrap_interval(better, accuracy, seed=0), bootstrap_interval(worse, accuracy, seed=0)
    assert first.low < second.high  # the two intervals overlap: without pairing nothing would be seen


def test_an_encoder_does_not_differ_from_itself() -> None:
    difference = paired_difference(patients(3), patients(3), macro_f1, seed=0)
    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)


def test_other_rows_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same rows"):
        paired_difference(patients(0, num_rows=30), patients(0, num_rows=31), accuracy, seed=0)


def test_one_group_has_no_interval() -> None:
    with pytest.raises(UserError, match="at least 2 test groups"):
        bootstrap_interval(patients(0)[:1], accuracy, seed=0)


def test_group_confusions_add_up() -> None:
    rng = np.random.default_rng(0)
    truth, predicted, groups = rng.integers(0, 4, 100), rng.integers(0, 4, 100), rng.integers(0, 7, 100).astype(str)
    counts = group_confusions(truth, predicted, groups, num_classes=4)
    assert counts.shape == (7, 4, 4)
    for index, name in enumerate(np.unique(groups)):
        assert counts[index].sum() == (groups == name).sum()
        assert counts[index, 2, 1] == ((truth == 2) & (predicted == 1) & (groups == name)).sum()
