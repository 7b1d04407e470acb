"""Intervals that hold the true value as often as they say, from few groups of unequal size.

In: a statistic as a function of how often each group (patient, case) counts, for one seed or several. Out: an estimate with its interval.
It is its own file because the form was chosen by what it covers (docs/decisions/0023): other forms hold the truth less often than they say
where there are ten groups.

The form: every group is left out once, and the pseudo-values that this gives (Quenouille 1956; Tukey 1958) are treated as independent
findings, one a group. Four things make it cover where groups are few:

* a score between 0 and 1 has its interval on log-odds, by the delta method, since errors of a score near 1 reach further down than up;
* quantiles are of Student's t. Where rows are what varies, one large group among ten small ones is worth less than eleven (the effective
  number, (sum of sizes)^2 / sum of squared sizes: Kish 1965; Carter, Schnepel & Steigerwald 2017); where patients are, it is one of
  eleven. Degrees of freedom lie between, half-way for a score and nearer to the number of groups for a difference, from which most of
  what makes a group hard is gone; how near was chosen by what covers;
* the jackknife's own estimate of bias is part of the error of a score, since metrics over rare classes are biased in small samples; in
  a difference of two encoders it cancels but for noise, and is left out;
* where there are several seeds, groups and seeds are crossed factors of an analysis of variance of the pseudo-values (Dorfman, Berbaum &
  Metz 1992, who have readers for seeds), so that the interval is for another patient and another seed. What seeds move a group on average
  counts where it stands out from what they move single groups (a preliminary test at 20 %, Paull 1950; Bancroft 1964), and then whole
  (Clark 1973): with three seeds it seems to be something where it is nothing, and tests that always counted it found too little. Degrees
  of freedom weight those of both by the variance; Satterthwaite's are too many where they rest on two or three seeds.

Where a difference is the same whatever group is left out, its variance says nothing of how much it could vary: see `_unvarying`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, fdtri, logit, stdtr, stdtrit  # scipy.stats takes half a second of a program's start

from surgrec.core.errors import UserError

Array = npt.NDArray[np.float64]
Part = tuple[Array, Array]  # a variance and its degrees of freedom
FORM = "jackknife over groups"
_EDGE = 1e-6  # scores nearer to 0 or 1 have their log-odds here
_NOISE = 1e-20  # variances below are of the rounding of sums
_SEEDS_SHOWN = 0.2  # level of the test of whether seeds differ
_OF_SCORE, _OF_DIFFERENCE = 1 / 2, 2 / 3  # how near degrees of freedom are to the number of groups


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it that holds the true value with probability about `level`.

    `form`: how it was found. `num_groups`: what it rests on. `parts`: variance of the estimate, on its own scale, and degrees of freedom,
    by groups and, where there are several, by seeds.
    """

    estimate: float
    low: float
    high: float
    level: float
    form: str = FORM
    num_groups: int = 0
    parts: tuple[tuple[float, float], ...] = ()

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(sum(variance for variance, _ in self.parts))

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
    """Of a score between 0 and 1, the mean over seeds. Raises `UserError` for less than two groups, and for a metric that one of them alone
    defines, such as AUROC where one group has all rows of a class.
    """
    check_groups(statistic.num_groups)
    estimate, pseudo = statistic.estimate(), _defined(statistic.pseudo_values())
    low, high = score_bounds(np.array(estimate), pseudo, statistic.sizes, level)
    parts = _plain(crossed_parts(pseudo, score_freedom(statistic.sizes)))
    return Interval(estimate, float(low), float(high), level, FORM, statistic.num_groups, parts)


def difference_interval(first: Statistic, second: Statistic, level: float = 0.95) -> Interval:
    """Of `first` less `second` on the same groups. Where both have as many seeds, they go in pairs too: a seed may choose the same few
    training cases for both, and where it does not, nothing is lost but degrees of freedom.
    """
    check_groups(first.num_groups)
    if first.num_groups != second.num_groups:
        raise ValueError(f"{first.num_groups} and {second.num_groups} groups cannot be paired")
    own, other = _defined(first.pseudo_values()), _defined(second.pseudo_values())
    freedom = paired_freedom(first.sizes)
    if own.shape == other.shape:
        parts = crossed_parts(own - other, freedom)
    else:
        of_seeds = [_seed_part(pseudo, freedom) for pseudo in (own, other) if pseudo.shape[1] > 1]
        parts = [(_variance_of_mean(own.mean(1) - other.mean(1)), freedom), _joined(of_seeds)]
    estimate = first.estimate() - second.estimate()
    return _symmetric(estimate, _plain(parts), level, FORM, first.num_groups)


