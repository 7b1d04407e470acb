"""Is one encoder better than another, or is it chance?

In: confusion matrices of two encoders, or of several, on the same rows of the same groups. Out: p-values, also corrected for how many
comparisons were made. It is its own file because a test has its own promise, how often it is wrong where nothing differs, which is measured
apart from what intervals cover (docs/decisions/0023).

"t", the default, holds the difference against its error over groups and seeds, as the interval does: it is below 0.05 exactly where the
95 % interval leaves out 0. "exchange" asks less of the data and is for one seed each: if the two encoders are alike, it is chance which of
the two gave which answers on a patient; so the answers of the two are exchanged in every possible set of groups, and the p-value is the
share of these worlds whose difference is as large as the real one (Fisher 1935; Ernst 2004). Where differences tie it errs to the
safe side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from surgrec.core.rng import generator
from surgrec.evaluation.intervals import Interval, Statistic, check_groups, difference_interval, mean_interval, p_value
from surgrec.evaluation.metrics import Counts, Metric
from surgrec.evaluation.statistics import paired_difference, paired_statistics

Array = npt.NDArray[np.float64]
Test = Literal["t", "exchange"]
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
    test: Test


def compare(
    counts: Mapping[str, Counts | Sequence[Counts]], metric: Metric, test: Test = "t", seed: int = 0
) -> list[Comparison]:
    """Every pair of encoders, by name, with `counts` (G, C, C), or (S, G, C, C) for several seeds, of the same rows."""
    found = []
    for one, other in combinations(counts, 2):
        difference = paired_difference(counts[one], counts[other], metric)
        exchanged = test == "exchange"
        p = swap_test(_only(counts[one]), _only(counts[other]), metric, seed) if exchanged else p_value(difference)
        found.append((one, other, difference, p))
    return _corrected(found, test)


def compare_statistics(statistics: Mapping[str, Statistic]) -> list[Comparison]:
    """Every pair of encoders by "t", for any statistic, say of probabilities or of phases over time; all are of the same groups."""
    found = []
    for one, other in combinations(statistics, 2):
        difference = difference_interval(statistics[one], statistics[other])
        found.append((one, other, difference, p_value(difference)))
    return _corrected(found, "t")


def compare_means(data_sets: Sequence[Mapping[str, Statistic]]) -> list[Comparison]:
    """Every pair of encoders by the mean of their differences over data sets, each of which has all encoders on the same groups.

    For other patients, and other seeds, of these data sets; see `intervals.mean_interval`.
    """
    found = []
    for one, other in combinations(data_sets[0], 2):
        mean = mean_interval([difference_interval(each[one], each[other]) for each in data_sets])
        found.append((one, other, mean, p_value(mean)))
    return _corrected(found, "t")


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


def holm(p_values: Sequence[float]) -> Array:
    """p-values (n,) corrected for their number: the chance of any false finding among all stays below each (Holm 1979)."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.asarray(np.minimum(adjusted, 1.0), dtype=np.float64)


def _corrected(found: Sequence[tuple[str, str, Interval, float]], test: Test) -> list[Comparison]:
    adjusted = holm([each[3] for each in found])
    return [Comparison(*each, float(value), test) for each, value in zip(found, adjusted, strict=True)]


def _signs(num_groups: int, seed: int, num_swaps: int) -> Array:
    """Rows of +1 (as it was) and -1 (exchanged), (R, G); the first row is as it was.

    Exchanging all groups changes nothing but the sign, so the last group stays where all sets are tried.
    """
    if num_groups <= ALL_SWAPS:
        sets = np.arange(2 ** (num_groups - 1))[:, None] >> np.arange(num_groups)
        return 1.0 - 2.0 * (sets & 1).astype(np.float64)
    drawn = generator(seed, "swap-test", num_groups).integers(0, 2, (num_swaps - 1, num_groups))
    return np.concatenate([np.ones((1, num_groups)), 1.0 - 2.0 * drawn])


def _only(counts: Counts | Sequence[Counts]) -> Counts:
    """Of one seed: (G, C, C). Raises ValueError for several."""
    array = np.asarray(counts)
    if array.ndim == 4 and len(array) > 1:
        raise ValueError(
            f"an exchange of groups says nothing of other seeds, and there are {len(array)}; use the test 't'"
        )
    return array if array.ndim == 3 else array[0]
