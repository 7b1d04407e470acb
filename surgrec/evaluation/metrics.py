"""Scores of a classifier as functions of its confusion matrix.

In: labels and predictions, or confusion matrices (..., C, C), rows true class, columns predicted. Out: scores (...). It is its own
file, and works on counts, because counts of groups add up: to leave a patient out is then a
subtraction, to draw patients anew one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Metric = Callable[[Counts], Scores]


def confusion(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int) -> Counts:
    """Counts (C, C): how many rows of true class i were predicted as class j. Raises ValueError for a class outside 0..C-1."""
    truth, predicted = np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and predictions {predicted.shape} must be two vectors of one length")
    for name, values in (("label", truth), ("prediction", predicted)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(f"{name}s range from {values.min()} to {values.max()}, outside the {num_classes} classes")
    return np.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(counts: Counts) -> Scores:
    """The share of rows that are right."""
    return np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))


def balanced_accuracy(counts: Counts) -> Scores:
    """The mean over classes that occur of the share of their rows that are right (Brodersen et al. 2010)."""
    size = counts.sum(-1)
    recall = _divide(_diagonal(counts), size)
    return recall.sum(-1) / (size > 0).sum(-1)


def macro_f1(counts: Counts) -> Scores:
    """The mean over classes that occur or are predicted of F1 = 2 right / (true + predicted)."""
    size = counts.sum(-1) + counts.sum(-2)
    f1 = _divide(2 * _diagonal(counts), size)
    return f1.sum(-1) / (size > 0).sum(-1)


def macro_jaccard(counts: Counts) -> Scores:
    """The mean over classes that occur or are predicted of right / (true or predicted)."""
    jaccard = class_jaccard(counts)
    return np.nansum(jaccard, -1) / (~np.isnan(jaccard)).sum(-1)


def class_recall(counts: Counts) -> Scores:
    """Of each class (..., C), the share of its rows that are right; NaN where it does not occur."""
    return _quotient(_diagonal(counts), counts.sum(-1))


def class_precision(counts: Counts) -> Scores:
    """Of each class (..., C), the share of rows predicted as it that are right; NaN where it is not predicted."""
    return _quotient(_diagonal(counts), counts.sum(-2))


def class_f1(counts: Counts) -> Scores:
    """Of each class (..., C), 2 right / (true + predicted); NaN where it does not occur and is not predicted."""
    return _quotient(2 * _diagonal(counts), counts.sum(-1) + counts.sum(-2))


def class_jaccard(counts: Counts) -> Scores:
    """Of each class (..., C), right / (true or predicted); NaN where it does not occur and is not predicted."""
    return _quotient(_diagonal(counts), counts.sum(-1) + counts.sum(-2) - _diagonal(counts))


def _diagonal(counts: Counts) -> Counts:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _divide(above: Counts, below: Counts) -> Scores:
    """Quotients, 0 where nothing is divided by nothing."""
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def _quotient(above: Counts, below: Counts) -> Scores:
    """Quotients, NaN where nothing is divided by nothing."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
