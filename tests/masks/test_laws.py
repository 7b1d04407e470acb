"""The laws of masks over 10,000 draws, on the grids of 224, 256 and 384 pixels and for clips of 16 and 64 frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from surgrec.core.grid import TokenGrid
from surgrec.masks.masks import Masker, MaskSet
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.tube import TubeMasker

DRAWS, CHUNK = 10_000, 500
GROUPS = (BlockGroup(8, 0.15, 0.25, 0.5), BlockGroup(2, 0.7, 0.0625, 0.6875))
MASKERS: dict[str, Callable[[TokenGrid, int], Masker]] = {
    "tube": lambda grid, seed: TubeMasker(grid, 0.9, seed),
    "running cells": lambda grid, seed: TubeMasker(grid, 0.9, seed, running_cells=True),
    "multiblock": lambda grid, seed: MultiBlockMasker(grid, GROUPS, seed),
}
SHAPES = [(8, 14, 14), (8, 16, 16), (8, 24, 24), (32, 14, 14), (32, 16, 16), (32, 24, 24)]
EVERY_RUN = [(8, 14, 14), (8, 16, 16)]  # the others take longer than all of these together
CASES = [
    pytest.param(kind, shape, id=f"{kind} {shape}", marks=() if shape in EVERY_RUN else pytest.mark.slow)
    for shape in SHAPES
    for kind in MASKERS
]


def expected_counts(kind: str, grid: TokenGrid) -> list[tuple[int, int]]:
    """Context and target tokens of each mask set."""
    cells = grid.num_cells
    if kind == "multiblock":
        shares = [(group.context_share, group.target_share) for group in GROUPS]
        return [(round(context * cells) * grid.t, round(target * cells) * grid.t) for context, target in shares]
    hidden = int(0.9 * cells)
    return [((cells - hidden) * grid.t, hidden * grid.t // (2 if kind == "running cells" else 1))]


def roles(mask: MaskSet, grid: TokenGrid) -> npt.NDArray[np.uint8]:
    """What every token is: 1 context, 2 target, 0 neither; (B, N). Fails where one is both, or is named twice."""
    both = torch.cat([mask.context, mask.target], dim=1)
    assert both.min() >= 0 and both.max() < grid.num_tokens
    named = torch.zeros(len(both), grid.num_tokens, dtype=torch.uint8).scatter_add_(
        1, both, torch.ones_like(both, dtype=torch.uint8)
    )
    assert named.max() == 1, "context and targets overlap or repeat"
    return named.scatter_(1, mask.target, 2).numpy()


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_the_laws_of_masks(kind: str, shape: tuple[int, int, int]) -> None:
    grid = TokenGrid(*shape)
    masker, counts = MASKERS[kind](grid, 1), expected_counts(kind, grid)
    tokens = np.zeros((len(counts), 2, grid.t))
    different: list[set[bytes]] = [set() for _ in counts]
    for first in range(0, DRAWS, CHUNK):
        sets = masker.draw(np.arange(first, first + CHUNK))
        assert len(sets) == len(counts)
        for number, (mask, (context, target)) in enumerate(zip(sets, counts, strict=True)):
            assert mask.context.shape == (CHUNK, context) and mask.target.shape == (CHUNK, target), "exact counts"
            assert (mask.context.diff(dim=1) > 0).all() and (mask.target.diff(dim=1) > 0).all(), "ids ascend"
            role = roles(mask, grid)
            in_time = role.reshape(CHUNK, grid.t, grid.num_cells)
            tokens[number] += [(in_time == wanted).sum((0, 2)) for wanted in (1, 2)]
            different[number].update(
                np.packbits(clip == 2).tobytes() + np.packbits(clip == 1).tobytes() for clip in role
            )
    shares = tokens / tokens.sum(-1, keepdims=True) * grid.t
    assert np.abs(shares - 1).max() < 0.03, "time steps are treated alike"
    assert [len(masks) for masks in different] == [DRAWS] * len(counts), "every clip has a mask of its own"


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_a_mask_is_a_function_of_seed_and_position(kind: str, shape: tuple[int, int, int]) -> None:
    grid = TokenGrid(*shape)
    positions = np.array([7, 10**9, 3, 2**40])
    whole = MASKERS[kind](grid, 1).draw(positions)
    other_seed = MASKERS[kind](grid, 2).draw(positions)
    for row, position in enumerate(positions):
        alone = MASKERS[kind](grid, 1).draw([position])  # in another process, in another batch
        for one, mask, other in zip(alone, whole, other_seed, strict=True):
            assert torch.equal(one.context[0], mask.context[row]) and torch.equal(one.target[0], mask.target[row])
            assert not torch.equal(one.target[0], other.target[row])
