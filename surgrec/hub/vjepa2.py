"""V-JEPA 2's checkpoints.

In: a file as the authors' code (MIT licence) writes it: `encoder`, `predictor`, `target_encoder`, keys under `module.backbone.`. Out:
one of the two encoders, and the predictor (Assran et al. 2025, arXiv 2506.09985). It is its own file because, other than version 1's,
positions rotate: a position table in such a file is a leftover, and the clip of training is not needed to read it.

Released files have 10 mask tokens, of which training used number 0 alone. The target encoder is taken, as the authors' evaluations do,
unless `@take:encoder` says otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgrec.hub.pretrained import (
    STEM,
    Pretrained,
    Source,
    clip_arguments,
    filled,
    heads_of,
    prefix_of,
    shape_arguments,
)
from surgrec.hub.vjepa import chosen, encoder_layout, predictor_arguments, predictor_layout
from surgrec.hub.weights_file import read_weights_file
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor

# Published sizes (width, depth) and their heads: B, L, H, g and, of version 2.1, G.
HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1408, 40): 22, (1664, 48): 26}
PREDICTOR_HEADS = 12
_OPTIONS = ("heads", "head_heads", "frames", "crop", "take")
_STRAY = "stray position table, positions rotate"


def read_vjepa2(source: str, family: str = "vjepa2") -> Pretrained:
    """The encoder and the predictor. Raises `ForeignWeightsError` for what is not the whole of either."""
    given = Source.parse(source, _OPTIONS)
    content = read_weights_file(given.path)
    name, weights, said = chosen(content, given, ("target_encoder",), family)
    encoder, lines = _read_encoder(weights, given, family, f"{given.path} ({name})")
    predictor: Predictor | None = None
    if isinstance(content.get("predictor"), dict):
        predictor, line = _read_predictor(content["predictor"], encoder, given, family, f"{given.path} (predictor)")
        lines = (*lines, line)
    return Pretrained(encoder, predictor, (said, *lines))


def _read_encoder(
    weights: dict[str, Tensor], given: Source, family: str, where: str
) -> tuple[Encoder, tuple[str, ...]]:
    prefix = prefix_of(weights, STEM, where)
    shape = shape_arguments(weights, prefix, where)
    heads = heads_of(HEADS, shape["width"], shape["depth"], given.number("heads"), where)
    clip = clip_arguments(given.number("frames") or 16, given.number("crop") or 16 * shape["patch"])
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
    arguments = predictor_arguments(weights, prefix, given.number("head_heads") or PREDICTOR_HEADS, where)
    with torch.device("meta"):
        predictor = Predictor(encoder_width=encoder.width, **arguments)
    layout = predictor_layout(arguments["num_mask_tokens"], (("predictor_pos_embed", _STRAY),)).under(prefix)
    return filled(predictor, weights, layout, family=family, part="predictor", where=where)
