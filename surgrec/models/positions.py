"""Position tables: VideoMAE's and V-JEPA 1's sin-cos features and V-JEPA 2's rotary cosines and sines.

In: the size of a token grid. Out: float32 tables with a row for every token, computed in float64, kept for each size and
device. It is its own file because of what the obvious home of a table, a module's buffer, gets wrong: it is rounded by
`module.bfloat16()`, garbage after a build on the meta device, bound to one clip size, and copied with every EMA.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.models.errors import ModelError

RopeStyle = Literal["tiled", "interleaved"]
SinCosStyle = Literal["sincos", "sincos_3d"]
Positions = Literal["sincos", "sincos_3d", "rope"]


def added_table(
    style: SinCosStyle,
    grid: TokenGrid,
    width: int,
    device: torch.device | str = "cpu",
    position_grid: tuple[int, int, int] | None = None,
) -> Tensor:
    """The positions to add to the tokens of `grid`, float32 (N, width): `sincos_table` or `sincos_3d_table`; never write to it.

    With a `position_grid` (t, h, w) other than `grid`, they are that grid's, resampled trilinearly as V-JEPA 1 does for clips of
    another size: cell centres on cell centres, so that a token keeps its relative place in the clip.
    """
    size = (grid.t, grid.h, grid.w)
    if position_grid is not None and position_grid != size:
        return _cached(_resampled, style, *position_grid, *size, width, device=device)
    if style == "sincos":
        return sincos_table(grid.num_tokens, width, device)
    return sincos_3d_table(grid, width, device)


def sincos_table(num_tokens: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """VideoMAE's fixed positions, float32 (num_tokens, width); shared, so never write to it.

    One-dimensional over the flattened token index n: sin(n / 10000^(2i/D)) on feature 2i, cos of the same on 2i + 1
    (Vaswani et al. 2017, arXiv 1706.03762; Tong et al. 2022, arXiv 2203.12602). A trap to know: n is neither time nor
    place. With frames of another height or width, a token at the same row, column and time gets another position; a
    longer clip keeps the positions of a shorter one and adds some that training never saw.
    """
    return _cached(_sincos, num_tokens, width, device=device)


def sincos_3d_table(grid: TokenGrid, width: int, device: torch.device | str = "cpu") -> Tensor:
    """V-JEPA 1's fixed positions, float32 (N, width), a share of the features for each axis; shared, so never write to it.

    Time, row and column in that order have a = 2 * ceil(width / 6) features each, together cut to `width`. On an axis, feature
    j < a / 2 is sin(x / 10000^(2j/a)) and feature a / 2 + j the cos of the same (Bardes et al. 2024, arXiv 2404.08471).
    Tokens of one row, column or time share features, which a small model learns to use sooner than the flattened index.
    """
    return _cached(_sincos_3d, grid.t, grid.h, grid.w, width, device=device)


def rotary_table(
    grid: TokenGrid,
    head_width: int,
    style: RopeStyle,
    device: torch.device | str = "cpu",
    rope_grid: int | None = None,
) -> Tensor:
    """Cosines, then sines, for every token of `grid`: float32 (2, N, head_width); shared, so never write to it.

    A head of d values has three equal even parts of 2 * floor(floor(d / 3) / 2), for time, row and column in that order;
    what remains is not rotated and gets cosine 1 and sine 0 (d = 64: 20, 20, 20 and 4). In a part of a values, frequency
    j < a / 2 is 10000^(-j / (a / 2)). Two ways to hand the frequencies to the adjacent pairs that are rotated:

    - "interleaved" (V-JEPA 2.1): both members of pair j get frequency j, a true rotation (Su et al. 2021, arXiv 2104.09864).
    - "tiled" (V-JEPA 2, Assran et al. 2025, arXiv 2506.09985): value i gets frequency i modulo a / 2, so the members of a
      pair get different angles. Not a rotation; kept because the released weights were trained with it.

    `rope_grid` (V-JEPA 2.1: 16 rows and columns, those of 256 pixels) stretches or shrinks rows and columns of any other grid
    to the span that the weights were trained on: row x of h is at x (rope_grid - 1) / (h - 1), columns alike, time is as it
    is. Without it, and on a grid of that size, row x is at x.

    Raises `ModelError` for a head that is odd or too narrow for three axes, and for an unknown style.
    """
    check_rotary(head_width, style, rope_grid)
    return _cached(_rotary, grid.t, grid.h, grid.w, head_width, style, rope_grid or 0, device=device)


def check_rotary(head_width: int, style: str, rope_grid: int | None = None) -> None:
    """Raise `ModelError` where a head is odd or too narrow to be rotated along three axes, the style is unknown, or `rope_grid` below 2."""
    if rope_grid is not None and rope_grid < 2:
        raise ModelError(f"rope_grid {rope_grid} is no grid to stretch positions to; give at least 2 rows, or none")
    if style not in ("tiled", "interleaved"):
        raise ModelError(f"there is no rope style {style!r}; choose tiled or interleaved")
    if head_width < 6 or head_width % 2:
        raise ModelError(
            f"rotary positions need an even number of values a head, at least 6, not {head_width}; choose other heads"
        )


def check_position_grid(position_grid: Sequence[int], positions: str) -> tuple[int, int, int]:
    """Time steps, rows and columns as a tuple. Raises `ModelError` where they are not three positive counts, or positions rotate."""
    if positions == "rope":
        raise ModelError(
            "rotary positions are computed for every clip; position_grid is for added ones (sincos, sincos_3d)"
        )
    if len(position_grid) != 3 or min(position_grid) < 1:
        raise ModelError(f"position_grid is three counts, time steps, rows and columns, not {list(position_grid)}")
    t, h, w = (int(count) for count in position_grid)
    return t, h, w


def _cached(build: Callable[..., Tensor], *size: int | str, device: torch.device | str) -> Tensor:
    if torch.compiler.is_compiling():  # compiled graphs do not see caches; there the table is one small fused kernel
        return build(*size, device=device)
    return _built_once(build, *size, device=torch.device(device))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a table first made during inference must still serve training
def _built_once(build: Callable[..., Tensor], *size: int | str, device: torch.device) -> Tensor:
    return build(*size, device="cpu").to(device)


def _sincos(num_tokens: int, width: int, *, device: torch.device | str) -> Tensor:
    position = torch.arange(num_tokens, dtype=torch.float64, device=device)
    feature = torch.arange(width, dtype=torch.float64, device=device)
    angle = position[:, None] / 10000.0 ** (2 * (feature // 2) / width)
    return torch.where(feature % 2 == 0, angle.sin(), angle.cos()).to(torch.float32)


def _sincos_3d(t: int, h: int, w: int, width: int, *, device: torch.device | str) -> Tensor:
    half = math.ceil(width / 6)
    omega = 10000.0 ** -(torch.arange(half, dtype=torch.float64, device=device) / half)
    token = torch.arange(t * h * w, device=device)
    angles = [axis[:, None] * omega for axis in (token // (h * w), token // w % h, token % w)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], 1)[:, :width].to(torch.float32)


def _resampled(
    style: SinCosStyle,
    t: int,
    h: int,
    w: int,
    to_t: int,
    to_h: int,
    to_w: int,
    width: int,
    *,
    device: torch.device | str,
) -> Tensor:
    table = _sincos(t * h * w, width, device=device) if style == "sincos" else _sincos_3d(t, h, w, width, device=device)
    volume = rearrange(table, "(t h w) d -> 1 d t h w", t=t, h=h, w=w)
    resampled = F.interpolate(volume, size=(to_t, to_h, to_w), mode="trilinear", align_corners=False)
    return rearrange(resampled, "1 d t h w -> (t h w) d").contiguous()


def _rotary(
    t: int, h: int, w: int, head_width: int, style: RopeStyle, rope_grid: int, *, device: torch.device | str
) -> Tensor:
    part = 2 * (head_width // 3 // 2)
    value = torch.arange(part, device=device)
    frequency = value // 2 if style == "interleaved" else value % (part // 2)
    omega = 10000.0 ** -(frequency.to(torch.float64) / (part // 2))
    token = torch.arange(t * h * w, device=device)
    time, row, column = token // (h * w), token // w % h, token % w
    if rope_grid:  # a single row or column is at 0 whatever the stretch
        row = row.to(torch.float64) * ((rope_grid - 1) / max(h - 1, 1))
        column = column.to(torch.float64) * ((rope_grid - 1) / max(w - 1, 1))
    angle = torch.cat([axis[:, None] * omega for axis in (time, row, column)], dim=1)
    angle = F.pad(angle, (0, head_width - 3 * part))
    return torch.stack((angle.cos(), angle.sin())).to(torch.float32)
