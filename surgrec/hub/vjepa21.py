"""V-JEPA 2.1's checkpoints.

In: a file as the authors' code (MIT licence) writes it: keys as version 2's, and norms for four levels, a patch embedding for still
pictures, an embedding of the modality, a predictor with a head for context tokens. Out: an encoder and the predictor. It is its own file
because what it holds of still pictures has no place here and is a listed drop, and the final norm is the last of the four.

The models that were distilled into B and L have their averaged encoder under `ema_encoder`, and a predictor of 12 blocks that speaks in
the teacher's width. The target encoder is taken, or `ema_encoder` where there is none, as the authors' loader does; `@take:encoder`
takes another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from surgrec.hub.keys import ForeignWeightsError, Layout, Lifted, Rule
from surgrec.hub.pretrained import (
    STEM,
    Pretrained,
    Source,
    clip_arguments,
    filled,
    heads_of,
    prefix_of,
    shape_arguments,
    shape_at,
)
from surgrec.hub.vjepa import OPTIONS, chosen, encoder_layout, predictor_arguments, predictor_layout, predictor_of
from surgrec.hub.vjepa2 import HEADS
from surgrec.hub.weights_file import read_weights_file
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor

# The blocks, counted from 0, whose outputs have norms of their own, by depth; 37 is no misprint here.
LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
_ROPE_GRID = 16  # positions are stretched to the rows and columns of 256 pixels
_PREDICTOR_HEADS = {(384, 12): 12, (384, 24): 12}  # of distilled models, and of their teachers
_PICTURES = "of still pictures"
_ENCODER_DROPS = (("patch_embed_img\\.proj\\.(?:weight|bias)", _PICTURES), ("img_mod_embed", _PICTURES))
_PREDICTOR_DROPS = (("img_mod_embed", _PICTURES),)
_MODALITY = Rule(r"modality", ("video_mod_embed",), Lifted(2))
_ROTATION: dict[str, Any] = {"positions": "rope", "rope_style": "interleaved", "rope_grid": _ROPE_GRID}


def read_vjepa21(source: str, family: str = "vjepa2.1") -> Pretrained:
    """The encoder and the predictor. Raises `ForeignWeightsError` for what is not the whole of either."""
    given = Source.parse(source, OPTIONS)
    content = read_weights_file(given.path)
    name, weights, said = chosen(content, given, ("target_encoder", "ema_encoder"), family)
    encoder, lines = _read_encoder(weights, given, family, f"{given.path} ({name})")
    found = predictor_of(content, given, family)
    if isinstance(found, str):
        return Pretrained(encoder, None, (said, *lines, found))
    predictor, line = _read_predictor(found, encoder, given, family, f"{given.path} (predictor)")
    return Pretrained(encoder, predictor, (said, *lines, line))


def _read_encoder(
    weights: dict[str, Tensor], given: Source, family: str, where: str
) -> tuple[Encoder, tuple[str, ...]]:
    prefix = prefix_of(weights, STEM, where)
    shape = shape_arguments(weights, prefix, where)
    heads = heads_of(HEADS, shape["width"], shape["depth"], given.number("heads"), where)
    clip = clip_arguments(
        given.number("frames") or 16, given.number("crop") or _ROPE_GRID * shape["patch"], shape, where
    )
    arguments = shape | clip | _ROTATION | {"num_heads": heads, "qkv_bias": "qkv", "init": "trunc_normal"}
    levels = _levels(shape["depth"], where)
    with torch.device("meta"):
        encoder = Encoder(**arguments, levels=levels, has_modality_embedding=True)
    last = len(levels) - 1
    common = encoder_layout(arguments, _ENCODER_DROPS)
    norms = (
        Rule(r"norm\.(\w+)", (rf"norms_block.{last}.\1",)),
        Rule(r"level_norms\.(\d+)\.(\w+)", (r"norms_block.\1.\2",)),
    )
    layout = Layout((*norms, _MODALITY, *common.rules), common.drops).under(prefix)
    encoder, line = filled(encoder, weights, layout, family=family, part="encoder", where=where)
    return encoder, (line, f"{family}: {heads} heads and levels {list(levels)}, by the published sizes unless given")


def _read_predictor(
    weights: dict[str, Tensor], encoder: Encoder, given: Source, family: str, where: str
) -> tuple[Predictor, str]:
    has_levels = any(re.search(r"predictor_embed\.\d", key) for key in weights)
    first = "predictor_embed.0.weight" if has_levels else "predictor_embed.weight"
    prefix = prefix_of(weights, first, where)
    arguments = predictor_arguments(weights, prefix, _PREDICTOR_HEADS, given, where)
    with torch.device("meta"):
        predictor = Predictor(
            encoder_width=encoder.width,
            num_levels=shape_at(weights, prefix + first, 2, where)[1] // encoder.width,
            out_width=shape_at(weights, f"{prefix}predictor_proj.weight", 2, where)[0],
            has_context_head=any(key.startswith(f"{prefix}predictor_proj_context.") for key in weights),
            has_modality_embedding=True,
            **_ROTATION,
            **arguments,
        )
    common = predictor_layout(arguments["num_mask_tokens"], _PREDICTOR_DROPS)
    layout = Layout((_MODALITY, *common.rules), common.drops).under(prefix)
    return filled(predictor, weights, layout, family=family, part="predictor", where=where)


def _levels(depth: int, where: str) -> tuple[int, ...]:
    if depth not in LEVELS:
        depths: Mapping[int, Any] = LEVELS
        raise ForeignWeightsError(
            f"{where} is {depth} blocks deep, which no published V-JEPA 2.1 is ({', '.join(map(str, depths))}); check the family"
        )
    return LEVELS[depth]
