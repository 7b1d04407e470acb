"""Small checkpoints in the layouts that the authors' code writes, key by key as the published files have them.

Made from models of transformers where it has the family, so that outputs can be compared, and from random numbers else. The names are
spelled out here once more, on purpose: written with the layouts of surgrec.hub, the files would agree with any mistake in them.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.models.positions import sincos_3d_table

Weights = dict[str, Tensor]


def _attention(state: Weights, stem: str, kind: str) -> Weights:
    """`qkv`, with its biases, of one block of transformers at `stem`."""
    parts = [f"{stem}.{part}" for part in ("query", "key", "value")]
    out = {"attn.qkv.weight": torch.cat([state[f"{part}.weight"] for part in parts])}
    if kind == "videomae":
        out |= {"attn.q_bias": state[f"{parts[0]}.bias"], "attn.v_bias": state[f"{parts[2]}.bias"]}
    else:
        out["attn.qkv.bias"] = torch.cat([state[f"{part}.bias"] for part in parts])
    return out


def _numbered(state: Weights, stem: str) -> int:
    return 1 + max(int(match[1]) for key in state if (match := re.match(rf"{re.escape(stem)}\.(\d+)\.", key)))


def _videomae_blocks(state: Weights, theirs: str, official: str) -> Weights:
    out: Weights = {}
    names = {
        "attention.output.dense": "attn.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    for number in range(_numbered(state, theirs)):
        stem, to = f"{theirs}.{number}", f"{official}.{number}"
        out |= {
            f"{to}.{key}": value for key, value in _attention(state, f"{stem}.attention.attention", "videomae").items()
        }
        for name, new in names.items():
            out |= {f"{to}.{new}.{kind}": state[f"{stem}.{name}.{kind}"] for kind in ("weight", "bias")}
    return out


def videomae_pretraining(oracle: Any) -> Weights:
    """Of a `VideoMAEForPreTraining`: what stands under `model`."""
    state = oracle.state_dict()
    projection = "videomae.embeddings.patch_embeddings.projection"
    out = {f"encoder.patch_embed.proj.{kind}": state[f"{projection}.{kind}"] for kind in ("weight", "bias")}
    out |= _videomae_blocks(state, "videomae.encoder.layer", "encoder.blocks")
    out |= {f"encoder.norm.{kind}": state[f"videomae.layernorm.{kind}"] for kind in ("weight", "bias")}
    out |= {key: state[key] for key in ("encoder_to_decoder.weight", "mask_token")}
    out |= _videomae_blocks(state, "decoder.decoder_layers", "decoder.blocks")
    for part in ("norm", "head"):
        out |= {f"decoder.{part}.{kind}": state[f"decoder.{part}.{kind}"] for kind in ("weight", "bias")}
    return out


def videomae_finetuned(oracle: Any) -> Weights:
    """Of a `VideoMAEModel` with mean pooling: what stands under `module` or `model`, a classifier of 7 on top."""
    state, width = oracle.state_dict(), oracle.config.hidden_size
    projection = "embeddings.patch_embeddings.projection"
    out = {f"patch_embed.proj.{kind}": state[f"{projection}.{kind}"] for kind in ("weight", "bias")}
    out |= _videomae_blocks(state, "encoder.layer", "blocks")
    out |= {"fc_norm.weight": torch.randn(width), "fc_norm.bias": torch.randn(width)}
    return out | {"head.weight": torch.randn(7, width), "head.bias": torch.randn(7)}


def vjepa2_parts(oracle: Any) -> tuple[Weights, Weights]:
    """Of a `VJEPA2Model`: encoder and predictor, without prefix."""
    state = oracle.state_dict()
    encoder = {
        f"patch_embed.proj.{kind}": state[f"encoder.embeddings.patch_embeddings.proj.{kind}"]
        for kind in ("weight", "bias")
    }
    encoder |= _vjepa2_blocks(state, "encoder.layer", "blocks")
    encoder |= {f"norm.{kind}": state[f"encoder.layernorm.{kind}"] for kind in ("weight", "bias")}
    predictor = {
        f"predictor_embed.{kind}": state[f"predictor.embeddings.predictor_embeddings.{kind}"]
        for kind in ("weight", "bias")
    }
    predictor |= {
        f"mask_tokens.{number}": token for number, token in enumerate(state["predictor.embeddings.mask_tokens"])
    }
    predictor |= _vjepa2_blocks(state, "predictor.layer", "predictor_blocks")
    for name, new in (("layernorm", "predictor_norm"), ("proj", "predictor_proj")):
        predictor |= {f"{new}.{kind}": state[f"predictor.{name}.{kind}"] for kind in ("weight", "bias")}
    return encoder, predictor


def _vjepa2_blocks(state: Weights, theirs: str, official: str) -> Weights:
    out: Weights = {}
    for number in range(_numbered(state, theirs)):
        stem, to = f"{theirs}.{number}", f"{official}.{number}"
        out |= {f"{to}.{key}": value for key, value in _attention(state, f"{stem}.attention", "vjepa2").items()}
        for name, new in (("attention.proj", "attn.proj"), ("norm1",) * 2, ("norm2",) * 2, ("mlp.fc1",) * 2, ("mlp.fc2",) * 2):  # fmt: skip
            out |= {f"{to}.{new}.{kind}": state[f"{stem}.{name}.{kind}"] for kind in ("weight", "bias")}
    return out


def random_blocks(stem: str, depth: int, width: int, hidden: int) -> Weights:
    """Blocks as V-JEPA has them."""
    out: Weights = {}
    shapes: dict[str, tuple[int, ...]] = {
        "norm1.weight": (width,), "norm1.bias": (width,), "norm2.weight": (width,), "norm2.bias": (width,),
        "attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
        "mlp.fc1.weight": (hidden, width), "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden), "mlp.fc2.bias": (width,),
    }  # fmt: skip
    for number in range(depth):
        out |= {f"{stem}.{number}.{name}": 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    return out


def vjepa1_parts(grid: TokenGrid, width: int = 48, depth: int = 2, narrow: int = 24) -> tuple[Weights, Weights]:
    """Encoder and predictor of version 1, tubelets of 2 x 8 x 8, with their position tables, without prefix."""
    encoder = {
        "pos_embed": sincos_3d_table(grid, width)[None].clone(),
        "patch_embed.proj.weight": 0.1 * torch.randn(width, 3, 2, 8, 8),
        "patch_embed.proj.bias": torch.randn(width),
        **random_blocks("blocks", depth, width, 4 * width),
        "norm.weight": torch.randn(width),
        "norm.bias": torch.randn(width),
    }
    predictor = {
        "predictor_pos_embed": sincos_3d_table(grid, narrow)[None].clone(),
        "mask_tokens.0": torch.randn(1, 1, narrow),
        "mask_tokens.1": torch.zeros(1, 1, narrow),
        "predictor_embed.weight": 0.1 * torch.randn(narrow, width),
        "predictor_embed.bias": torch.randn(narrow),
        **random_blocks("predictor_blocks", 1, narrow, 4 * narrow),
        "predictor_norm.weight": torch.randn(narrow),
        "predictor_norm.bias": torch.randn(narrow),
        "predictor_proj.weight": 0.1 * torch.randn(width, narrow),
        "predictor_proj.bias": torch.randn(width),
    }
    return encoder, predictor


def vjepa21_parts(
    width: int = 24, narrow: int = 24, is_distilled: bool = False, depth: int = 12
) -> tuple[Weights, Weights]:
    """Encoder of `depth` blocks and predictor of version 2.1, without prefix; a distilled predictor has the teacher's width, here 40."""
    encoder = {
        "img_mod_embed": torch.randn(1, 1, width),
        "video_mod_embed": torch.randn(1, 1, width),
        "patch_embed.proj.weight": 0.1 * torch.randn(width, 3, 2, 8, 8),
        "patch_embed.proj.bias": torch.randn(width),
        "patch_embed_img.proj.weight": torch.randn(width, 3, 1, 8, 8),
        "patch_embed_img.proj.bias": torch.randn(width),
        **random_blocks("blocks", depth, width, 2 * width),
        **{f"norms_block.{level}.{kind}": torch.randn(width) for level in range(4) for kind in ("weight", "bias")},
    }
    out = 40 if is_distilled else 4 * width
    embed = {"predictor_embed.weight": 0.1 * torch.randn(narrow, width), "predictor_embed.bias": torch.randn(narrow)}
    if not is_distilled:
        embed = {
            "predictor_embed.0.weight": 0.1 * torch.randn(width, 4 * width),
            "predictor_embed.0.bias": torch.randn(width),
            "predictor_embed.2.weight": 0.1 * torch.randn(narrow, width),
            "predictor_embed.2.bias": torch.randn(narrow),
        }
    predictor = {
        **{f"mask_tokens.{number}": torch.randn(1, 1, narrow) for number in range(8)},
        "img_mod_embed": torch.randn(1, 1, narrow),
        "video_mod_embed": torch.randn(1, 1, narrow),
        **embed,
        **random_blocks("predictor_blocks", 2, narrow, 4 * narrow),
        "predictor_norm.weight": torch.randn(narrow),
        "predictor_norm.bias": torch.randn(narrow),
        "predictor_proj.weight": 0.1 * torch.randn(out, narrow),
        "predictor_proj.bias": torch.randn(out),
        "predictor_proj_context.weight": 0.1 * torch.randn(out, narrow),
        "predictor_proj_context.bias": torch.randn(out),
    }
    return encoder, predictor


