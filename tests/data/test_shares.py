"""Laws of the arithmetic of shares: closed forms, caps that hold, counts that add up."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.data.shares import counts_under_caps, down_a_tree, filled

PATHS = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]])
HOURS = np.array([8.0, 2.0, 4.0, 1.0, 1.0])
ONES = np.ones(PATHS.shape)


@pytest.mark.parametrize("alphas", [(1.0, 1.0), (0.0, 0.0), (0.5, 0.5), (0.0, 1.0), (0.3, 0.7)])
def test_a_share_is_the_product_of_the_shares_among_siblings(alphas: tuple[float, float]) -> None:
    top = np.array([10.0, 6.0]) ** alphas[0] / sum(np.array([10.0, 6.0]) ** alphas[0])
    below = [HOURS[part] ** alphas[1] / sum(HOURS[part] ** alphas[1]) for part in (slice(2), slice(2, 5))]
    expected = np.concatenate([top[0] * below[0], top[1] * below[1]])
    np.testing.assert_allclose(down_a_tree(PATHS, HOURS, np.array(alphas), ONES), expected, rtol=1e-12)


def test_natural_shares_are_the_hours_whatever_the_tree() -> None:
    np.testing.assert_allclose(down_a_tree(PATHS, HOURS, np.ones(2), ONES), HOURS / HOURS.sum(), rtol=1e-12)


def test_weights_are_factors_and_what_has_none_leaves_its_share_to_its_siblings() -> None:
    weights = ONES.copy()
    weights[0, 1], weights[2:, 0] = 3.0, 0.5
    shares = down_a_tree(PATHS, HOURS, np.zeros(2), weights)
    np.testing.assert_allclose(shares, [2 / 3 * 3 / 4, 2 / 3 / 4, 1 / 9, 1 / 9, 1 / 9], rtol=1e-12)
    weights[2:, 1] = 0.0  # the second node of the first level has nothing left
    np.testing.assert_allclose(down_a_tree(PATHS, HOURS, np.zeros(2), weights), [0.75, 0.25, 0, 0, 0], rtol=1e-12)


def test_what_is_over_a_cap_goes_to_the_others_in_proportion() -> None:
    np.testing.assert_allclose(filled(np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.9, 0.9])), [0.1, 0.54, 0.36])
    np.testing.assert_allclose(filled(np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.5, 0.9])), [0.1, 0.5, 0.4])
    np.testing.assert_allclose(filled(np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.5, 0.9])), [0.5, 0.3, 0.2])
    np.testing.assert_allclose(filled(np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.9, 0.9])), [0.2, 0.8, 0.0])


def test_filling_raises_all_that_are_below_their_cap_alike() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shares, caps = rng.dirichlet(np.full(9, 0.3)), rng.random(9)
        caps *= (1 + rng.random()) / caps.sum()
        found = filled(shares, caps)
        assert found.sum() == pytest.approx(1) and (found <= caps + 1e-12).all()
        is_free = (found < caps - 1e-12) & (shares > 1e-6)
        assert np.ptp((found / np.maximum(shares, 1e-12))[is_free]) < 1e-6 if is_free.any() else True


def test_counts_hold_every_cap_and_every_stage_has_its_draws() -> None:
    rng, possible = np.random.default_rng(1), 0
    for _ in range(500):
        groups, stages = rng.integers(1, 8), rng.integers(1, 5)
        shares = rng.dirichlet(np.full(groups, 0.5), size=stages)
        draws, costs = rng.integers(1, 300, stages), rng.choice([1.0, 2.5], stages)
        caps = rng.random(groups) * draws.sum() * 2
        try:
            counts = counts_under_caps(shares, draws, costs, caps)
        except ValueError:
            continue
        possible += 1
        assert (counts.sum(axis=1) == draws).all() and (counts >= 0).all()
        assert (costs @ counts <= caps * (1 + 1e-9)).all()
    assert possible > 200


def test_without_a_cap_in_reach_counts_are_the_shares_to_within_one() -> None:
    shares = np.random.default_rng(2).dirichlet(np.ones(40), size=3)
    draws = np.array([10, 1000, 77])
    counts = counts_under_caps(shares, draws, np.ones(3), np.full(40, 1e9))
    assert (np.abs(counts - draws[:, None] * shares) < 1).all()
