"""Laws of addressed permutations: bijections, different for every key, each value as likely anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.core.permutation import permuted


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 100, 1000, 65_536, 70_001])
def test_every_index_comes_once(size: int) -> None:
    for seed in (0, 1):
        assert np.array_equal(np.sort(permuted(seed, "x", np.arange(size), size)), np.arange(size))


def test_each_index_has_the_range_and_the_permutation_of_its_own() -> None:
    sizes = np.repeat([3, 8, 1000], [3, 8, 1000])
    index = np.concatenate([np.arange(3), np.arange(8), np.arange(1000)])
    together = permuted(0, "x", index, sizes, sizes)
    apart = [permuted(0, "x", np.arange(size), size, size) for size in (3, 8, 1000)]
    np.testing.assert_array_equal(together, np.concatenate(apart))


@pytest.mark.parametrize("size", [2, 3, 4, 7, 50])
def test_a_place_is_as_likely_as_another(size: int) -> None:
    trials = 20_000
    for index in (0, size - 1):
        found = permuted(0, "x", np.full(trials, index), size, np.arange(trials))
        expected = trials / size
        chi_square = ((np.bincount(found, minlength=size) - expected) ** 2 / expected).sum()
        assert chi_square < size - 1 + 5 * np.sqrt(2 * size)


def test_neighbours_are_strangers() -> None:
    size = 100_003
    whole = permuted(3, "x", np.arange(size), size)
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(whole[lag:], whole[:-lag])[0, 1]) < 5 / np.sqrt(size)
    assert (whole != permuted(4, "x", np.arange(size), size)).mean() > 0.999
    assert (whole != permuted(3, "y", np.arange(size), size)).mean() > 0.999