def wrapped(weights: Weights) -> Weights:
    """As several processes save it."""
    return {f"module.backbone.{key}": value for key, value in weights.items()}


def jepa_file(path: Path, encoder: Weights, predictor: Weights, target: Weights | None = None) -> Path:
    """A training state: encoder, predictor, target encoder, optimiser and the rest."""
    target = (
        {key: value + 1 if value.ndim == 1 else value for key, value in encoder.items()} if target is None else target
    )
    content = {
        "encoder": wrapped(encoder),
        "predictor": wrapped(predictor),
        "opt": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
        "scaler": None,
        "target_encoder": wrapped(target),
        "epoch": 10,
        "loss": 0.5,
        "batch_size": 24,
        "world_size": 128,
        "lr": 1e-4,
    }
    torch.save(content, path)
    return path


def mae_file(path: Path, weights: Weights, key: str = "model", clip: tuple[int, int] | None = None) -> Path:
    """A training state of VideoMAE; `clip` puts frames and crop among the options of the run."""
    content: dict[str, Any] = {key: weights, "optimizer": {"state": {}, "param_groups": []}, "epoch": 3, "scaler": {}}
    if clip is not None:
        content["args"] = argparse.Namespace(num_frames=clip[0], input_size=clip[1], lr=1e-3, model="pretrain_videomae")
    torch.save(content, path)
    return path
