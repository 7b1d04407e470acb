"""Splits: no group on both sides, exact proportions, nothing depends on row order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.core.errors import UserError
from surgrec.evaluation.splits import Split, folds_by_group, split_by_group


def groups_of(num_groups: int, num_rows: int, seed: int = 0) -> np.ndarray:
    """Group names of rows; every group has at least one row."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, num_rows - num_groups)])
    return np.array([f"case-{i:03d}" for i in rng.permutation(ids)])


def parts(split: Split) -> list[np.ndarray]:
    return [split.train, split.validation, split.test]


@settings(max_examples=40, deadline=None)
@given(num_groups=st.integers(3, 60), extra=st.integers(0, 200), seed=st.integers(0, 2**32))
def test_parts_cover_all_rows_and_share_no_group(num_groups: int, extra: int, seed: int) -> None:
    groups = groups_of(num_groups, num_groups + extra, seed % 1000)
    split = split_by_group(groups, seed)
    assert np.array_equal(np.sort(np.concatenate(parts(split))), np.arange(len(groups)))
    names = [set(groups[rows]) for rows in parts(split)]
    assert all(names) and not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])


@pytest.mark.parametrize("num_groups", [5, 10, 11, 37, 100])
def test_fractions_are_of_groups_to_the_nearest_whole(num_groups: int) -> None:
    groups = groups_of(num_groups, num_groups * 3)
    sizes = [len(set(groups[rows])) for rows in parts(split_by_group(groups, seed=1))]
    assert np.abs(np.array(sizes) - np.array([0.6, 0.2, 0.2]) * num_groups).max() <= 1


def test_every_stratum_is_divided_alike() -> None:
    groups = np.array([f"{source}/{case}" for source in "abcd" for case in range(10)])
    split = split_by_group(groups, seed=3, strata=[name[0] for name in groups])
    for source in "abcd":
        assert [sum(name[0] == source for name in groups[rows]) for rows in parts(split)] == [6, 2, 2]


def test_a_group_in_two_strata_is_refused() -> None:
    with pytest.raises(UserError, match="several strata"):
        split_by_group(["1", "1", "2", "3"], seed=0, strata=["a", "b", "a", "b"])


def test_row_order_and_row_numbers_do_not_matter() -> None:
    groups = groups_of(20, 100)
    shuffle = np.random.default_rng(5).permutation(100)
    plain, shuffled = split_by_group(groups, seed=2), split_by_group(groups[shuffle], seed=2)
    assert set(groups[plain.test]) == set(groups[shuffle][shuffled.test])


def test_seeds_give_different_splits() -> None:
    groups = groups_of(20, 20)
    assert len({tuple(split_by_group(groups, seed).test) for seed in range(10)}) > 5


def test_every_group_is_equally_often_in_test() -> None:
    groups = groups_of(10, 10)
    times = np.zeros(10)
    for seed in range(500):
        times[split_by_group(groups, seed).test] += 1
    assert np.abs(times / 500 - 0.2).max() < 4.5 * np.sqrt(0.2 * 0.8 / 500)


def test_folds_test_every_row_once_with_disjoint_groups() -> None:
    groups = groups_of(13, 60)
    folds = folds_by_group(groups, seed=0, num_folds=4)
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(60))
    for fold in folds:
        names = [set(groups[rows]) for rows in parts(fold)]
        assert all(names) and not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])


def test_too_few_groups_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="needs at least 3 groups"):
        split_by_group(["a", "a", "b"], seed=0)
    with pytest.raises(ValueError, match="sum to 1"):
        split_by_group(["a", "b", "c"], seed=0, fractions=(0.5, 0.5, 0.5))
