"""An encoder for clips of another length or size than it was trained on.

In: an encoder with its preprocessing, and the clip that is wanted. Out: both for that clip, the weights shared, and a sentence that says
what became of the positions. It is its own file because something must be decided here that no weight tells, and that nothing else in
loading may decide in silence.

Added positions (VideoMAE, V-JEPA 1) belong to a grid of tokens. For another grid they are either resampled, so that a token keeps its
relative place in the clip ("interpolate"), or computed for it as if it had been the one of training ("own"); which of them is a
question that the caller must answer. Rotary positions (V-JEPA 2) fit every grid as they are ("own"); with "interpolate" rows and
columns are stretched to span those of training, as V-JEPA 2.1 always has it, and time steps stay one apart, since they are equally long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch

from surgrec.core.errors import UserError
from surgrec.core.grid import TokenGrid
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

PositionsAsked = Literal["interpolate", "own"]


@dataclass(frozen=True)
class Fitted:
    """An encoder and its preprocessing for some clip; `said` is empty where it is the clip of training."""

    encoder: Encoder
    preprocess: ClipPreprocess
    said: str = ""


def fit_clip(
    encoder: Encoder,
    preprocess: ClipPreprocess,
    *,
    num_frames: int | None = None,
    pixels: int | None = None,
    positions: PositionsAsked | None = None,
) -> Fitted:
    """Encoder and preprocessing for clips of `num_frames` frames of `pixels` x `pixels`, each that of training unless given.

    `positions`: see above; not needed where nothing changes, nor for rotary ones. Frames stay as far apart in time as they were, and the
    short side of a frame grows or shrinks with the crop. The encoder that is given is left as it is.
    Raises `UserError` where added positions have another grid and nothing was asked for, and for what cannot be interpolated;
    `GeometryError` where tubelet or patch does not divide.
    """
    if positions is not None and positions not in get_args(PositionsAsked):
        raise UserError(f"there are no positions {positions!r}; choose {' or '.join(get_args(PositionsAsked))}")
    num_frames = preprocess.num_frames if num_frames is None else num_frames
    height, width = (encoder.height_pixels, encoder.width_pixels) if pixels is None else (pixels, pixels)
    if (num_frames, height, width) == (encoder.num_frames, encoder.height_pixels, encoder.width_pixels):
        return Fitted(encoder, preprocess)
    grid = TokenGrid.of_clip(num_frames, height, width, encoder.tubelet, encoder.patch)
    changes, said = (
        _rotary(encoder, grid, positions) if encoder.positions == "rope" else _added(encoder, grid, positions)
    )
    changes |= {"num_frames": num_frames, "height_pixels": height, "width_pixels": width}
    return Fitted(_with(encoder, changes), _scaled(preprocess, num_frames, pixels), said)


def _added(encoder: Encoder, grid: TokenGrid, positions: PositionsAsked | None) -> tuple[dict[str, Any], str]:
    trained = encoder.position_grid or _sizes(encoder.grid)
    if positions is None:
        raise UserError(
            f"this encoder has positions for a grid of {_text(trained)} tokens, and the clip has {_text(_sizes(grid))}; ask for positions "
            'with "interpolate" (resampled: a token keeps its relative place) or "own" (computed for the new grid)'
        )
    if positions == "interpolate":
        return {"position_grid": trained}, f"positions of {_text(trained)} tokens, resampled to {_text(_sizes(grid))}"
    said = f"positions computed for a grid of {_text(_sizes(grid))} tokens, not resampled from the {_text(trained)} of training"
    return {"position_grid": None}, said


def _rotary(encoder: Encoder, grid: TokenGrid, positions: PositionsAsked | None) -> tuple[dict[str, Any], str]:
    trained = encoder.grid
    if encoder.rope_grid is not None:
        return {}, f"rotary positions stretched to {encoder.rope_grid} rows and columns, as in training"
    if positions != "interpolate":
        return (
            {},
            f"rotary positions of {_text(_sizes(grid))} tokens, none resampled; training had {_text(_sizes(trained))}",
        )
    if trained.h != trained.w or trained.h < 2:
        raise UserError(
            f"rotary positions of a grid of {trained.h} rows and {trained.w} columns cannot be interpolated, which takes as many rows as "
            'columns, and two at least; ask for "own" positions'
        )
    said = f"rotary positions of {grid.h} rows and {grid.w} columns, stretched to span the {trained.h} of training"
    return {"rope_grid": trained.h}, said


def _with(encoder: Encoder, changes: dict[str, Any]) -> Encoder:
    """The same encoder with other arguments; it shares the weights."""
    with torch.device("meta"):
        other = Encoder(**(encoder.architecture | changes))
    other.load_state_dict(encoder.state_dict(), strict=True, assign=True)
    for mine, given in zip(other.parameters(), encoder.parameters(), strict=True):
        mine.requires_grad_(given.requires_grad)
    return other.train(encoder.training)


def _scaled(preprocess: ClipPreprocess, num_frames: int, pixels: int | None) -> ClipPreprocess:
    spec = preprocess.pixels
    if pixels is not None:
        short_side = max(pixels, round(spec.short_side_pixels * pixels / spec.crop_pixels))
        spec = replace(spec, short_side_pixels=short_side, crop_pixels=pixels)
    return replace(preprocess, num_frames=num_frames, pixels=spec)


def _sizes(grid: TokenGrid) -> tuple[int, int, int]:
    return grid.t, grid.h, grid.w


def _text(sizes: tuple[int, int, int]) -> str:
    return " x ".join(map(str, sizes))
