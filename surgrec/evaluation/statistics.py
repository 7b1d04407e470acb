"""How far a score can be trusted, for a classifier whose answers are counted.

In: confusion matrices of each group (patient, case), a metric. Out: an estimate with its interval, for one encoder or for the difference of
two. It is its own file because the unit of chance is the patient, not the clip: leaving out clips pretends that a thousand clips of five
patients are a thousand independent findings (Efron & Tibshirani 1993, chapters 8 and 13). The form of the interval is in `intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from surgrec.evaluation.intervals import Interval, Statistic, difference_interval, score_interval
from surgrec.evaluation.metrics import Counts, Metric, confusion


def group_confusions(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, groups: npt.ArrayLike, num_classes: int
) -> Counts:
    """Confusion matrices (G, C, C) of the G groups in ascending order of their names, from rows (n,)."""
    names, group_of_row = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    return np.stack(
        [confusion(truth[group_of_row == g], predicted[group_of_row == g], num_classes) for g in range(len(names))]
    )


def counts_statistic(counts: Counts | Sequence[Counts], metric: Metric) -> Statistic:
    """The metric as a function of how often each group counts; `counts` (G, C, C), or those of several seeds, (S, G, C, C)."""
    stacked = np.asarray(counts, dtype=np.float64)
    of_seeds = stacked[None] if stacked.ndim == 3 else stacked
    num_groups, num_classes = of_seeds.shape[1:3]
    flat = of_seeds.reshape(len(of_seeds), num_groups, num_classes**2)

    def value(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        summed = np.stack([weights @ one for one in flat], -2)
        return metric(summed.reshape(*summed.shape[:-1], num_classes, num_classes))  # type: ignore[arg-type]

    return Statistic(value, of_seeds[0].sum((1, 2)), len(of_seeds))


def interval_of(counts: Counts | Sequence[Counts], metric: Metric, level: float = 0.95) -> Interval:
    """The metric over all groups, the mean over seeds where `counts` are of several, with its interval (see `intervals`)."""
    return score_interval(counts_statistic(counts, metric), level)


def paired_difference(
    counts_a: Counts | Sequence[Counts], counts_b: Counts | Sequence[Counts], metric: Metric, level: float = 0.95
) -> Interval:
    """metric(a) - metric(b) for two classifiers on the same rows of the same groups, which are left out of both alike.

    Raises ValueError where the two do not have the same true classes in every group, so cannot have seen the same rows.
    """
    return difference_interval(*paired_statistics(counts_a, counts_b, metric), level)


def paired_statistics(
    counts_a: Counts | Sequence[Counts], counts_b: Counts | Sequence[Counts], metric: Metric
) -> tuple[Statistic, Statistic]:
    """The metric of both, checked to be of the same rows."""
    true_classes = [np.asarray(counts).sum(-1).reshape(-1, *np.shape(counts)[-3:-1]) for counts in (counts_a, counts_b)]
    first = true_classes[0][0]
    if any(one.shape[1:] != first.shape or not (one == first).all() for one in true_classes):
        raise ValueError(
            "a paired difference needs both classifiers to have been tested on the same rows of the same groups"
        )
    return counts_statistic(counts_a, metric), counts_statistic(counts_b, metric)
