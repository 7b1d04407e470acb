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

from collections.abc import Callable
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

    `form`: how it was found. `num_groups`: what it rests on; `error`: standard error on the estimate's own scale.
    """

    estimate: float
    low: float
    high: float
    level: float
    form: str = FORM
    num_groups: int = 0
    error: float = float("nan")

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
    pseudo, estimate = statistic.pseudo_values(), statistic.estimate()
    error, freedom = crossed_error(pseudo, statistic.sizes)
    if error == 0 and estimate in (0.0, 1.0):
        low, high = _of_none(effective_groups(statistic.sizes), level)
        low, high = (1 - high, 1 - low) if estimate == 1.0 else (low, high)
    else:
        bias = estimate - float(pseudo.mean())
        inside = min(max(estimate, _EDGE), 1 - _EDGE)
        middle, slope = float(logit(inside)), 1 / (inside * (1 - inside))
        reach = float(student.ppf((1 + level) / 2, freedom)) * float(np.hypot(error, bias)) * slope
        low, high = min(float(expit(middle - reach)), estimate), max(float(expit(middle + reach)), estimate)
    return Interval(estimate, low, high, level, FORM, statistic.num_groups, error)


def difference_interval(first: Statistic, second: Statistic, level: float = 0.95) -> Interval:
    """Of `first` less `second` on the same groups."""
    check_groups(first.num_groups)
    if first.num_groups != second.num_groups:
        raise ValueError(f"{first.num_groups} and {second.num_groups} groups cannot be paired")
    error, freedom = difference_error(first, second)
    estimate = first.estimate() - second.estimate()
    reach = float(student.ppf((1 + level) / 2, freedom)) * error
    return Interval(estimate, estimate - reach, estimate + reach, level, FORM, first.num_groups, error)


def mean_interval(intervals: list[Interval], level: float = 0.95) -> Interval:
    """Of the plain mean of scores, or differences, of several data sets whose groups are not shared.

    It speaks of other patients of the same data sets, not of other data sets: those are a choice, not a sample.
    """
    if not intervals:
        raise ValueError("there is no interval to take the mean of")
    errors, groups = np.array([each.error for each in intervals]), np.array([each.num_groups for each in intervals])
    estimate = float(np.mean([each.estimate for each in intervals]))
    error = float(np.sqrt((errors**2).sum()) / len(intervals))
    fourths = (errors**4 / np.maximum(groups - 1, 1)).sum()
    freedom = float((errors**2).sum() ** 2 / fourths) if fourths > 0 else float("inf")  # Satterthwaite 1946
    reach = float(student.ppf((1 + level) / 2, freedom)) * error
    return Interval(
        estimate, estimate - reach, estimate + reach, level, f"{FORM} of each data set", int(groups.sum()), error
    )


def difference_error(first: Statistic, second: Statistic) -> tuple[float, float]:
    """Standard error of the difference of two means over seeds, and its degrees of freedom.

    Groups are shared by both. Where both have as many seeds, they go in pairs too: a seed may choose the same few training cases for both,
    and where it does not, nothing is lost but degrees of freedom.
    """
    own, other = first.pseudo_values(), second.pseudo_values()
    if own.shape == other.shape:
        return crossed_error(own - other, first.sizes)
    by_group = own.mean(1) - other.mean(1)
    parts = [(_variance_of_mean(by_group), effective_groups(first.sizes) - 1)]
    return _combined(parts + [part for pseudo in (own, other) if (part := _seed_part(pseudo)) is not None])


def crossed_error(pseudo: Array, sizes: Array) -> tuple[float, float]:
    """Standard error of the mean of pseudo-values (G, S), and its degrees of freedom."""
    parts = [(_variance_of_mean(pseudo.mean(1)), effective_groups(sizes) - 1)]
    if (part := _seed_part(pseudo)) is not None:
        parts.append(part)
    return _combined(parts)


def effective_groups(sizes: Array) -> float:
    """How many groups of one size are worth as much as these (G,): between 2 and G."""
    return float(max(sizes.sum() ** 2 / (sizes**2).sum(), 2.0))


def check_groups(num_groups: int) -> None:
    """Raises `UserError` where there is nothing to leave out."""
    if num_groups < 2:
        raise UserError(
            f"an interval over groups needs at least 2 test groups (patients or cases), there is {num_groups}"
        )


def _variance_of_mean(values: Array) -> float:
    return float(values.var(ddof=1) / len(values))


def _seed_part(pseudo: Array) -> tuple[float, float] | None:
    """What seeds add to the variance of the mean of (G, S) beyond what they do group by group, and its degrees of freedom.

    The mean square between seeds less that of the interaction, which is already in the variance of groups' means. None for one seed.
    """
    num_groups, num_seeds = pseudo.shape
    if num_seeds < 2:
        return None
    seeds = pseudo.mean(0)
    rest = pseudo - pseudo.mean(1, keepdims=True) - seeds + pseudo.mean()
    between = num_groups * float(seeds.var(ddof=1))
    interaction = float((rest**2).sum() / ((num_groups - 1) * (num_seeds - 1)))
    return max(between - interaction, 0.0) / (num_groups * num_seeds), float(num_seeds - 1)


def _combined(parts: list[tuple[float, float]]) -> tuple[float, float]:
    """Root of the sum of variances, and degrees of freedom by Satterthwaite 1946."""
    variances, freedoms = np.array(parts).T
    total = float(variances.sum())
    if total == 0:
        return 0.0, float(freedoms[0])
    return float(np.sqrt(total)), float(total**2 / (variances**2 / freedoms).sum())


def _of_none(num_groups: float, level: float) -> tuple[float, float]:
    """Of a share that was 0 in this many groups, each taken as wholly right or wrong (Clopper & Pearson 1934)."""
    return 0.0, float(1 - ((1 - level) / 2) ** (1 / num_groups))
