"""Intervals that hold the true value as often as they say, from few groups of unequal size.

In: a statistic as a function of how often each group (patient, case) counts, for one seed or several. Out: an estimate with its interval.
It is its own file because the form was chosen by what it covers (docs/decisions/0023): other forms hold the truth less often than they say
where there are ten groups.

The form: every group is left out once, and the pseudo-values that this gives (Quenouille 1956; Tukey 1958) are treated as independent
findings, one a group. Four things make it cover where groups are few:

* a score between 0 and 1 has its interval on log-odds, by the delta method, since errors of a score near 1 reach further down than up;
* quantiles are of Student's t with the effective number of groups less one, (sum of sizes)^2 / sum of squared sizes (Kish 1965; Carter,
  Schnepel & Steigerwald 2017), since one large group among ten small ones is worth less than eleven;
* the jackknife's own estimate of bias is part of the error of a score, since metrics over rare classes are biased in small samples; in
  a difference of two encoders it cancels but for noise, and is left out;
* where there are several seeds, groups and seeds are crossed factors of an analysis of variance of the pseudo-values (Dorfman, Berbaum &
  Metz 1992, who have readers for seeds), so that the interval is for another patient and another seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import t as student

from surgrec.core.errors import UserError

Array = npt.NDArray[np.float64]
FORM = "jackknife over groups"
_EDGE = 1e-6  # scores nearer to 0 or 1 have their log-odds here


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it that holds the true value with probability about `level`.

    `form`: how it was found. `num_groups`: what it rests on; `error`: standard error on the estimate's own scale, with `freedom` degrees of
    freedom.
    """

    estimate: float
    low: float
    high: float
    level: float
    form: str = FORM
    num_groups: int = 0
    error: float = float("nan")
    freedom: float = float("nan")

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Statistic:
    """`value`: weights (..., G), how often each group counts, to values (..., S), one a seed. `sizes` (G,): rows of each group."""

    value: Callable[[Array], Array]
    sizes: Array
    num_seeds: int = 1

    @property
    def num_groups(self) -> int:
        return len(self.sizes)

    def estimate(self) -> float:
        """The mean over seeds, each group once."""
        return float(self.value(np.ones(self.num_groups)).mean())

    def by_seed(self) -> Array:
        """Values (S,), each group once."""
        return self.value(np.ones(self.num_groups))

    def left_out(self) -> Array:
        """Values (G, S) without each of the groups."""
        return self.value(1.0 - np.eye(self.num_groups))

    def pseudo_values(self) -> Array:
        """G times the value of all less G - 1 times that without a group: (G, S)."""
        return self.num_groups * self.by_seed() - (self.num_groups - 1) * self.left_out()


def score_interval(statistic: Statistic, level: float = 0.95) -> Interval:
    """Of a score between 0 and 1, the mean over seeds. Raises `UserError` for less than two groups."""
    check_groups(statistic.num_groups)
    estimate, pseudo = statistic.estimate(), statistic.pseudo_values()
    low, high = score_bounds(np.array(estimate), pseudo, statistic.sizes, level)
    error, freedom = map(float, crossed_error(pseudo, statistic.sizes))
    return Interval(estimate, float(low), float(high), level, FORM, statistic.num_groups, error, freedom)


def difference_interval(first: Statistic, second: Statistic, level: float = 0.95) -> Interval:
    """Of `first` less `second` on the same groups."""
    check_groups(first.num_groups)
    if first.num_groups != second.num_groups:
        raise ValueError(f"{first.num_groups} and {second.num_groups} groups cannot be paired")
    error, freedom = map(float, difference_error(first, second))
    estimate = first.estimate() - second.estimate()
    reach = float(student.ppf((1 + level) / 2, freedom)) * error
    return Interval(estimate, estimate - reach, estimate + reach, level, FORM, first.num_groups, error, freedom)


def mean_interval(intervals: Sequence[Interval], level: float = 0.95) -> Interval:
    """Of the plain mean of scores, or differences, of several data sets whose groups are not shared.

    It speaks of other patients of the same data sets, not of other data sets: those are a choice, not a sample. Never show the mean without
    it, nor without that of the majority row.
    """
    if not intervals:
        raise ValueError("there is no interval to take the mean of")
    variances = np.array([each.error**2 for each in intervals]) / len(intervals) ** 2
    error, freedom = map(
        float, _combined([(each, one.freedom) for each, one in zip(variances, intervals, strict=True)])
    )
    estimate = float(np.mean([each.estimate for each in intervals]))
    reach = float(student.ppf((1 + level) / 2, freedom)) * error
    num_groups = sum(each.num_groups for each in intervals)
    return Interval(
        estimate, estimate - reach, estimate + reach, level, f"{FORM} of each data set", num_groups, error, freedom
    )