def mean_interval(intervals: Sequence[Interval], level: float = 0.95) -> Interval:
    """Of the plain mean of scores, or differences, of several data sets whose groups are not shared.

    It speaks of other patients of the same data sets, not of other data sets: those are a choice, not a sample. Never show the mean without
    it, nor without that of the majority row.
    """
    if not intervals:
        raise ValueError("there is no interval to take the mean of")
    parts = []
    for factor in range(max(len(each.parts) for each in intervals)):  # groups, then seeds
        of_sets = [each.parts[factor] for each in intervals if factor < len(each.parts)]
        parts.append(_joined([(variance / len(intervals) ** 2, freedom) for variance, freedom in of_sets]))
    estimate = float(np.mean([each.estimate for each in intervals]))
    num_groups = sum(each.num_groups for each in intervals)
    return _symmetric(estimate, _plain(parts), level, f"{FORM} of each data set", num_groups)


def p_value(difference: Interval) -> float:
    """Two-sided: one less the level at which the interval of a difference just reaches 0."""
    size = abs(difference.estimate)
    if size < math.sqrt(_NOISE):
        return 1.0
    variance, freedom = _combined(difference.parts)
    if variance < _NOISE:
        return float(2 ** (1 - _num_effective(difference.parts)))
    return float(2 * stdtr(freedom, -size / np.sqrt(variance)))


def score_bounds(estimate: Array, pseudo: Array, sizes: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Of scores (...) with pseudo-values (..., G, S) and sizes of groups (..., G)."""
    parts = crossed_parts(pseudo, score_freedom(sizes))
    bias = estimate - pseudo.mean((-2, -1))
    with_bias = [(parts[0][0] + bias**2, parts[0][1]), *parts[1:]]
    inside = np.clip(estimate, _EDGE, 1 - _EDGE)
    away = reach(with_bias, level) / (inside * (1 - inside))
    low = np.minimum(expit(logit(inside) - away), estimate)
    high = np.maximum(expit(logit(inside) + away), estimate)
    # Nothing varies, so nothing is known of how much it could: each group is taken as wholly right or wrong (Clopper & Pearson 1934).
    furthest = _furthest(effective_groups(sizes), level)
    is_same = sum(variance for variance, _ in parts) == 0
    low = np.where(is_same & (estimate == 1), 1 - furthest, np.where(is_same, estimate, low))
    return low, np.where(is_same & (estimate == 0), furthest, np.where(is_same, estimate, high))


def crossed_parts(pseudo: Array, freedom: Array) -> list[Part]:
    """Variances (...) of the mean of pseudo-values (..., G, S) by groups, of `freedom` (...), and by seeds where there are several."""
    of_groups = _variance_of_mean(pseudo.mean(-1)), freedom
    return [of_groups, _seed_part(pseudo, freedom)] if pseudo.shape[-1] > 1 else [of_groups]


def reach(parts: Sequence[Part] | Sequence[tuple[float, float]], level: float) -> Array:
    """How far to both sides (...) an interval goes."""
    variance, freedom = _combined(parts)
    return np.asarray(stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance))


def effective_groups(sizes: Array) -> Array:
    """How many groups of one size are worth as much as these, (..., G) to (...): between 2 and G."""
    return np.maximum(sizes.sum(-1) ** 2 / (sizes**2).sum(-1), 2.0)


def score_freedom(sizes: Array) -> Array:
    """Degrees of freedom of a score over groups of these sizes, (..., G) to (...)."""
    return _freedom(sizes, _OF_SCORE)


def paired_freedom(sizes: Array) -> Array:
    """Degrees of freedom of a difference over groups of these sizes, (..., G) to (...)."""
    return _freedom(sizes, _OF_DIFFERENCE)


def check_groups(num_groups: int) -> None:
    """Raises `UserError` where there is nothing to leave out."""
    if num_groups < 2:
        raise UserError(
            f"an interval over groups needs at least 2 test groups (patients or cases), there is {num_groups}"
        )


def _freedom(sizes: Array, nearness: float) -> Array:
    """The weighted harmonic mean of what effective groups and what groups give."""
    return np.asarray(1 / ((1 - nearness) / (effective_groups(sizes) - 1) + nearness / (sizes.shape[-1] - 1)))


def _defined(pseudo: Array) -> Array:
    if not np.isfinite(pseudo).all():
        raise UserError("the metric is not defined without one of the test groups, so nothing tells how far it varies")
    return pseudo


def _variance_of_mean(values: Array) -> Array:
    """Of the mean of (..., G)."""
    return values.var(-1, ddof=1) / values.shape[-1]


def _seed_part(pseudo: Array, freedom: Array) -> Part:
    """What two or more seeds add to the variance of the mean of (..., G, S), and its degrees of freedom; `freedom` is that of groups.

    The mean square between seeds where it is above that of the interaction by more than chance, else nothing.
    """
    num_groups, num_seeds = pseudo.shape[-2:]
    seeds = pseudo.mean(-2, keepdims=True)
    rest = pseudo - pseudo.mean(-1, keepdims=True) - seeds + pseudo.mean((-2, -1), keepdims=True)
    between = num_groups * seeds[..., 0, :].var(-1, ddof=1)
    interaction = (rest**2).sum((-2, -1)) / ((num_groups - 1) * (num_seeds - 1))
    stands_out = between > interaction * fdtri(num_seeds - 1, freedom * (num_seeds - 1), 1 - _SEEDS_SHOWN)
    variance = np.where(stands_out, between, 0.0) / (num_groups * num_seeds)
    return variance, np.full(variance.shape, num_seeds - 1.0)


def _combined(parts: Sequence[Part] | Sequence[tuple[float, float]]) -> Part:
    """Of independent parts together, with degrees of freedom whose inverse is the mean of the parts' inverses, weighted by variance."""
    every = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for part in parts for value in part))
    variances, freedoms = np.stack(every[::2]), np.stack(every[1::2])
    total = variances.sum(0)
    shares = np.divide(variances, total, out=np.zeros_like(variances), where=total > 0)
    shares[0] = np.where(total > 0, shares[0], 1.0)
    return total, 1 / (shares / freedoms).sum(0)


