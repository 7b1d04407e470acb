"""How far a score can be trusted: bootstrap intervals over groups.

In: confusion matrices of each group (patient, case), a metric. Out: an estimate with its interval, for one encoder or for the
difference of two. It is its own file because the unit of chance is the patient, not the clip: resampling clips pretends that a
thousand clips of five patients are a thousand independent findings (Efron & Tibshirani 1993, chapters 8 and 13).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.core.rng import generator
from surgrec.evaluation.metrics import Counts, Metric, Scores, confusion


@dataclass(frozen=True)
class Interval:
    """An estimate and the percentile interval around it that holds the true value with probability about `level`."""

    estimate: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def group_confusions(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, groups: npt.ArrayLike, num_classes: int
) -> Counts:
    """Confusion matrices (G, C, C) of the G groups in ascending order of their names, from rows (n,)."""
    names, group_of_row = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    return np.stack(
        [confusion(truth[group_of_row == g], predicted[group_of_row == g], num_classes) for g in range(len(names))]
    )


def bootstrap_interval(
    counts: Counts, metric: Metric, seed: int, num_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """The metric over all groups of `counts` (G, C, C), with its percentile interval over resampled groups."""
    resamples = _resample(counts, seed, num_resamples)
    return _interval(float(metric(counts.sum(0))), metric(resamples), level)


def paired_difference(
    counts_a: Counts, counts_b: Counts, metric: Metric, seed: int, num_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """metric(a) - metric(b) for two classifiers on the same rows of the same groups, resampling the groups of both alike.

    Raises ValueError where the two do not have the same true classes in every group, so cannot have seen the same rows.
    """
    if counts_a.shape != counts_b.shape or not np.array_equal(counts_a.sum(-1), counts_b.sum(-1)):
        raise ValueError(
            "a paired difference needs both classifiers to have been tested on the same rows of the same groups"
        )
    differences = metric(_resample(counts_a, seed, num_resamples)) - metric(_resample(counts_b, seed, num_resamples))
    return _interval(float(metric(counts_a.sum(0)) - metric(counts_b.sum(0))), differences, level)


def _resample(counts: Counts, seed: int, num_resamples: int) -> Counts:
    """Summed confusion matrices (R, C, C) of R draws of G groups with replacement; the draws depend on seed, G and R only."""
    num_groups = len(counts)
    if num_groups < 2:
        raise UserError(
            f"an interval over groups needs at least 2 test groups (patients or cases), there is {num_groups}"
        )
    times_drawn = generator(seed, "bootstrap", num_groups).multinomial(
        num_groups, np.full(num_groups, 1.0 / num_groups), size=num_resamples
    )
    return np.einsum("rg,gij->rij", times_drawn, counts)


def _interval(estimate: float, resampled: Scores, level: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level)
