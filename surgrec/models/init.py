"""How the families draw their first weights.

In: a freshly built module. Out: the same module, its parameters redrawn from torch's global generator. It is its own file
because encoder, decoder and predictor of a family share one scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from surgrec.models.attention import Attention
from surgrec.models.errors import ModelError

InitScheme = Literal["xavier", "trunc_normal", "mimetic"]


def init_weights(module: nn.Module, scheme: InitScheme) -> None:
    """Redraw all Linear weights of `module` by `scheme`; biases become 0, norms the identity.

    "xavier" (VideoMAE): uniform with Glorot's bound. "trunc_normal" (V-JEPA 2): normal of standard deviation 0.02, then the
    weights that write to the residual stream in block l = 1, 2, ... (`attention.proj`, `mlp.fc2`) divided by sqrt(2 l).
    "mimetic" (Trockman and Kolter 2023, arXiv 2305.09828): as xavier, but attention begins as it usually ends: tokens look at
    those like them, so, with their positions, at their neighbours. A small run learns at once what otherwise takes it thousands
    of steps. It costs one singular value decomposition a head, about a second for nano and two minutes for large.

    Raises `ModelError` for another name.
    """
    match scheme:
        case "xavier":
            _redraw(module, nn.init.xavier_uniform_)
        case "trunc_normal":
            _redraw(module, lambda weight: nn.init.trunc_normal_(weight, std=0.02))
            _rescale_residuals(module)
        case "mimetic":
            _redraw(module, nn.init.xavier_uniform_)
            for part in module.modules():
                if isinstance(part, Attention):
                    _mimic(part)
        case _:
            raise ModelError(f"there is no initialisation {scheme!r}; choose {', '.join(get_args(InitScheme))}")


def draw_modality(embedding: nn.Parameter | None) -> None:
    """Redraw a modality embedding, where there is one, all but at zero, as V-JEPA 2.1's public code does: deviation 1e-6."""
    if embedding is not None:
        nn.init.normal_(embedding, std=1e-6)


def _redraw(module: nn.Module, draw: Callable[[Tensor], Tensor]) -> None:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            draw(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            part.reset_parameters()
        for name in ("q_bias", "v_bias"):
            if isinstance(getattr(part, name, None), nn.Parameter):
                nn.init.zeros_(getattr(part, name))


@torch.no_grad()
def _rescale_residuals(module: nn.Module) -> None:
    blocks = getattr(module, "blocks", ())
    for layer, block in enumerate(blocks, start=1):
        block.attention.proj.weight.div_(math.sqrt(2.0 * layer))
        block.mlp.fc2.weight.div_(math.sqrt(2.0 * layer))


@torch.no_grad()
def _mimic(attention: Attention) -> None:
    """Set queries and keys so that W_q' W_k is about 0.7 Z + 0.7 I in every head, and W_proj W_v = 0.4 Z - 0.4 I, where Z is noise of
    variance 1 / width; the first product is cut to the rank that a head has (section 3 of the paper, with its values).
    """
    qkv, heads = attention.qkv.weight.detach(), attention.num_heads
    width, head_width = qkv.shape[1], qkv.shape[1] // heads
    query, key, value = qkv.view(3, heads, head_width, width)
    for head in range(heads):
        left, root, right = _split(0.7 * _noise(qkv) + 0.7 * torch.eye(width, device=qkv.device))
        query[head] = (left[:, :head_width] * root[:head_width]).T
        key[head] = root[:head_width, None] * right[:head_width]
    left, root, right = _split(0.4 * _noise(qkv) - 0.4 * torch.eye(width, device=qkv.device))
    attention.proj.weight.copy_(left * root)
    value.copy_((root[:, None] * right).view_as(value))


def _split(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors left and right, and the square roots of the singular values between them, largest first."""
    left, values, right = torch.linalg.svd(matrix)
    return left, values.sqrt(), right


def _noise(like: Tensor) -> Tensor:
    width = like.shape[1]
    return torch.randn(width, width, device=like.device) / math.sqrt(width)
