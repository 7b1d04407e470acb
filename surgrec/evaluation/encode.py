"""From clips to frozen features, for every encoder alike.

In: a model and the clips of a task. Out: features or tokens of all rows. It is its own file because it is the one way from frames to
features that all protocols on clips share: the model's own geometry and its own forward pass, nothing in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from surgrec.core.console import progress
from surgrec.evaluation.clips import ClipSource
from surgrec.features.baseline import FrozenModel
from surgrec.features.extractor import Layout, Precision, clip_tokens_of
from surgrec.features.layers import pooled

Kept = Layout | Literal["change"]


def encode_clips(
    model: FrozenModel,
    clips: ClipSource,
    rows: Sequence[int],
    *,
    layout: Kept = "all",
    batch_size: int = 8,
    precision: Precision = "float32",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Features of `rows`, in their order, on the CPU: tokens (n, N, D) for the layout `all`, means over each time step's cells (n, t, D)
    for `time`, over all tokens (n, D) for `pooled`, and what happens over time beside it (n, 3 D) for `change`. `dtype`: what they are
    kept as. Raises `UserError` for a clip that cannot be read.

    Every forward pass is of `batch_size` clips, the last one filled up: sums over another number of clips round otherwise, and features
    would depend on where a process was stopped and on what else was asked for.
    """
    (features,) = encode_clips_as((layout,), model, clips, rows, batch_size, precision, dtype)
    return features


def encode_clips_as(
    layouts: Sequence[Kept],
    model: FrozenModel,
    clips: ClipSource,
    rows: Sequence[int],
    batch_size: int = 8,
    precision: Precision = "float32",
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """The features of `encode_clips` in several layouts at once, for one forward pass."""
    num_steps, _ = clip_tokens_of(model.encoder, model.preprocess)
    parts: list[list[Tensor]] = [[] for _ in layouts]
    with progress(f"encoding ({model.name})", len(rows)) as advance:
        for first in range(0, len(rows), batch_size):
            some = rows[first : first + batch_size]
            frames = [clips.read(int(row), model.preprocess.num_frames) for row in some]
            full = frames + frames[-1:] * (batch_size - len(some))
            tokens = model.tokens(full, precision)[: len(some)]
            for layout, part in zip(layouts, parts, strict=True):
                part.append(_laid_out(tokens, layout, num_steps).to(dtype).cpu())
            advance(len(some))
    return [torch.cat(part) for part in parts]


def _laid_out(tokens: Tensor, layout: Kept, num_steps: int) -> Tensor:
    return with_change(tokens, num_steps) if layout == "change" else pooled(tokens, layout, num_steps)


def with_change(tokens: Tensor, num_steps: int) -> Tensor:
    """Tokens (B, N, D), those of a time step side by side, to (B, 3 D): the mean of all; the standard deviation over time of each step's
    mean; the mean absolute difference of a token and the one at its place a step later. The last two are 0 where there is one step.
    """
    steps = tokens.float().unflatten(1, (num_steps, -1))
    means, zero = steps.mean(2), steps.new_zeros(len(steps), steps.shape[3])
    spread = means.std(1) if num_steps > 1 else zero
    moved = steps.diff(dim=1).abs().mean((1, 2)) if num_steps > 1 else zero
    return torch.cat([means.mean(1), spread, moved], 1)
