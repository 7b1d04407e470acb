"""Forms of an interval that `coverage.py` holds ours against.

In: a metric, counts of groups of many experiments at once. Out: bounds. It is its own file because these are the textbook's, and none is in
surgrec, which has the one that covers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from surgrec.evaluation.metrics import Metric, accuracy, balanced_accuracy

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Of one chunk of X experiments: `value` (X,), of resampled groups (X, B), without each group (X, G); slopes (X, G) and those within
    resamples, by which studentised values (X, B) and the standard error (X,) were found."""

    value: Array
    resampled: Array
    left_out: Array
    studentised: Array
    error: Array


Bounds = tuple[Array, Array]


def percentile(seen: Seen, tail: float = 0.025) -> Bounds:
    low, high = np.quantile(seen.resampled, [tail, 1 - tail], axis=1)
    return low, high


def basic(seen: Seen) -> Bounds:
    low, high = percentile(seen)
    return 2 * seen.value - high, 2 * seen.value - low


def expanded(seen: Seen) -> Bounds:
    """Hesterberg 2015: quantiles further out, as Student's t is, and for the missing G / (G - 1)."""
    groups = seen.left_out.shape[1]
    return percentile(seen, float(stats.norm.cdf(np.sqrt(groups / (groups - 1)) * stats.t.ppf(0.025, groups - 1))))


def bca(seen: Seen) -> Bounds:
    """Efron 1987."""
    below = ((seen.resampled < seen.value[:, None]).mean(1) + (seen.resampled <= seen.value[:, None]).mean(1)) / 2
    shift = stats.norm.ppf(np.clip(below, 0.001, 0.999))
    apart = seen.left_out.mean(1, keepdims=True) - seen.left_out
    skew = (apart**3).sum(1) / (6 * np.maximum((apart**2).sum(1), 1e-300) ** 1.5)
    bounds = []
    for quantile in stats.norm.ppf([0.025, 0.975]):
        place = stats.norm.cdf(shift + (shift + quantile) / (1 - skew * (shift + quantile)))
        bounds.append(np.array([np.quantile(*each) for each in zip(seen.resampled, place, strict=True)]))
    return bounds[0], bounds[1]


def bootstrap_t(seen: Seen) -> Bounds:
    low, high = np.quantile(seen.studentised, [0.025, 0.975], axis=1)
    return seen.value - high * seen.error, seen.value - low * seen.error


def linearised_t(seen: Seen) -> Bounds:
    """Cluster-robust: the sum of squares of groups' slopes, with G - 1 degrees of freedom."""
    groups = seen.left_out.shape[1]
    reach = stats.t.ppf(0.975, groups - 1) * seen.error * np.sqrt(groups / (groups - 1))
    return seen.value - reach, seen.value + reach


def jackknife_t(seen: Seen) -> Bounds:
    groups = seen.left_out.shape[1]
    reach = stats.t.ppf(0.975, groups - 1) * (groups - 1) / np.sqrt(groups) * seen.left_out.std(1, ddof=1)
    return seen.value - reach, seen.value + reach


FORMS: dict[str, Callable[[Seen], Bounds]] = {
    "percentile": percentile,
    "basic": basic,
    "BCa": bca,
    "expanded percentile": expanded,
    "bootstrap-t": bootstrap_t,
    "linearised, t": linearised_t,
    "jackknife, t": jackknife_t,
}


def gradient(metric: Metric, counts: Array) -> Array:
    """Of the metric by each cell of confusion matrices (..., C, C)."""
    unit, diagonal = np.eye(counts.shape[-1]), np.diagonal(counts, axis1=-2, axis2=-1)
    if metric is accuracy:
        return (unit - accuracy(counts)[..., None, None]) / counts.sum((-2, -1))[..., None, None]  # type: ignore[arg-type]
    true = counts.sum(-1)
    size = true if metric is balanced_accuracy else true + counts.sum(-2)
    inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    per_class = inverse / (size > 0).sum(-1, keepdims=True)
    share = diagonal * inverse
    if metric is balanced_accuracy:
        return (unit - share[..., None]) * per_class[..., None]
    mean = (2 * share) * per_class
    return 2 * unit * per_class[..., None] - mean[..., :, None] - mean[..., None, :]


def see(metric: Metric, encoders: list[Array], weights: Array) -> Seen:
    """Of one encoder, or the difference of two, from counts (X, G, C, C) and draws (B, G)."""
    signs = (1.0, -1.0)[: len(encoders)]
    num_experiments, num_groups, classes, _ = encoders[0].shape
    value, resampled, left_out, slopes, inner = 0.0, 0.0, 0.0, 0.0, 0.0
    for sign, counts in zip(signs, encoders, strict=True):
        total, flat = counts.sum(1), counts.reshape(num_experiments, num_groups, -1)
        drawn = (weights @ flat).reshape(num_experiments, len(weights), classes, classes)
        value = value + sign * metric(total)  # type: ignore[arg-type]
        resampled = resampled + sign * metric(drawn)  # type: ignore[arg-type]
        left_out = left_out + sign * metric(total[:, None] - counts)  # type: ignore[arg-type]
        slopes = slopes + sign * np.einsum("xij,xgij->xg", gradient(metric, total), counts)
        inner = inner + sign * (gradient(metric, drawn).reshape(*drawn.shape[:2], -1) @ flat.transpose(0, 2, 1))
    error = np.sqrt((np.asarray(slopes) ** 2).sum(1))
    of_resample = np.sqrt(np.maximum((weights * np.asarray(inner) ** 2).sum(-1), 1e-12))
    studentised = (np.asarray(resampled) - np.asarray(value)[:, None]) / of_resample
    return Seen(np.asarray(value), np.asarray(resampled), np.asarray(left_out), studentised, error)
