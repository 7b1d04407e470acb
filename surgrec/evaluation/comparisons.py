"""Is one encoder better than another, or is it chance?

In: confusion matrices of two encoders, or of several, on the same rows of the same groups. Out: p-values, also corrected for how many
comparisons were made. It is its own file because a test has its own promise, how often it is wrong where nothing differs, which is measured
apart from what intervals cover (docs/decisions/0023).

One seed each: `swap_test`. If the two encoders are alike, it is chance which of the two gave which answers on a patient; so the answers of
the two are exchanged in every possible set of groups, and the p-value is the share of these worlds whose difference is as large as the real
one (Fisher 1935; Ernst 2004). Several seeds: exchanging groups says nothing of another seed, so the difference is held against its error
over groups and seeds (`intervals`), by Student's t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from surgrec.core.rng import generator
from surgrec.evaluation.intervals import Interval, Statistic, check_groups, difference_interval, mean_interval, p_value
from surgrec.evaluation.metrics import Counts, Metric
from surgrec.evaluation.statistics import paired_statistics

Array = npt.NDArray[np.float64]
ALL_SWAPS = 12  # groups: up to here every set of groups is exchanged, from here a draw of sets
NUM_SWAPS = 10_000
_CHUNK = 500  # worlds at a time


@dataclass(frozen=True)
class Comparison:
    """`difference` of the metric of `first` less that of `second`.

    `p_value`: how often chance alone gives as large a difference; `adjusted`: the same among all comparisons made together (Holm 1979);
    `test`: which one. Differences whose `adjusted` is at most 0.05 are called significant, and one in twenty such tables has a false one.
    """

    first: str
    second: str
    difference: Interval
    p_value: float
    adjusted: float
    test: str


def compare(counts: Mapping[str, Counts | Sequence[Counts]], metric: Metric, seed: int = 0) -> list[Comparison]:
    """Every pair of encoders, by name, with `counts` (G, C, C), or (S, G, C, C) for several seeds, of the same rows."""
    pairs = list(combinations(counts, 2))
    rows = []
    for first, second in pairs:
        statistics = paired_statistics(counts[first], counts[second], metric)
        if max(each.num_seeds for each in statistics) > 1:
            found, test = crossed_test(*statistics), "t over groups and seeds"
        else:
            found, test = swap_test(_only(counts[first]), _only(counts[second]), metric, seed), "exchange of groups"
        rows.append((first, second, difference_interval(*statistics), found, test))
    adjusted = holm([row[3] for row in rows])
    return [Comparison(*row[:4], float(each), row[4]) for row, each in zip(rows, adjusted, strict=True)]


def compare_means(data_sets: Sequence[Mapping[str, Statistic]]) -> list[Comparison]:
    """Every pair of encoders by the mean of their differences over data sets, each of which has all encoders on the same groups.

    For other patients, and other seeds, of these data sets; see `intervals.mean_interval`.
    """
    pairs = list(combinations(data_sets[0], 2))
    means = [mean_interval([difference_interval(each[one], each[other]) for each in data_sets]) for one, other in pairs]
    p_values = [p_value(mean) for mean in means]
    rows = zip(pairs, means, p_values, holm(p_values), strict=True)
    return [Comparison(*pair, mean, p, float(adjusted), "t over data sets") for pair, mean, p, adjusted in rows]


def swap_test(counts_a: Counts, counts_b: Counts, metric: Metric, seed: int = 0, num_swaps: int = NUM_SWAPS) -> float:
    """Two-sided p-value of metric(a) - metric(b) for counts (G, C, C) of the same rows.

    With G groups it cannot be below 2^(1 - G): less than six groups never give 0.05.
    """
    paired_statistics(counts_a, counts_b, metric)  # refuses other rows
    check_groups(len(counts_a))
    both, apart = (counts_a + counts_b).sum(0) / 2, (counts_a - counts_b) / 2
    observed = abs(float(metric(counts_a.sum(0)) - metric(counts_b.sum(0))))
    signs = _signs(len(counts_a), seed, num_swaps)
    as_large = 0
    for start in range(0, len(signs), _CHUNK):
        moved = np.tensordot(signs[start : start + _CHUNK], apart, 1)
        differences = np.abs(metric(both + moved) - metric(both - moved))
        as_large += int((differences >= observed - 1e-12).sum())
    return as_large / len(signs)


def crossed_test(first: Statistic, second: Statistic) -> float:
    """Two-sided p-value of the difference of two means over seeds; it is below 0.05 where the 95 % interval leaves out 0."""
    return p_value(difference_interval(first, second))


def holm(p_values: Sequence[float]) -> Array:
    """p-values (n,) corrected for their number: the chance of any false finding among all stays below each (Holm 1979)."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(adjusted, 1.0)


def _signs(num_groups: int, seed: int, num_swaps: int) -> Array:
    """Rows of +1 (as it was) and -1 (exchanged), (R, G); the first row is as it was.

    Exchanging all groups changes nothing but the sign, so the first group stays where all sets are tried.
    """
    if num_groups <= ALL_SWAPS:
        sets = np.arange(2 ** (num_groups - 1))[:, None] >> np.arange(num_groups)
        return 1.0 - 2.0 * (sets & 1)
    drawn = generator(seed, "swap-test", num_groups).integers(0, 2, (num_swaps - 1, num_groups))
    return np.concatenate([np.ones((1, num_groups)), 1.0 - 2.0 * drawn])


def _only(counts: Counts | Sequence[Counts]) -> Counts:
    """Of one seed: (G, C, C)."""
    array = np.asarray(counts)
    return array if array.ndim == 3 else array[0]
