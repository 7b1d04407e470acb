"""Small models of the families for the tests of this folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surgrec.models.encoder import Encoder

FAMILIES: dict[str, dict[str, Any]] = {
    "mae": {"positions": "sincos", "qkv_bias": "qv", "init": "xavier"},
    "jepa": {"positions": "rope", "qkv_bias": "qkv", "init": "trunc_normal"},
    "vjepa1": {"positions": "sincos_3d", "qkv_bias": "qkv", "init": "trunc_normal"},
}
VJEPA21: dict[str, Any] = {"rope_style": "interleaved", "rope_grid": 16, "has_modality_embedding": True}  # and levels
CLIP = (3, 4, 32, 48)  # C, T, H, W: a grid of 2 x 4 x 6, not square


def small_encoder(family: str, **changes: Any) -> Encoder:
    """A two-block encoder with patches of 8 pixels, all parameters redrawn so that zero biases hide nothing."""
    arguments: dict[str, Any] = {"width": 48, "depth": 2, "num_heads": 2, "patch": 8}
    arguments |= {"num_frames": CLIP[1], "height_pixels": CLIP[2], "width_pixels": CLIP[3]}
    encoder = Encoder(**(arguments | FAMILIES[family] | changes))
    scramble(encoder)
    return encoder


@torch.no_grad()
def scramble(module: nn.Module) -> None:
    """Redraw all parameters, also biases and norms, so that each of them matters."""
    for name, parameter in module.named_parameters():
        scale = 1.0 if name.endswith("weight") and parameter.ndim == 1 else 0.0  # weights of norms stay around one
        parameter.copy_(scale + 0.1 * torch.randn_like(parameter))


def random_ids(batch: int, num_tokens: int, count: int) -> Tensor:
    """Different token ids (batch, count) in random order for each sample."""
    return torch.stack([torch.randperm(num_tokens)[:count] for _ in range(batch)])
