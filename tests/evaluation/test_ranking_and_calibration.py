"""Scores of probabilities equal scikit-learn's, with weights and ties, and are what a hand finds."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.evaluation.calibration import bins_of, brier, calibration_error
from surgrec.evaluation.ranking import auroc, average_precision, macro_auroc, mean_average_precision

NAN = float("nan")
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_ranking_equals_scikit_learn_with_ties_and_weights(rows: list[tuple[bool, int, int]]) -> None:
    truth, scores, weights = map(np.array, zip(*rows, strict=True))
    is_there, is_not = (weights[truth == kind].sum() > 0 for kind in (True, False))
    value, precision = auroc(truth, scores, weights), average_precision(truth, scores, weights)
    if is_there and is_not:
        assert value == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores, sample_weight=weights))
    else:
        assert np.isnan(value)
    if is_there:
        assert precision == pytest.approx(sklearn.metrics.average_precision_score(truth, scores, sample_weight=weights))
    else:
        assert np.isnan(precision)


def probabilities(seed: int, num_rows: int = 200, num_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, num_classes, num_rows)
    values = draws.dirichlet(np.ones(num_classes), num_rows)
    values[np.arange(num_rows), labels] += 0.3
    return labels, values / values.sum(1, keepdims=True)


def test_averages_over_classes_equal_scikit_learn() -> None:
    labels, values = probabilities(0)
    expected = sklearn.metrics.roc_auc_score(labels, values, multi_class="ovr", average="macro")
    assert macro_auroc(labels, values) == pytest.approx(expected)
    one_hot = np.eye(4)[labels]
    assert mean_average_precision(labels, values) == pytest.approx(
        sklearn.metrics.average_precision_score(one_hot, values, average="macro")
    )
    assert brier(labels, values) == pytest.approx(((values - one_hot) ** 2).sum(1).mean() / 2)
    is_second = (labels[labels < 2] == 1).astype(int)
    two = values[labels < 2][:, :2] / values[labels < 2][:, :2].sum(1, keepdims=True)
    assert brier(is_second, two) == pytest.approx(sklearn.metrics.brier_score_loss(is_second, two[:, 1]))


def test_a_class_without_rows_is_left_out() -> None:
    labels, values = probabilities(1)
    with_more = np.concatenate([values, np.zeros((200, 1))], 1)
    assert macro_auroc(labels, with_more) == macro_auroc(labels, values)
    assert mean_average_precision(labels, with_more) == mean_average_precision(labels, values)


@pytest.mark.parametrize("metric", [macro_auroc, mean_average_precision, brier, calibration_error])
def test_many_weights_at_once_are_one_at_a_time_and_whole_weights_are_copies(metric) -> None:
    labels, values = probabilities(2, num_rows=60)
    weights = np.random.default_rng(3).integers(0, 3, (2, 5, 60)).astype(float)
    at_once = metric(labels, values, weights)
    assert at_once.shape == (2, 5)
    assert np.allclose(at_once, [[metric(labels, values, one) for one in row] for row in weights])
    if metric is not calibration_error:  # whose bins are those of all rows
        times = weights[0, 0].astype(int)
        assert at_once[0, 0] == pytest.approx(metric(np.repeat(labels, times), np.repeat(values, times, 0)))


def test_calibration_error_by_hand() -> None:
    """Ten rows said 0.9, of which 6 are right, and ten said 0.6, of which 6 are: half of 0.3, and none."""
    sure, unsure = np.tile([0.9, 0.1], (10, 1)), np.tile([0.6, 0.4], (10, 1))
    labels = np.array([0] * 6 + [1] * 4 + [0] * 6 + [1] * 4)
    for binning in ("adaptive", "equal width"):
        assert calibration_error(labels, np.concatenate([sure, unsure]), binning=binning) == pytest.approx(0.15)


def test_adaptive_bins_are_even_and_keep_ties_together() -> None:
    draws = np.random.default_rng(0)
    assert np.array_equal(np.bincount(bins_of(draws.beta(20, 1, 150), 15)), np.full(15, 10))
    tied = bins_of(np.array([0.5] * 10 + [0.9] * 10), 5)
    assert len(set(tied[:10])) == 1 and len(set(tied[10:])) == 1 and tied[0] != tied[10]
    assert bins_of(np.array([0.0, 0.05, 0.1, 0.11, 1.0]), 10, "equal width").tolist() == [0, 0, 0, 1, 9]


def test_bins_of_equal_width_hold_their_upper_ends() -> None:
    """0.7 * 10 is a little more than 7 in floating point, and 0.7 belongs to the bin from 0.6 on all the same (Guo et al. 2017)."""
    assert bins_of(np.arange(1, 11) / 10, 10, "equal width").tolist() == list(range(10))
    assert bins_of(np.arange(1, 16) / 15, 15, "equal width").tolist() == list(range(15))


def test_what_is_no_number_is_not_ranked() -> None:
    for metric in (macro_auroc, mean_average_precision):
        with pytest.raises(ValueError, match="NaN"):
            metric([0, 1], [[0.5, 0.5], [NAN, NAN]])


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        brier([0, 1], [[0.5, 0.6], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"\(n, C\)"):
        macro_auroc([0, 1], [0.5, 0.6])
