"""How the two families draw their first weights.

In: a freshly built module. Out: the same module, its parameters redrawn from torch's global generator. It is its own file
because encoder, decoder and predictor of a family share one scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from surgrec.models.errors import ModelError

InitScheme = Literal["xavier", "trunc_normal"]


def init_weights(module: nn.Module, scheme: InitScheme) -> None:
    """Redraw all Linear weights of `module` by `scheme`; biases become 0, norms the identity.

    "xavier" (VideoMAE): uniform with Glorot's bound. "trunc_normal" (V-JEPA 2): normal of standard deviation 0.02, then the
    weights that write to the residual stream in block l = 1, 2, ... (`attention.proj`, `mlp.fc2`) divided by sqrt(2 l).
    """
    match scheme:
        case "xavier":
            _redraw(module, nn.init.xavier_uniform_)
        case "trunc_normal":
            _redraw(module, lambda weight: nn.init.trunc_normal_(weight, std=0.02))
            _rescale_residuals(module)
        case _:
            raise ModelError(f"there is no initialisation {scheme!r}; choose xavier or trunc_normal")


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
