"""From clips to frozen features, for every encoder alike.

In: a model and the clips of a task. Out: features or tokens of all rows. It is its own file because it is the one way from frames to
features that all protocols on clips share: the model's own geometry and its own forward pass, nothing in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surgrec.core.console import progress
from surgrec.evaluation.clips import ClipSource
from surgrec.features.baseline import FrozenModel
from surgrec.features.extractor import Layout, Precision, clip_tokens_of
from surgrec.features.layers import pooled


def encode_clips(
    model: FrozenModel,
    clips: ClipSource,
    rows: Sequence[int],
    *,
    layout: Layout = "all",
    batch_size: int = 8,
    precision: Precision = "float32",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Features of `rows`, in their order, on the CPU: tokens (n, N, D) for the layout `all`, means over each time step's cells (n, t, D)
    for `time`, over all tokens (n, D) for `pooled`. `dtype`: what they are kept as. Raises `UserError` for a clip that cannot be read.

    Every forward pass is of `batch_size` clips, the last one filled up: sums over another number of clips round otherwise, and features
    would depend on where a process was stopped and on what else was asked for.
    """
    num_steps, _ = clip_tokens_of(model.encoder, model.preprocess)
    parts = []
    with progress(f"encoding ({model.name})", len(rows)) as advance:
        for first in range(0, len(rows), batch_size):
            some = rows[first : first + batch_size]
            frames = [clips.read(int(row), model.preprocess.num_frames) for row in some]
            full = frames + frames[-1:] * (batch_size - len(some))
            tokens = model.tokens(full, precision)[: len(some)]
            parts.append(pooled(tokens, layout, num_steps).to(dtype).cpu())
            advance(len(some))
    return torch.cat(parts)
