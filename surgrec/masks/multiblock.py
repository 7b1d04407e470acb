"""Multi-block masks for latent prediction.

In: token grid, block groups. Out: per clip and group the context and target ids of random rectangles that last the whole clip
(Bardes et al. 2024, V-JEPA, arXiv 2404.08471, section 3.2; Assran et al. 2025, V-JEPA 2, arXiv 2506.09985), with exact counts.

The published code cuts every clip of a batch to the smallest count in that batch (official.py), which drops late frames and changes
shapes at every step. Here a random order of cells, outside the blocks first, gives the context from its front and the targets from its end:
both counts are exact, whole cells are dropped or borrowed uniformly, and no time step is favoured. Its own file: one scheme, one file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.grid import TokenGrid
from surgrec.core.rng import uniforms
from surgrec.masks.masks import MaskError, MaskSet, tube_ids


@dataclass(frozen=True)
class BlockGroup:
    """`num_blocks` rectangles, each covering `block_share` of the picture; shares of cells seen and predicted are exact."""

    num_blocks: int
    block_share: float
    context_share: float
    target_share: float


class MultiBlockMasker:
    """Draws one `MaskSet` per group. `aspect`: range of height / width of a block, uniform."""

    def __init__(
        self, grid: TokenGrid, groups: Sequence[BlockGroup], seed: int, aspect: tuple[float, float] = (0.75, 1.5)
    ) -> None:
        if not groups:
            raise MaskError("mask.groups is empty; give at least one block group")
        self.grid, self.groups, self.seed, self.aspect = grid, tuple(groups), seed, aspect
        for group in self.groups:
            context, target = self.counts(group)
            if context < 1 or target < 1 or context + target > grid.num_cells:
                raise MaskError(
                    f"block group {group} asks for {context} context and {target} target cells of {grid.num_cells}; "
                    "both must be at least 1 and together fit the grid"
                )

    def counts(self, group: BlockGroup) -> tuple[int, int]:
        """Context and target cells of a group on this grid."""
        return round(group.context_share * self.grid.num_cells), round(group.target_share * self.grid.num_cells)

    def draw(self, positions: npt.ArrayLike) -> tuple[MaskSet, ...]:
        """One `MaskSet` per group for the clips at these global positions (B,)."""
        at = np.asarray(positions, dtype=np.int64)
        return tuple(self._draw_group(index, group, at) for index, group in enumerate(self.groups))

    def _draw_group(self, index: int, group: BlockGroup, at: npt.NDArray[np.int64]) -> MaskSet:
        grid = self.grid
        num_context, num_target = self.counts(group)
        priority = uniforms(self.seed, f"multiblock order {index}", at, grid.num_cells)
        # outside the blocks first, each part shuffled
        order = np.argsort(priority + self._covered(index, group, at), axis=1)
        return MaskSet(
            tube_ids(order[:, :num_context], grid.t, grid.num_cells),
            tube_ids(order[:, grid.num_cells - num_target :], grid.t, grid.num_cells),
        )

    def _covered(self, index: int, group: BlockGroup, at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Cells under any block: (B, cells). One block size a clip, a place for every block."""
        grid = self.grid
        draw = uniforms(self.seed, f"multiblock blocks {index}", at, 1 + 2 * group.num_blocks)
        aspect = self.aspect[0] + draw[:, 0] * (self.aspect[1] - self.aspect[0])
        area = group.block_share * grid.num_cells
        height = np.clip(np.rint(np.sqrt(area * aspect)), 1, grid.h).astype(np.int64)[:, None]
        width = np.clip(np.rint(np.sqrt(area / aspect)), 1, grid.w).astype(np.int64)[:, None]
        top = (draw[:, 1 : 1 + group.num_blocks] * (grid.h - height + 1)).astype(np.int64)
        left = (draw[:, 1 + group.num_blocks :] * (grid.w - width + 1)).astype(np.int64)
        rows, columns = np.arange(grid.h), np.arange(grid.w)
        in_rows = (rows >= top[..., None]) & (rows < (top + height)[..., None])  # (B, blocks, h)
        in_columns = (columns >= left[..., None]) & (columns < (left + width)[..., None])
        covered: npt.NDArray[np.bool_] = np.any(in_rows[..., :, None] & in_columns[..., None, :], axis=1)
        return covered.reshape(len(at), -1)
