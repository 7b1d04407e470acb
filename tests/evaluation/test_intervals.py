"""Intervals: hand-worked jackknife, effective groups, seeds as a second source of chance, edges, means over data sets; and coverage."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from surgrec.evaluation.intervals import (
    Statistic,
    crossed_parts,
    difference_interval,
    effective_groups,
    mean_interval,
    p_value,
    paired_freedom,
    reach,
    score_freedom,
    score_interval,
)
from surgrec.evaluation.metrics import accuracy, balanced_accuracy
from surgrec.evaluation.statistics import counts_statistic, interval_of

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def mean_of(values: np.ndarray, sizes: np.ndarray | None = None) -> Statistic:
    """The weighted mean of values (S, G) of groups."""
    counted = np.ones(values.shape[1]) if sizes is None else sizes
    return Statistic(lambda w: (w * counted) @ values.T / (w * counted).sum(-1)[..., None], counted, len(values))


def test_pseudo_values_of_a_mean_are_its_values() -> None:
    values = np.array([[0.2, 0.5, 0.9, 0.4]])
    assert np.allclose(mean_of(values).pseudo_values()[:, 0], values[0])


def test_a_difference_of_equal_groups_is_the_paired_t_interval() -> None:
    draws = np.random.default_rng(0)
    first, second = draws.uniform(size=(1, 12)), draws.uniform(size=(1, 12))
    interval = difference_interval(mean_of(first), mean_of(second))
    expected = stats.ttest_rel(first[0], second[0]).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))
    assert p_value(interval) == pytest.approx(stats.ttest_rel(first[0], second[0]).pvalue)


def test_unequal_groups_count_for_fewer() -> None:
    assert effective_groups(np.full(9, 4.0)) == pytest.approx(9)
    assert effective_groups(np.array([1.0, 1, 1, 1, 16])) == pytest.approx(2)  # 400 / 260 is less than two
    assert effective_groups(np.array([1.0, 3.0, 2.0])) == pytest.approx(36 / 14)


def test_over_unequal_groups_degrees_of_freedom_are_between() -> None:
    """What 36 / 14 effective groups give and what 3 do: halves for a score, thirds for a difference."""
    sizes = np.array([1.0, 3.0, 2.0])
    assert score_freedom(sizes) == pytest.approx(2 / (14 / 22 + 1 / 2))
    assert paired_freedom(sizes) == pytest.approx(3 / (14 / 22 + 2 / 2))
    assert score_freedom(np.full(9, 4.0)) == paired_freedom(np.full(9, 4.0)) == pytest.approx(8)


def test_error_over_groups_and_seeds_by_hand() -> None:
    """Two groups, two seeds: mean squares 0.04 of groups, 0.16 of seeds and 0.01 of the two-way table, so (0.04 + 0.16) / 4.

    Seeds stand out: 16 is more than the 9.47 that an F of one and one degrees of freedom is above in a fifth of cases. 5 is not.
    """
    pseudo = np.array([[0.1, 0.6], [0.4, 0.7]])  # groups down, seeds across: means 0.35 and 0.55, 0.25 and 0.65
    by_group, by_seed = 2 * 0.02, 2 * 0.08  # n times the variance of means; residuals are all 0.05
    (of_groups, _), (of_seeds, freedom) = crossed_parts(pseudo, np.array(1.0))
    assert of_groups == pytest.approx(by_group / 4) and freedom == 1
    assert of_seeds == pytest.approx(by_seed / 4)
    closer = pseudo - np.array([0.0, 0.4 - np.sqrt(0.05)])  # the squared difference of two means is their mean square
    assert crossed_parts(closer, np.array(1.0))[1][0] == 0


def test_degrees_of_freedom_are_those_of_what_varies() -> None:
    """Nine groups and three seeds: t of 8 where seeds are nothing, of 2 where groups are, between where both are something."""
    for of_groups, of_seeds, freedom in ((1.0, 0.0, 8), (0.0, 1.0, 2)):
        parts = [(of_groups, 8.0), (of_seeds, 2.0)]
        assert reach(parts, 0.95) == pytest.approx(stats.t.ppf(0.975, freedom))
    both = reach([(3.0, 8.0), (1.0, 2.0)], 0.95)  # 1 / (3/4 / 8 + 1/4 / 2)
    assert both == pytest.approx(stats.t.ppf(0.975, 32 / 7) * 2)


def test_a_difference_that_no_group_moves_is_not_certain() -> None:
    """A perfect encoder and one of a single answer: two groups prove nothing, and six as much as six coins that fall alike."""
    for num_groups, p in ((2, 0.5), (6, 2 / 64), (10, 2 / 1024)):
        perfect, constant = np.zeros((2, num_groups, 2, 2), dtype=np.int64)
        perfect[:, [0, 1], [0, 1]] = 7
        constant[:, :, 0] = 7
        interval = difference_interval(*(counts_statistic(each, balanced_accuracy) for each in (perfect, constant)))
        assert p_value(interval) == pytest.approx(p)
        assert (interval.low > 0) == (p < 0.05) and interval.low < interval.estimate == 0.5 < interval.high <= 1


def test_seeds_that_agree_add_nothing() -> None:
    values = np.random.default_rng(1).uniform(size=(1, 20))
    one, three = score_interval(mean_of(values)), score_interval(mean_of(np.repeat(values, 3, 0)))
    assert (one.low, one.high) == pytest.approx((three.low, three.high))


def test_seeds_that_differ_widen() -> None:
    values = np.random.default_rng(1).uniform(0.4, 0.6, size=(1, 40))
    shifted = np.concatenate([values - 0.1, values, values + 0.1])
    one, three = score_interval(mean_of(values)), score_interval(mean_of(shifted))
    assert three.high - three.low > 3 * (one.high - one.low)
    paired = difference_interval(mean_of(shifted), mean_of(shifted - 0.02))  # the same seeds are paired
    assert paired.error == pytest.approx(0) and (paired.low, paired.high) == pytest.approx((0.02, 0.02), abs=0.004)
    unpaired = difference_interval(mean_of(shifted), mean_of(values))  # three of one, one of the other
    assert unpaired.high - unpaired.low > 0.2


def test_bounds_stay_between_0_and_1_and_hold_the_estimate() -> None:
    for values in ([0.99, 1, 1, 1, 0.9], [0, 0, 0.02, 0, 0], [0.5] * 5, [0.1, 0.9, 0.1, 0.9, 0.5]):
        interval = score_interval(mean_of(np.array([values])))
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


def test_a_perfect_score_of_few_groups_is_not_certain() -> None:
    counts = np.zeros((10, 2, 2), dtype=np.int64)
    counts[:, 0, 0] = 30
    interval = interval_of(counts, accuracy)
    assert interval.high == 1 and interval.low == pytest.approx(0.025 ** (1 / 10))
    none = interval_of(counts[:, ::-1], accuracy)
    assert none.low == 0 and none.high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_a_score_that_cannot_vary_has_no_width() -> None:
    constant = np.zeros((8, 4, 4), dtype=np.int64)
    constant[:, :, 0] = np.arange(1, 33).reshape(8, 4)  # always class 0
    interval = interval_of(constant, balanced_accuracy)
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((0.25, 0.25, 0.25))


def test_a_mean_over_data_sets_is_surer_than_its_parts() -> None:
    draws = np.random.default_rng(2)
    parts = [
        difference_interval(mean_of(draws.uniform(size=(1, 10))), mean_of(draws.uniform(size=(1, 10))))
        for _ in range(16)
    ]
    mean = mean_interval(parts)
    assert mean.estimate == pytest.approx(np.mean([part.estimate for part in parts]))
    assert mean.error == pytest.approx(np.sqrt(np.sum([part.error**2 for part in parts])) / 16)
    ((_, freedom),) = mean.parts
    assert freedom == pytest.approx(
        sum(part.error**2 for part in parts) ** 2 / sum(part.error**4 / 9 for part in parts)
    )
    same = mean_interval([parts[0]])
    assert (same.low, same.high) == pytest.approx((parts[0].low, parts[0].high))


def _patients() -> ModuleType:
    """The simulation of the benchmark."""
    spec = importlib.util.spec_from_file_location("coverage_patients", BENCHMARKS / "coverage_patients.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_intervals_of_ten_unequal_groups_cover_and_the_plain_bootstrap_would_not() -> None:
    patients = _patients()
    kind, pair, draws = patients.KINDS["findings"], patients.Pair(), np.random.default_rng(3)
    truth = patients.population(kind, pair)[0, 1]
    num_experiments, held, held_by_percentiles = 1000, 0, 0
    counts = patients.draw(draws, kind, pair, num_experiments, 10)[0, 0]
    for each in counts:
        interval = score_interval(counts_statistic(each, balanced_accuracy))
        held += interval.low <= truth <= interval.high
        resampled = balanced_accuracy(np.tensordot(draws.multinomial(10, np.full(10, 0.1), 300), each, 1))
        low, high = np.quantile(resampled, [0.025, 0.975])
        held_by_percentiles += low <= truth <= high
    assert 0.93 <= held / num_experiments <= 0.98
    assert held_by_percentiles / num_experiments < 0.92


def false_positives(
    of_group: float, of_seed: float, num_groups: int, num_seeds: int, num_experiments: int = 20_000
) -> float:
    """The share of tests at 5 % that find what is not there, in tables of normal pseudo-values.

    `of_group`, `of_seed`: expected mean squares of groups and of seeds; that of their interaction is 1.
    """
    draws = np.random.default_rng(6)
    found = []
    for _ in range(num_experiments // 2000):
        normal = draws.standard_normal
        pseudo = normal((2000, num_groups, num_seeds)) + np.sqrt((of_group - 1) / num_seeds) * normal(
            (2000, num_groups, 1)
        )
        pseudo = pseudo + np.sqrt((of_seed - 1) / num_groups) * normal((2000, 1, num_seeds))
        away = reach(crossed_parts(pseudo, np.array(num_groups - 1.0)), 0.95)
        found.append(np.abs(pseudo.mean((1, 2))) > away)
    return float(np.mean(found))


@pytest.mark.parametrize("num_groups", [10, 30])
@pytest.mark.parametrize(("of_group", "of_seed"), [(3, 1), (3, 8), (3, 60), (10, 1), (10, 8), (10, 60)])
def test_seeds_make_tests_neither_timid_nor_rash(of_group: int, of_seed: int, num_groups: int) -> None:
    """Whether seeds are nothing, something, or most of the error; 20,000 experiments know 5 % to 0.3 points."""
    assert 0.031 <= false_positives(of_group, of_seed, num_groups, 3) <= 0.065
