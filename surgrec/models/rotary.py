"""The rotation of queries and keys by position.

In: queries and keys, the ids of their tokens, the grid. Out: queries and keys that carry time, row and column. It is its own
file because of what it keeps out of the attention: trigonometry in every layer, and angles in bfloat16, which are off by
0.03 rad at 32 time steps and 0.15 rad at 128.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.models.positions import RopeStyle, rotary_table


@dataclass(frozen=True)
class Rotary:
    """Cosines and sines of some tokens, float32 (B or 1, K, 1, 1, d), made once per forward pass and shared by all blocks.

    A class that tree maps do not enter, on purpose: FSDP2 casts every tensor among a block's arguments to its parameter
    dtype, which would round the tables.
    """

    cos: Tensor
    sin: Tensor

    @classmethod
    def at(
        cls,
        grid: TokenGrid,
        head_width: int,
        style: RopeStyle,
        ids: Tensor | None,
        device: torch.device | str,
        rope_grid: int | None = None,
    ) -> Rotary:
        """Rotary positions of the tokens `ids`, int64 (B, K), of `grid`, or of all its tokens; see `rotary_table` for `rope_grid`."""
        table = rotary_table(grid, head_width, style, device, rope_grid)
        chosen = table[:, None] if ids is None else table[:, ids]
        cos, sin = chosen[:, :, :, None, None].unbind(0)
        return cls(cos, sin)

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate adjacent pairs of the last axis of x (B, K, any, heads, d), in float32; the result has the dtype of x."""
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((-second, first), dim=-1).flatten(-2)  # a quarter turn of every pair
        return (x * self.cos + turned * self.sin).to(x.dtype)
