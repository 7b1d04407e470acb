"""Which encoder is best, and how sure is that?

In: comparisons of all pairs, or statistics of all encoders on several data sets. Out: an interval of each encoder's rank, and the chance
that it is the best. It is its own file because ranks mislead where encoders are close: resampled ranks promise too much then (Hall & Miller
2009), so intervals come from tests that are corrected for their number (Mogstad, Romano, Shaikh & Wilhelm 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.core.rng import generator
from surgrec.evaluation.comparisons import Comparison
from surgrec.evaluation.intervals import Statistic, check_groups

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rank:
    """`best` to `worst`: ranks, 1 the highest score, that cannot be ruled out."""

    name: str
    best: int
    worst: int


def rank_intervals(comparisons: Sequence[Comparison], level: float = 0.95) -> list[Rank]:
    """Of every encoder named in comparisons of all pairs, in the order of first mention.

    An encoder's rank is at least one more than the number of those significantly better, and so on; as the tests are corrected for their
    number, all intervals together hold the true ranks with probability of at least `level`.
    """
    names = list(dict.fromkeys(name for each in comparisons for name in (each.first, each.second)))
    above, below = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for each in comparisons:
        if each.adjusted <= 1 - level:
            is_first = each.difference.estimate > 0
            better, worse = (each.first, each.second) if is_first else (each.second, each.first)
            below[better] += 1
            above[worse] += 1
    return [Rank(name, 1 + above[name], len(names) - below[name]) for name in names]


def chance_of_best(
    data_sets: Sequence[Mapping[str, Statistic]], seed: int = 0, num_resamples: int = 2000
) -> dict[str, float]:
    """How often each encoder has the highest mean over data sets when groups, and seeds, are drawn anew with replacement.

    Every data set names the same encoders on the same groups. Encoders that tie share. It describes these data; it is no test.
    """
    names = list(data_sets[0])
    total = np.zeros((num_resamples, len(names)))
    for number, statistics in enumerate(data_sets):
        if list(statistics) != names:
            raise ValueError(f"data set {number} has encoders {list(statistics)}, the first has {names}")
        total += _resampled(list(statistics.values()), seed, number, num_resamples)
    total = total[
        np.isfinite(total).all(1)
    ]  # a draw of groups may leave a metric undefined, such as AUROC without one of two classes
    if not len(total):
        raise UserError("no draw of test groups leaves the metric defined, so nothing tells which encoder is best")
    is_best = total >= total.max(1, keepdims=True) - 1e-12
    shares = (is_best / is_best.sum(1, keepdims=True)).mean(0)
    return {name: float(share) for name, share in zip(names, shares, strict=True)}


def _resampled(statistics: list[Statistic], seed: int, number: int, num_resamples: int) -> Array:
    """Scores (R, E) of one data set: the same groups for all encoders, seeds of their own."""
    num_groups = statistics[0].num_groups
    check_groups(num_groups)
    draws = generator(seed, "chance-of-best", number)
    weights = draws.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=num_resamples).astype(np.float64)
    columns = []
    for statistic in statistics:
        of_seeds = statistic.value(weights)
        drawn = draws.integers(0, statistic.num_seeds, (num_resamples, statistic.num_seeds))
        columns.append(np.take_along_axis(of_seeds, drawn, 1).mean(1))
    return np.stack(columns, 1)
