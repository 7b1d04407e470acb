"""Small image encoders of timm, and files of their weights as the authors lay them out, written here from the published key names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import surgrec.core.torchvision_guard  # noqa: F401  (before timm)

# isort: split
import timm
from timm.models import eva, vision_transformer

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 2, "num_classes": 0}


def image_model(name: str, **changes: Any) -> nn.Module:
    """A small timm model whose weights are all random, norms, LayerScale and biases too."""
    generator = torch.Generator().manual_seed(7)
    model = timm.create_model(name, **SMALL | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def shapes_of(name: str) -> Any:
    """A timm model without memory for its weights; drawing them, which is most of the work, is left out."""
    with torch.device("meta"), patch("timm.layers.weight_init._trunc_normal_", lambda tensor, *args: tensor):
        return timm.create_model(name, num_classes=0)


def dinov2_official(model: nn.Module) -> dict[str, Tensor]:
    """The state of a timm DINOv2 under the authors' names: with registers, positions that begin with the class token's."""
    state = dict(model.state_dict())
    width = state["cls_token"].shape[-1]
    state["mask_token"] = torch.randn(1, width)
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        of_class = torch.randn(1, 1, width)
        state["cls_token"] = state["cls_token"] - of_class
        state["pos_embed"] = torch.cat((of_class, state["pos_embed"]), 1)
    if state["blocks.0.mlp.fc1.weight"].shape[0] == 2 * state["blocks.0.mlp.fc2.weight"].shape[1]:
        state = {key.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): value for key, value in state.items()}
    return state


def dinov3_official(model: nn.Module) -> dict[str, Tensor]:
    """The state of a timm DINOv3 under the authors' names."""
    state: dict[str, Tensor] = {}
    gated = {"fc1_g": "w1", "fc1_x": "w2", "fc2": "w3"} if hasattr(model.blocks[0].mlp, "fc1_g") else {}
    for key, value in model.state_dict().items():
        if match := re.fullmatch(r"(blocks\.\d+\.attn)\.([qv])_bias", key):
            state.setdefault(f"{match[1]}.qkv.bias", torch.zeros(3 * len(value))).view(3, -1)["q v".index(match[2])] = (
                value
            )
            state[f"{match[1]}.qkv.bias_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(len(value))
            continue
        key = re.sub(r"gamma_(\d)", r"ls\1.gamma", key).replace("reg_token", "storage_tokens")
        for ours, theirs in gated.items():
            key = key.replace(f"mlp.{ours}.", f"mlp.{theirs}.")
        state[key] = value
    state["mask_token"] = torch.randn(1, state["cls_token"].shape[-1])
    state["rope_embed.periods"] = model.rope.periods.to(torch.bfloat16)
    return state


def converted_by_timm(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """timm's own conversion of the authors' layout, which leaves out in silence what it does not want."""
    convert = eva.checkpoint_filter_fn if isinstance(model, eva.Eva) else vision_transformer.checkpoint_filter_fn
    return convert(dict(weights), model)


def written(weights: dict[str, Any], path: Path) -> Path:
    """A pickle of `weights`, as authors publish them."""
    torch.save(weights, path)
    return path
