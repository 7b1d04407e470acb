"""Metrics equal scikit-learn's, also where classes are missing, and work on stacks of confusion matrices."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.evaluation.metrics import (
    accuracy,
    balanced_accuracy,
    class_f1,
    class_jaccard,
    class_precision,
    class_recall,
    confusion,
    macro_f1,
    macro_jaccard,
)

REFERENCE = {
    accuracy: sklearn.metrics.accuracy_score,
    balanced_accuracy: sklearn.metrics.balanced_accuracy_score,
    macro_f1: lambda truth, predicted: sklearn.metrics.f1_score(truth, predicted, average="macro", zero_division=0),
    macro_jaccard: lambda truth, predicted: sklearn.metrics.jaccard_score(
        truth, predicted, average="macro", zero_division=0
    ),
}
OF_CLASSES = {
    class_recall: sklearn.metrics.recall_score,
    class_precision: sklearn.metrics.precision_score,
    class_f1: sklearn.metrics.f1_score,
    class_jaccard: sklearn.metrics.jaccard_score,
}


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_metrics_equal_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(rows).T
    counts = confusion(truth, predicted, num_classes=6)
    assert np.array_equal(counts, sklearn.metrics.confusion_matrix(truth, predicted, labels=range(6)))
    for metric, reference in REFERENCE.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of classes without rows
            assert metric(counts) == pytest.approx(reference(truth, predicted), abs=1e-12)
    for of_class, reference in OF_CLASSES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = reference(truth, predicted, labels=range(6), average=None, zero_division=0)
        scores = of_class(counts)
        assert np.allclose(np.nan_to_num(scores), expected)
        below = {class_recall: counts.sum(1), class_precision: counts.sum(0)}.get(
            of_class, counts.sum(0) + counts.sum(1)
        )
        assert np.array_equal(np.isnan(scores), below == 0)


@pytest.mark.parametrize("metric", REFERENCE)
def test_a_stack_is_scored_matrix_by_matrix(metric) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (4, 3, 5, 5))
    assert np.allclose(metric(counts), [[metric(one) for one in row] for row in counts])


def test_a_constant_prediction_scores_one_over_classes() -> None:
    truth = np.repeat(np.arange(4), [50, 10, 5, 1])
    counts = confusion(truth, np.zeros_like(truth), num_classes=4)
    assert balanced_accuracy(counts) == 0.25
    assert accuracy(counts) == 50 / 66


def test_classes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="outside the 3 classes"):
        confusion([0, 3], [0, 0], num_classes=3)
    with pytest.raises(ValueError, match="two vectors of one length"):
        confusion([0, 1], [0], num_classes=2)
