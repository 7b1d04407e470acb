"""Laws of masks: disjoint, exact counts, equal in time, addressed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surgrec.core.grid import TokenGrid
from surgrec.masks.masks import MaskError, MaskSet
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.tube import TubeMasker

GRID_224 = TokenGrid(8, 14, 14)
GRID_256 = TokenGrid(8, 16, 16)
GROUPS = (BlockGroup(8, 0.15, 0.25, 0.5), BlockGroup(2, 0.7, 0.0625, 0.6875))


def maskers():
    return [
        TubeMasker(GRID_224, 0.9, seed=1),
        TubeMasker(GRID_224, 0.9, seed=1, running_cells=True),
        MultiBlockMasker(GRID_256, GROUPS, seed=1),
        MultiBlockMasker(TokenGrid(4, 6, 10), GROUPS, seed=1),
    ]


def time_shares(ids: torch.Tensor, grid: TokenGrid) -> np.ndarray:
    counts = np.bincount((ids // grid.num_cells).reshape(-1).numpy(), minlength=grid.t)
    return counts / counts.sum()


@pytest.mark.parametrize("masker", maskers(), ids=["tube", "running cells", "multiblock", "multiblock oblong"])
def test_disjoint_exact_equal_in_time_and_addressed(masker):
    positions = np.arange(600) + 10_000
    once, again = masker.draw(positions), masker.draw(positions[100:103])
    for masks, part in zip(once, again, strict=True):
        assert torch.equal(masks.context[100:103], part.context) and torch.equal(masks.target[100:103], part.target)
        both = torch.cat([masks.context, masks.target], dim=1)
        assert all(len(set(row.tolist())) == both.shape[1] for row in both[:100]), (
            "context and targets overlap or repeat"
        )
        assert both.min() >= 0 and both.max() < masker.grid.num_tokens
        assert (masks.context.diff(dim=1) > 0).all() and (masks.target.diff(dim=1) > 0).all(), "ids must ascend"
        for ids in (masks.context, masks.target):
            assert np.abs(time_shares(ids, masker.grid) * masker.grid.t - 1).max() < 0.03
        assert len({tuple(row.tolist()) for row in both}) > 590, "every clip draws its own mask"


def test_tube_counts_are_those_of_videomae():
    (masks,) = TubeMasker(GRID_224, 0.9, seed=0).draw([0, 1])
    # Tong et al. 2022: int(.9 * 196) = 176 cells
    assert masks.context.shape == (2, 160) and masks.target.shape == (2, 1408)
    cells = masks.context.reshape(2, 8, 20) % GRID_224.num_cells
    assert (cells == cells[:, :1]).all(), "a tube shows the same cells at every time step"


def test_running_cells_decode_every_hidden_cell_at_half_of_the_time_steps():
    (masks,) = TubeMasker(GRID_224, 0.9, seed=0, running_cells=True).draw(np.arange(50))
    assert masks.target.shape == (50, 704)
    for target in masks.target % GRID_224.num_cells:
        _, counts = torch.unique(target, return_counts=True)
        assert len(counts) == 176 and (counts == 4).all()


def test_multiblock_counts_and_blocks():
    first, second = MultiBlockMasker(GRID_256, GROUPS, seed=0).draw(np.arange(2000))
    assert first.context.shape == (2000, 8 * 64) and first.target.shape == (2000, 8 * 128)
    assert second.context.shape == (2000, 8 * 16) and second.target.shape == (2000, 8 * 176)
    # Targets come in blocks: a target cell's right neighbour is a target far more often than the target share alone.
    picture = torch.zeros(2000, 256, dtype=torch.bool).scatter_(1, first.target[:, :128], True).reshape(2000, 16, 16)
    together = (picture[:, :, :-1] & picture[:, :, 1:]).float().sum() / picture[:, :, :-1].float().sum()
    assert together > 0.62


def test_seed_changes_masks_and_bad_requests_are_refused():
    assert not torch.equal(
        TubeMasker(GRID_224, 0.9, 0).draw([5])[0].target, TubeMasker(GRID_224, 0.9, 1).draw([5])[0].target
    )
    with pytest.raises(MaskError, match="between 0 and 1"):
        TubeMasker(GRID_224, 1.0, 0)
    with pytest.raises(MaskError, match="multiple of 4"):
        TubeMasker(TokenGrid(2, 14, 14), 0.9, 0, running_cells=True)
    with pytest.raises(MaskError, match="fit the grid"):
        MultiBlockMasker(GRID_256, [BlockGroup(8, 0.15, 0.6, 0.5)], 0)


def test_maskset_moves():
    masks = MaskSet(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 3, dtype=torch.int64))
    assert masks.to(torch.device("meta")).context.device.type == "meta"