def score_bounds(estimate: Array, pseudo: Array, sizes: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Of scores (...) with pseudo-values (..., G, S) and sizes of groups (..., G)."""
    error, freedom = crossed_error(pseudo, sizes)
    bias = estimate - pseudo.mean((-2, -1))
    inside = np.clip(estimate, _EDGE, 1 - _EDGE)
    reach = student.ppf((1 + level) / 2, freedom) * np.hypot(error, bias) / (inside * (1 - inside))
    low = np.minimum(expit(logit(inside) - reach), estimate)
    high = np.maximum(expit(logit(inside) + reach), estimate)
    # Nothing varies, so nothing is known of how much it could: each group is taken as wholly right or wrong (Clopper & Pearson 1934).
    furthest = 1 - ((1 - level) / 2) ** (1 / effective_groups(sizes))
    is_same = error == 0
    low = np.where(is_same & (estimate == 1), 1 - furthest, np.where(is_same, estimate, low))
    return low, np.where(is_same & (estimate == 0), furthest, np.where(is_same, estimate, high))


def difference_error(first: Statistic, second: Statistic) -> tuple[Array, Array]:
    """Standard error of the difference of two means over seeds, and its degrees of freedom.

    Groups are shared by both. Where both have as many seeds, they go in pairs too: a seed may choose the same few training cases for both,
    and where it does not, nothing is lost but degrees of freedom.
    """
    own, other = first.pseudo_values(), second.pseudo_values()
    if own.shape == other.shape:
        return crossed_error(own - other, first.sizes)
    by_group = own.mean(1) - other.mean(1)
    parts = [(_variance_of_mean(by_group), effective_groups(first.sizes) - 1)]
    return _combined([*parts, *(_seed_part(pseudo) for pseudo in (own, other) if pseudo.shape[1] > 1)])


def crossed_error(pseudo: Array, sizes: Array) -> tuple[Array, Array]:
    """Standard errors (...) of the mean of pseudo-values (..., G, S) of groups of these sizes (..., G), and degrees of freedom (...)."""
    parts = [(_variance_of_mean(pseudo.mean(-1)), effective_groups(sizes) - 1)]
    if pseudo.shape[-1] > 1:
        parts.append(_seed_part(pseudo))
    return _combined(parts)


def effective_groups(sizes: Array) -> Array:
    """How many groups of one size are worth as much as these, (..., G) to (...): between 2 and G."""
    return np.maximum(sizes.sum(-1) ** 2 / (sizes**2).sum(-1), 2.0)


def check_groups(num_groups: int) -> None:
    """Raises `UserError` where there is nothing to leave out."""
    if num_groups < 2:
        raise UserError(
            f"an interval over groups needs at least 2 test groups (patients or cases), there is {num_groups}"
        )


def _variance_of_mean(values: Array) -> Array:
    """Of the mean of (..., G)."""
    return values.var(-1, ddof=1) / values.shape[-1]


def _seed_part(pseudo: Array) -> tuple[Array, Array]:
    """What two or more seeds add to the variance of the mean of (..., G, S) beyond what they do group by group, and its degrees of freedom.

    The mean square between seeds less that of the interaction, which is already in the variance of groups' means.
    """
    num_groups, num_seeds = pseudo.shape[-2:]
    seeds = pseudo.mean(-2, keepdims=True)
    rest = pseudo - pseudo.mean(-1, keepdims=True) - seeds + pseudo.mean((-2, -1), keepdims=True)
    between = num_groups * seeds[..., 0, :].var(-1, ddof=1)
    interaction = (rest**2).sum((-2, -1)) / ((num_groups - 1) * (num_seeds - 1))
    variance = np.maximum(between - interaction, 0.0) / (num_groups * num_seeds)
    return variance, np.full(variance.shape, num_seeds - 1.0)


def _combined(parts: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> tuple[Array, Array]:
    """Roots of sums of variances, and degrees of freedom by Satterthwaite 1946."""
    variances, freedoms = (np.stack(np.broadcast_arrays(*each)) for each in zip(*parts, strict=True))
    total, fourths = variances.sum(0), (variances**2 / freedoms).sum(0)
    freedom = np.divide(total**2, fourths, out=np.array(freedoms[0], dtype=np.float64), where=fourths > 0)
    return np.sqrt(total), freedom
