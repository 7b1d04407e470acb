"""Tests of pairs: exact p-values, exchange that changes nothing, correction by hand, ranks; and false positives."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.evaluation.comparisons import compare, compare_means, holm, swap_test
from surgrec.evaluation.intervals import Statistic, difference_interval, p_value
from surgrec.evaluation.metrics import accuracy, balanced_accuracy, macro_f1
from surgrec.evaluation.ranks import chance_of_best, rank_intervals
from surgrec.evaluation.statistics import counts_statistic


def answers(chance: float, seed: int, num_groups: int = 20, num_seeds: int = 0) -> np.ndarray:
    """Counts (G, 3, 3), or (S, G, 3, 3), of 30 rows of three classes a group, right with this chance."""
    draws = np.random.default_rng(seed)
    right = draws.binomial(10, chance, (max(num_seeds, 1), num_groups, 3))
    counts = np.zeros((*right.shape, 3), dtype=np.int64)
    for true in range(3):
        counts[..., true, true] = right[..., true]
        counts[..., true, (true + 1) % 3] = 10 - right[..., true]
    return counts if num_seeds else counts[0]


def crossed_test(first: Statistic, second: Statistic) -> float:
    return p_value(difference_interval(first, second))


def test_p_value_of_six_groups_by_hand() -> None:
    """One encoder is better by one row in every group: of 64 exchanges only none and all give as much, so 2 / 64."""
    worse = np.tile(np.array([[5, 5], [0, 0]]), (6, 1, 1))
    better = np.tile(np.array([[6, 4], [0, 0]]), (6, 1, 1))
    assert swap_test(better, worse, accuracy) == pytest.approx(2 / 64)
    assert swap_test(worse, better, accuracy) == pytest.approx(2 / 64)


def test_alike_gives_one_and_far_apart_gives_little() -> None:
    same = answers(0.6, 0)
    assert swap_test(same, same, macro_f1) == 1
    assert crossed_test(*[counts_statistic(same, macro_f1)] * 2) == 1
    assert swap_test(answers(0.9, 1), same, macro_f1, num_swaps=1000) == pytest.approx(1 / 1000)


def test_drawn_exchanges_agree_with_all() -> None:
    first, second = answers(0.62, 2, num_groups=12), answers(0.58, 3, num_groups=12)
    exact = swap_test(first, second, balanced_accuracy)
    many = [np.concatenate([each, np.zeros((1, 3, 3), np.int64)]) for each in (first, second)]  # a 13th without rows
    assert swap_test(*many, balanced_accuracy, num_swaps=5000) == pytest.approx(exact, abs=0.03)


def test_the_test_agrees_with_the_interval() -> None:
    for seed in range(30):
        both = [counts_statistic(answers(0.6, 2 * seed + k, num_seeds=3), accuracy) for k in (0, 1)]
        interval = difference_interval(*both)
        assert (crossed_test(*both) < 0.05) == (interval.low > 0 or interval.high < 0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert len(holm([])) == 0


def test_all_pairs_are_compared_and_ranked() -> None:
    counts = {"good": answers(0.9, 0), "middle": answers(0.5, 1), "like it": answers(0.5, 2), "bad": answers(0.2, 3)}
    comparisons = compare(counts, accuracy, "exchange")
    assert [(each.first, each.second) for each in comparisons[:3]] == [
        ("good", "middle"),
        ("good", "like it"),
        ("good", "bad"),
    ]
    assert len(comparisons) == 6 and all(each.adjusted >= each.p_value for each in comparisons)
    assert {each.test for each in comparisons} == {"exchange"} and {
        each.test for each in compare(counts, accuracy)
    } == {"t"}
    ranks = {each.name: (each.best, each.worst) for each in rank_intervals(comparisons)}
    assert ranks == {"good": (1, 1), "middle": (2, 3), "like it": (2, 3), "bad": (4, 4)}


def test_several_seeds_are_tested_over_seeds() -> None:
    counts = {"one": answers(0.6, 0, num_seeds=3), "other": answers(0.6, 1, num_seeds=3)}
    (only,) = compare(counts, accuracy)
    assert only.test == "t" and only.p_value == only.adjusted
    with pytest.raises(ValueError, match="other seeds"):
        compare(counts, accuracy, "exchange")


def test_means_over_data_sets_find_what_no_data_set_does() -> None:
    better, worse = (
        [counts_statistic(answers(chance, 2 * seed + k, 10), accuracy) for seed in range(8)]
        for k, chance in enumerate((0.64, 0.58))
    )
    single = [crossed_test(*pair) for pair in zip(better, worse, strict=True)]
    (mean,) = compare_means([{"better": one, "worse": other} for one, other in zip(better, worse, strict=True)])
    assert mean.p_value < min(single) and mean.difference.low > 0 and mean.test == "t"


def test_chance_of_best_shares_ties_and_sums_to_one() -> None:
    good, bad = (counts_statistic(answers(chance, 0), accuracy) for chance in (0.9, 0.2))
    assert chance_of_best([{"good": good, "bad": bad}, {"good": good, "bad": bad}]) == {"good": 1, "bad": 0}
    assert chance_of_best([{"one": good, "same": good}]) == {"one": 0.5, "same": 0.5}
    with pytest.raises(ValueError, match="encoders"):
        chance_of_best([{"one": good}, {"other": good}])


def test_other_rows_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        swap_test(answers(0.5, 0), answers(0.5, 0)[:, ::-1] * 2, accuracy)


@pytest.mark.slow
def test_false_positives_are_as_many_as_promised() -> None:
    """Groups of 3 to 60 rows whose difficulty both encoders share; 1,000 experiments know 5 % to 1.4 points."""
    draws, found = np.random.default_rng(4), {"exchange": 0, "t": 0}
    for number in range(1000):
        sizes, chance = draws.integers(3, 61, 10), draws.beta(4, 2, 10)
        first, second = np.zeros((2, 10, 2, 2), dtype=np.int64)
        for counts in (first, second):
            counts[:, 0, 0] = draws.binomial(sizes, np.clip(chance + draws.normal(0, 0.1, 10), 0, 1))
            counts[:, 0, 1] = sizes - counts[:, 0, 0]
        found["exchange"] += swap_test(first, second, accuracy, seed=number) <= 0.05
        found["t"] += crossed_test(counts_statistic(first, accuracy), counts_statistic(second, accuracy)) <= 0.05
    assert all(0.03 <= each / 1000 <= 0.07 for each in found.values()), found
