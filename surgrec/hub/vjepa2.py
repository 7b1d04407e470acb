"""V-JEPA 2's checkpoints.

In: a file as the authors' code (MIT licence) writes it: `encoder`, `predictor`, `target_encoder`, keys under `module.backbone.`. Out:
one of the two encoders, and the predictor (Assran et al. 2025, arXiv 2506.09985). It is its own file because, other than version 1's,
positions rotate: a position table in such a file is a leftover, and the clip of training is not needed to read it. Version 1's files have
the same keys, so one that holds version 1's positions is refused, unless its predictor has more mask tokens than version 1 knows, or the
user says `@positions:rope`.

Released files have 10 mask tokens, of which training used number 0 alone. The target encoder is taken, as the authors' evaluations do,
unless `@take:encoder` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.pretrained import (
    STEM,
    Pretrained,
    Source,
    clip_arguments,
    filled,
    grid_of_sincos_3d,
    heads_of,
    prefix_of,
    shape_arguments,
)
from surgrec.hub.vjepa import (
    OPTIONS,
    PREDICTOR_SIZE,
    chosen,
    encoder_layout,
    predictor_arguments,
    predictor_layout,
    predictor_of,
)
from surgrec.hub.weights_file import read_weights_file
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor

# Published sizes (width, depth) and their heads: B, L, H, g and, of version 2.1, G.
HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1408, 40): 22, (1664, 48): 26}
_PREDICTOR_HEADS = {PREDICTOR_SIZE: 12}
_MASK_TOKENS_OF_VERSION_1 = 2  # one for each of its two kinds of masks
_OPTIONS = (*OPTIONS, "positions")
_STRAY = "stray position table, positions rotate"


def read_vjepa2(source: str, family: str = "vjepa2") -> Pretrained:
    """The encoder and the predictor. Raises `ForeignWeightsError` for what is not the whole of either."""
    given = Source.parse(source, _OPTIONS)
    content = read_weights_file(given.path)
    name, weights, said = chosen(content, given, ("target_encoder",), family)
    if not _has_more_mask_tokens_than_version_1(content):
        _refuse_version_1(weights, given, f"{given.path} ({name})")
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
    clip = clip_arguments(given.number("frames") or 16, given.number("crop") or 16 * shape["patch"], shape, where)
    arguments = shape | clip | {"num_heads": heads, "positions": "rope", "qkv_bias": "qkv", "init": "trunc_normal"}
    with torch.device("meta"):
        encoder = Encoder(**arguments)
    layout = encoder_layout(arguments, (("pos_embed", _STRAY),)).under(prefix)
    encoder, line = filled(encoder, weights, layout, family=family, part="encoder", where=where)
    return encoder, (line, f"{family}: {heads} heads, by the published sizes unless given")


def _read_predictor(
    weights: dict[str, Tensor], encoder: Encoder, given: Source, family: str, where: str
) -> tuple[Predictor, str]:
    prefix = prefix_of(weights, "predictor_embed.weight", where)
    arguments = predictor_arguments(weights, prefix, _PREDICTOR_HEADS, given, where)
    with torch.device("meta"):
        predictor = Predictor(encoder_width=encoder.width, **arguments)
    layout = predictor_layout(arguments["num_mask_tokens"], (("predictor_pos_embed", _STRAY),)).under(prefix)
    return filled(predictor, weights, layout, family=family, part="predictor", where=where)


def _has_more_mask_tokens_than_version_1(content: Mapping[str, Any]) -> bool:
    predictor = content.get("predictor")
    tokens = [key for key in predictor if "mask_tokens." in str(key)] if isinstance(predictor, dict) else []
    return len(tokens) > _MASK_TOKENS_OF_VERSION_1


def _refuse_version_1(weights: Mapping[str, Tensor], given: Source, where: str) -> None:
    """Raise `ForeignWeightsError` where a table holds the positions that version 1 adds, unless the user says that positions rotate."""
    said = given.options.get("positions")
    if said not in (None, "rope"):
        raise ForeignWeightsError(f"@positions:{said} is not known; write @positions:rope, or nothing")
    key = f"{prefix_of(weights, STEM, where)}pos_embed"
    table = weights.get(key)
    grid = grid_of_sincos_3d(table) if isinstance(table, Tensor) and said is None else None
    if grid is not None:
        raise ForeignWeightsError(
            f"{where} has in {key} the positions that V-JEPA 1 adds, of {grid.t} x {grid.h} x {grid.w} tokens; read it as vjepa:, or write "
            "@positions:rope after the path if it was trained with rotary positions"
        )
