"""Scores of counts with their intervals know that clips of one patient are alike, and pairing helps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from surgrec.core.errors import UserError
from surgrec.evaluation.metrics import accuracy, macro_f1
from surgrec.evaluation.statistics import counts_statistic, group_confusions, interval_of, paired_difference


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
    intervals = [interval_of(patients(seed, num_groups=10), accuracy) for seed in range(400)]
    covered = np.mean([interval.low <= 0.7 <= interval.high for interval in intervals])
    assert 0.92 <= covered <= 0.98  # nominally 0.95, known to 0.02; percentile intervals of 10 groups give 0.90


def test_treating_rows_as_independent_would_be_far_too_sure() -> None:
    counts = patients(0)
    by_group = interval_of(counts, accuracy)
    rows = right_or_wrong(np.repeat([1, 0], [counts[:, 0, 0].sum(), counts[:, 0, 1].sum()]), 1)
    by_row = interval_of(rows, accuracy)
    assert by_group.high - by_group.low > 1.8 * (by_row.high - by_row.low)


def test_interval_of_a_mean_matches_its_closed_form() -> None:
    counts = patients(1, num_groups=200)
    share = counts[:, 0, 0] / counts.sum((1, 2))
    interval = interval_of(counts, accuracy)
    half_width = stats.t.ppf(0.975, 199) * share.std(ddof=1) / np.sqrt(200)
    assert interval.estimate == pytest.approx(share.mean())
    assert interval.error == pytest.approx(share.std(ddof=1) / np.sqrt(200))
    assert interval.low == pytest.approx(share.mean() - half_width, abs=0.06 * 2 * half_width)
    assert interval.high == pytest.approx(share.mean() + half_width, abs=0.06 * 2 * half_width)
    assert interval.form == "jackknife over groups" and interval.num_groups == 200


def test_pairing_finds_a_small_difference_between_patients_that_differ_much() -> None:
    worse = patients(2)
    better = worse.copy()
    moved = np.minimum(worse[:, 0, 1], 1)  # one more row right in every patient that has a wrong one
    better[:, 0, 0] += moved
    better[:, 0, 1] -= moved
    difference = paired_difference(better, worse, accuracy)
    assert difference.low > 0
    first, second = interval_of(better, accuracy), interval_of(worse, accuracy)
    assert first.low < second.high  # the two intervals overlap: without pairing nothing would be seen


def test_an_encoder_does_not_differ_from_itself() -> None:
    difference = paired_difference(patients(3), patients(3), macro_f1)
    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)


def test_other_rows_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same rows"):
        paired_difference(patients(0, num_rows=30), patients(0, num_rows=31), accuracy)
    with pytest.raises(ValueError, match="same rows"):
        paired_difference(patients(0), patients(0)[:30], accuracy)


def test_one_group_has_no_interval() -> None:
    with pytest.raises(UserError, match="at least 2 test groups"):
        interval_of(patients(0)[:1], accuracy)


def test_group_confusions_add_up() -> None:
    rng = np.random.default_rng(0)
    truth, predicted, groups = rng.integers(0, 4, 100), rng.integers(0, 4, 100), rng.integers(0, 7, 100).astype(str)
    counts = group_confusions(truth, predicted, groups, num_classes=4)
    assert counts.shape == (7, 4, 4)
    for index, name in enumerate(np.unique(groups)):
        assert counts[index].sum() == (groups == name).sum()
        assert counts[index, 2, 1] == ((truth == 2) & (predicted == 1) & (groups == name)).sum()


def test_a_statistic_of_counts_is_the_metric_of_weighted_groups() -> None:
    counts = np.random.default_rng(1).integers(0, 5, (2, 6, 3, 3))  # two seeds; their true classes need not agree here
    weights = np.array([[1, 0, 2, 1, 0, 3.0], [1, 1, 1, 1, 1, 1]])
    values = counts_statistic(counts, macro_f1).value(weights)
    assert values.shape == (2, 2)
    assert values[0, 1] == pytest.approx(macro_f1(np.tensordot(weights[0], counts[1], 1)))
