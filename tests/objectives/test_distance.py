"""Distances to the nearest target against a loop over all pairs, exactly."""

from __future__ import annotations

import pytest
import torch

from surgrec.core.grid import TokenGrid
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.objectives.distance import nearness, squared_distances
from tests.models.build import random_ids


def place(token: int, grid: TokenGrid) -> tuple[int, int, int]:
    return token // grid.num_cells, token // grid.w % grid.h, token % grid.w


def looped(target: list[int], grid: TokenGrid) -> list[float]:
    """The squared distance of every token to its nearest target, pair by pair."""
    squared = []
    for token in range(grid.num_tokens):
        t, h, w = place(token, grid)
        others = (place(other, grid) for other in target)
        squared.append(float(min((t - a) ** 2 + (h - b) ** 2 + (w - c) ** 2 for a, b, c in others)))
    return squared


@pytest.mark.parametrize("shape", [(4, 4, 6), (1, 7, 3), (5, 1, 9), (8, 6, 6)])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_distances_are_those_of_a_loop_exactly(shape: tuple[int, int, int], count: int) -> None:
    torch.manual_seed(count)
    grid = TokenGrid(*shape)
    target = random_ids(3, grid.num_tokens, count)
    assert squared_distances(target, grid).tolist() == [looped(row, grid) for row in target.tolist()]


def test_nearness_is_one_over_the_root_of_the_distance_for_every_context_token() -> None:
    grid = TokenGrid(4, 6, 6)
    (mask,) = MultiBlockMasker(grid, [BlockGroup(2, 0.2, 0.4, 0.2)], seed=0).draw(range(3))
    weights = nearness(mask.context, mask.target, grid)
    assert weights.shape == mask.context.shape and weights.dtype == torch.float32
    for context, target, row in zip(mask.context.tolist(), mask.target.tolist(), weights.tolist(), strict=True):
        distances = [looped(target, grid)[token] ** 0.5 for token in context]
        assert row == pytest.approx([distance**-0.5 for distance in distances], rel=1e-6)
    assert weights.max() == 1.0 and weights.min() < 0.8


def test_a_target_itself_counts_as_its_neighbour() -> None:
    """Disjoint masks have no such token; the pictures of a run show the learner everything."""
    ids = torch.arange(8)[None]
    assert torch.equal(nearness(ids, ids[:, :1], TokenGrid(1, 1, 8))[0, :2], torch.ones(2))
