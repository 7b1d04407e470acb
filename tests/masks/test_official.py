"""The published multi-block scheme: what a batch shares, the cut, and the bias that it is known for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surgrec.core.grid import TokenGrid
from surgrec.masks.masks import MaskError, MaskSet
from surgrec.masks.multiblock import BlockGroup
from surgrec.masks.official import OfficialMultiBlockMasker

GRID = TokenGrid(8, 16, 16)
GROUPS = (BlockGroup(8, 0.15, 0.25, 0.5), BlockGroup(2, 0.7, 0.0625, 0.6875))
BATCH = 24


def masker(grid: TokenGrid = GRID, seed: int = 0) -> OfficialMultiBlockMasker:
    return OfficialMultiBlockMasker(grid, GROUPS, seed)


def time_shares(ids: list[torch.Tensor], grid: TokenGrid) -> np.ndarray:
    """Each time step's share of all these tokens, over its fair share."""
    counts = sum(np.bincount((some // grid.num_cells).flatten().numpy(), minlength=grid.t) for some in ids)
    return counts / counts.sum() * grid.t


def test_it_has_the_bias_measured_on_the_public_code() -> None:
    """Figures measured on V-JEPA 2's own mask generator, on 41 context lengths seen, so some 60 batches: a count of tokens that varies
    by 0.04 N from batch to batch was known to 0.006 N then.
    """
    batches = [masker().draw(np.arange(BATCH) + BATCH * number) for number in range(300)]
    known = [
        {
            "context": 0.248,
            "target": 0.466,
            "neither": 0.286,
            "context time": (1.56, 0.08),
            "target time": (1.32, 0.11),
        },
        {"context": 0.066, "target": 0.705, "neither": 0.229, "context time": (2.83, 0.11)},
    ]
    for group, figures in enumerate(known):
        sets = [masks[group] for masks in batches]
        context, target = (
            np.mean([ids.shape[1] / GRID.num_tokens for ids in some])
            for some in ([mask.context for mask in sets], [mask.target for mask in sets])
        )
        assert context == pytest.approx(figures["context"], abs=0.015)
        assert target == pytest.approx(figures["target"], abs=0.015)
        assert 1 - context - target == pytest.approx(figures["neither"], abs=0.015)
        first, last = time_shares([mask.context for mask in sets], GRID)[[0, -1]]
        assert first == pytest.approx(figures["context time"][0], rel=0.1)  # type: ignore[index]
        assert last == pytest.approx(figures["context time"][1], abs=0.04)  # type: ignore[index]
    first, last = time_shares([masks[0].target for masks in batches], GRID)[[0, -1]]
    assert first == pytest.approx(1.32, rel=0.05) and last == pytest.approx(0.11, abs=0.04)
    assert len({masks[0].context.shape for masks in batches}) > 30  # shapes change


@pytest.mark.slow
def test_longer_clips_and_smaller_batches_have_theirs() -> None:
    """64 frames, 12 clips: 24.9 and 20.9 % in neither set. 16 frames, 2 clips: 8 %."""
    for grid, batch, number, known in ((TokenGrid(32, 16, 16), 12, 300, (0.249, 0.209)), (GRID, 2, 600, (0.08, 0.08))):
        sets = [masker(grid).draw(np.arange(batch) + batch * each) for each in range(number)]
        for group, wanted in enumerate(known):
            tokens = [masks[group].context.shape[1] + masks[group].target.shape[1] for masks in sets]
            assert 1 - np.mean(tokens) / grid.num_tokens == pytest.approx(wanted, abs=0.02)


def cells_of(mask: MaskSet, grid: TokenGrid) -> np.ndarray:
    """Target cells of the first time step, which no cut reaches here: (B, h, w)."""
    named = torch.zeros(len(mask.target), grid.num_tokens, dtype=torch.bool).scatter(1, mask.target, True)
    return named[:, : grid.num_cells].numpy().reshape(-1, grid.h, grid.w)


def test_the_cut_keeps_the_lowest_ids_of_the_blocks_and_of_their_complement() -> None:
    for mask in masker().draw(np.arange(BATCH)):
        covered = np.tile(cells_of(mask, GRID).reshape(BATCH, -1), (1, GRID.t))
        for ids, cells in ((mask.target, covered), (mask.context, ~covered)):
            assert ids.shape[1] == cells.sum(1).min()
            for clip, row in zip(cells, ids.numpy(), strict=True):
                assert np.array_equal(np.flatnonzero(clip)[: len(row)], row)


def test_a_batch_shares_the_size_of_its_blocks_and_clips_have_their_own_places() -> None:
    one_block = (BlockGroup(1, 0.15, 0.25, 0.1),)
    sizes = set()
    for first in range(0, 200, 4):
        scheme = OfficialMultiBlockMasker(GRID, one_block, 0)
        (mask,) = scheme.draw(np.arange(first, first + 4))
        height, width = scheme.block_size(0, first)
        picture = cells_of(mask, GRID)
        for clip in picture:
            rows, columns = np.flatnonzero(clip.any(1)), np.flatnonzero(clip.any(0))
            assert clip.sum() == height * width and (len(rows), len(columns)) == (height, width)
        assert len({clip.tobytes() for clip in picture}) > 1
        assert 0.6 < height / width < 1.7 and abs(height * width - 38) <= 4  # int(0.15 * 256) cells, rounded sides
        sizes.add((height, width))
    assert len(sizes) >= 3


def test_the_same_batch_has_the_same_masks_and_another_batch_others() -> None:
    positions = np.arange(100, 108)
    once, again, fewer = (masker().draw(at) for at in (positions, positions, positions[:2]))
    for one, two, few, other in zip(once, again, fewer, masker(seed=1).draw(positions), strict=True):
        assert torch.equal(one.context, two.context) and torch.equal(one.target, two.target)
        assert few.context.shape[1] >= one.context.shape[1]  # cut by two clips, not by eight
        width = min(few.target.shape[1], one.target.shape[1])
        assert torch.equal(few.target[:, :width], one.target[:2, :width])  # what is not cut stays where it was
        assert one.target.shape != other.target.shape or not torch.equal(one.target, other.target)
        both = torch.cat([one.context, one.target], dim=1)
        assert all(len(set(row)) == len(row) for row in both.tolist())


def test_a_clip_of_which_nothing_would_be_seen_gets_other_places() -> None:
    """Blocks of 8 x 6 cells on 8 x 8 begin at column 0, 1 or 2: two of them hide everything in two of nine draws."""
    large = OfficialMultiBlockMasker(TokenGrid(2, 8, 8), [BlockGroup(2, 0.8, 0.1, 0.8)], 0, (1.5, 1.5))
    assert large.block_size(0, 0) == (8, 6)
    (mask,) = large.draw(np.arange(400))
    assert mask.context.shape == (400, 2 * 8)  # one column is the least that is left, and then the cut for all
    (alone,) = large.draw([399])
    # placed again or not, of its own position
    assert torch.equal(alone.target[0, : mask.target.shape[1]], mask.target[399])


def test_blocks_that_always_hide_everything_are_refused() -> None:
    with pytest.raises(MaskError, match="lower block_share"):
        OfficialMultiBlockMasker(TokenGrid(2, 4, 4), [BlockGroup(1, 1.0, 0.1, 0.8)], 0, (1.0, 1.0)).draw([0])
    with pytest.raises(MaskError, match="empty"):
        OfficialMultiBlockMasker(GRID, [], 0)
