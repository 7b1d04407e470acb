"""How well classes are ranked by their probabilities: area under the ROC curve, and average precision.

In: labels, probabilities (or any scores) of classes, how often each row counts. Out: one number for each set of weights. It is its own
file, beside scikit-learn whose numbers it gives, because an interval needs it for many weights at once: rows are sorted once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def macro_auroc(labels: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Array:
    """The mean over classes of the chance that a row of the class has a higher probability of it than a row of another; ties are half.

    Labels (n,), probabilities (n, C), weights (..., n), all 1 where not given; result (...). Classes that have no row, or all rows, are
    left out; NaN where none is left.
    """
    return _macro(auroc, labels, probabilities, weights)


def mean_average_precision(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Array:
    """The mean over classes that have rows of the average precision; shapes as in `macro_auroc`."""
    return _macro(average_precision, labels, probabilities, weights)


def auroc(is_true: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Array:
    """Area under the ROC curve of a yes or no (n,) by scores (n,), weights (..., n); NaN where all rows are of one kind."""
    right, wrong = _at_thresholds(is_true, scores, weights)
    num_right, num_wrong = right.sum(-1), wrong.sum(-1)
    right_above = np.cumsum(right, -1) - right
    won = (wrong * (right_above + right / 2)).sum(-1)
    return _quotient(won, num_right * num_wrong)


def average_precision(is_true: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Array:
    """Sum over thresholds of precision times the recall gained there (no interpolation); shapes as in `auroc`."""
    right, wrong = _at_thresholds(is_true, scores, weights)
    found = np.cumsum(right, -1)
    taken = found + np.cumsum(wrong, -1)
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    return _quotient((precision * right).sum(-1), right.sum(-1))


def _macro(
    of_class: Callable[..., Array], labels: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None
) -> Array:
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise ValueError(f"labels {truth.shape} need probabilities (n, C), got {scores.shape}")
    values = np.stack([of_class(truth == c, scores[:, c], weights) for c in range(scores.shape[1])], -1)
    is_defined = ~np.isnan(values)
    return _quotient(np.where(is_defined, values, 0.0).sum(-1), is_defined.sum(-1).astype(np.float64))


def _at_thresholds(is_true: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Array, Array]:
    """Weights of true and of other rows at each score that occurs, the highest first: two of (..., K)."""
    truth, values = np.asarray(is_true, dtype=bool), np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("scores of rows cannot be ranked where some are NaN")
    counted = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(values[order]) != 0]))
    ordered = counted[..., order]
    right = np.add.reduceat(ordered * truth[order], starts, axis=-1)
    return right, np.add.reduceat(ordered, starts, axis=-1) - right


def _quotient(above: Array, below: Array) -> Array:
    """Quotients, NaN where nothing is divided by nothing."""
    above, below = np.asarray(above), np.asarray(below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