def _joined(parts: Sequence[Part] | Sequence[tuple[float, float]]) -> Part:
    """The sum of variances, and its degrees of freedom by Satterthwaite 1946."""
    variances, freedoms = (np.array(each, dtype=np.float64) for each in zip(*parts, strict=True))
    total, fourths = variances.sum(0), (variances**2 / freedoms).sum(0)
    return total, np.divide(total**2, fourths, out=np.array(freedoms[0]), where=fourths > 0)


def _plain(parts: Sequence[Part]) -> tuple[tuple[float, float], ...]:
    return tuple((float(variance), float(freedom)) for variance, freedom in parts)


def _symmetric(
    estimate: float, parts: tuple[tuple[float, float], ...], level: float, form: str, num_groups: int
) -> Interval:
    away = float(reach(parts, level))
    low, high = estimate - away, estimate + away
    if abs(estimate) > math.sqrt(_NOISE) and sum(variance for variance, _ in parts) < _NOISE:
        low, high = _unvarying(estimate, _num_effective(parts), level)
    return Interval(estimate, low, high, level, form, num_groups, parts)


def _unvarying(estimate: float, num_effective: float, level: float) -> tuple[float, float]:
    """Of a difference other than 0 that no group moves, such as that of a perfect encoder and one of a single answer.

    Among groups that were not seen, as many may have it the other way round as may be where none of these has. Its p is that of so many
    coins that fall alike, as if the encoders' answers were exchanged.
    """
    away = 2 * abs(estimate) * float(_furthest(np.array(num_effective), level))
    return max(estimate - away, -1.0), min(estimate + away, 1.0)


def _furthest(num_effective: Array, level: float) -> Array:
    """The share of all groups that may be otherwise where of so many none is (Clopper & Pearson 1934)."""
    return np.asarray(1 - ((1 - level) / 2) ** (1 / num_effective))


def _num_effective(parts: tuple[tuple[float, float], ...]) -> float:
    return parts[0][1] + 1
