"""Multi-block masks cut to the smallest count of the batch, as V-JEPA published them, to compare ours with.

In: token grid, block groups. Out: per batch and group the context and target ids of random rectangles that last the whole clip
(Bardes et al. 2024, V-JEPA, arXiv 2404.08471, section 3.2; Assran et al. 2025, V-JEPA 2, arXiv 2506.09985, and its public code, MIT
licence). Its own file: one scheme, one file, and what is wrong with this one (docs/decisions/0004) stays out of ours.

A mask here depends on the whole batch of a process: the size of its blocks and how much of it is cut. So the same run on another
number of processes, or with another accumulation, has other masks, shapes change at every step, and late time steps are cut more often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.core.rng import uniforms
from surgrec.masks.masks import MaskError, MaskSet
from surgrec.masks.multiblock import BlockGroup

_MAX_ATTEMPTS = 1000  # of placing a clip's blocks so that something stays visible; a few are common with large blocks


class OfficialMultiBlockMasker:
    """Draws one `MaskSet` per group: blocks of one size for the batch, at places of each clip's own; what they cover is predicted, the
    rest is seen. Both are cut to the smallest count of any clip in the batch, and the lowest token ids stay.

    `aspect`: range of height / width of a block, uniform. Of the groups only `num_blocks` and `block_share` count. The same
    (seed, positions of the batch) always gives the same masks.
    """

    def __init__(
        self, grid: TokenGrid, groups: Sequence[BlockGroup], seed: int, aspect: tuple[float, float] = (0.75, 1.5)
    ) -> None:
        if not groups:
            raise MaskError("mask.groups is empty; give at least one block group")
        self.grid, self.groups, self.seed, self.aspect = grid, tuple(groups), seed, aspect

    def draw(self, positions: npt.ArrayLike) -> tuple[MaskSet, ...]:
        """One `MaskSet` per group for the batch of clips at these global positions (B,)."""
        at = np.asarray(positions, dtype=np.int64)
        covered = [self._covered(index, group, at) for index, group in enumerate(self.groups)]
        return tuple(MaskSet(self._cut(~cells), self._cut(cells)) for cells in covered)

    def block_size(self, index: int, first_position: int) -> tuple[int, int]:
        """Rows and columns of the blocks of group number `index` in the batch that begins at this position."""
        draw = float(uniforms(self.seed, f"official block size {index}", first_position, 1)[0])
        aspect = self.aspect[0] + draw * (self.aspect[1] - self.aspect[0])
        area = int(self.groups[index].block_share * self.grid.num_cells)
        height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        return min(max(height, 1), self.grid.h), min(max(width, 1), self.grid.w)

    def _covered(self, index: int, group: BlockGroup, at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Cells under any block: (B, cells). Where nothing would be seen, the clip's blocks are placed again."""
        height, width = self.block_size(index, int(at[0]))
        covered = np.ones((len(at), self.grid.num_cells), dtype=bool)
        for attempt in range(_MAX_ATTEMPTS):
            pending = np.flatnonzero(covered.all(axis=1))
            if not len(pending):
                return covered
            draw = uniforms(self.seed, f"official blocks {index}, attempt {attempt}", at[pending], 2 * group.num_blocks)
            covered[pending] = self._placed(draw, height, width)
        raise MaskError(
            f"{group.num_blocks} blocks of {height} x {width} cells hide all of {self.grid.h} x {self.grid.w}; "
            "lower block_share in mask.groups"
        )

    def _placed(self, draw: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.bool_]:
        """Cells under blocks whose places `draw` gives, (B, 2 * blocks) in [0, 1): (B, cells)."""
        top, left = np.split(draw, 2, axis=1)
        top, left = (top * (self.grid.h - height + 1)).astype(int), (left * (self.grid.w - width + 1)).astype(int)
        row, column = np.arange(self.grid.h) - top[..., None], np.arange(self.grid.w) - left[..., None]
        in_rows, in_columns = (row >= 0) & (row < height), (column >= 0) & (column < width)
        under: npt.NDArray[np.bool_] = np.any(in_rows[..., :, None] & in_columns[..., None, :], axis=1)
        return under.reshape(len(draw), -1)

    def _cut(self, cells: npt.NDArray[np.bool_]) -> Tensor:
        """The lowest token ids of these cells (B, cells) at all time steps, as many as the clip with fewest has: (B, smallest)."""
        tokens = np.tile(cells, (1, self.grid.t))
        rank = np.cumsum(tokens, axis=1)
        kept = tokens & (rank <= rank[:, -1:].min())
        return torch.from_numpy(np.nonzero(kept)[1].reshape(len(cells), -1))
