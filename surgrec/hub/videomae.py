"""VideoMAE's checkpoints, versions 1 and 2, and SurgRec-MAE's.

In: a file as the authors' code writes it, of pretraining (`encoder.`, `decoder.`) or of fine-tuning (a classifier on top). Out: encoder,
and decoder where there is one. It is its own file because it is one family of keys; written from the names in the files (Tong et al.
2022, arXiv 2203.12602; Wang et al. 2023, arXiv 2303.16727; Lu et al. 2026, arXiv 2603.29966) and from no code.

    pretraining   under `model`: encoder.patch_embed.proj, encoder.blocks.N, encoder.norm, encoder_to_decoder, mask_token, decoder.*
    fine-tuning   under `module` or `model`: the encoder's names without prefix, no final norm, fc_norm and head of the classifier

Positions are not stored. They are a table over the flattened index of tokens, so the clip of training matters: it is read from the
options in the file where they are there, else 16 frames of 224 x 224 as published, else said after the path (`@frames:16@crop:224`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from surgrec.hub.keys import ForeignWeightsError, Layout, Rule
from surgrec.hub.pretrained import (
    STEM,
    Pretrained,
    Source,
    block_rules,
    clip_arguments,
    count_of,
    filled,
    heads_of,
    prefix_of,
    shape_arguments,
    shape_at,
    stem_rules,
)
from surgrec.hub.weights_file import read_weights_file, sound, weights_at
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.objectives.mae import MAELearner

# Published sizes (width, depth) and their heads: S, B, L, H, and version 2's g, whose patches are 14 pixels wide.
_HEADS = {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1408, 40): 16}
# Decoders (width, depth): version 1's of S, B, L, H; version 2's are all 4 deep.
_DECODER_HEADS = {(192, 4): 3, (384, 4): 6, (512, 12): 8, (512, 4): 8, (640, 12): 8, (640, 4): 8}
_OPTIONS = ("heads", "head_heads", "frames", "crop")
_CLASSIFIER = ((r"(?:fc_norm|head)\.(?:weight|bias)", "of the classifier"),)


def read_videomae(source: str, family: str = "videomae") -> Pretrained:
    """The encoder, and the decoder where the file has one. Raises `ForeignWeightsError` for what is not the whole of either."""
    given = Source.parse(source, _OPTIONS)
    content = read_weights_file(given.path)
    if any(key.endswith(STEM) for key in content):
        name, weights = "the file", sound(content, given.path)
    else:
        name, weights = weights_at(content, ("model", "module"), given.path)
    where = f"{given.path} ({name})"
    clip, clip_said = _clip(content.get("args"), given)
    reader = _read_pretraining if any(key.startswith("encoder.") for key in weights) else _read_encoder
    pretrained = reader(weights, clip, given, family, where)
    return Pretrained(pretrained.encoder, pretrained.head, (*pretrained.said, clip_said))


def _read_pretraining(
    weights: dict[str, Tensor], clip: tuple[int, int], given: Source, family: str, where: str
) -> Pretrained:
    arguments = _arguments(weights, "encoder.", clip, given, where) | {"has_final_norm": True}
    width, encoder_width = shape_at(weights, "encoder_to_decoder.weight", 2, where)
    depth = count_of(weights, "decoder.blocks")
    hidden = shape_at(weights, "decoder.blocks.0.mlp.fc1.weight", 2, where)[0]
    decoder_heads = heads_of(
        _DECODER_HEADS, width, depth, given.number("head_heads"), f"the decoder of {where}", "head_heads"
    )
    with torch.device("meta"):
        decoder = Decoder(
            encoder_width=encoder_width,
            width=width,
            depth=depth,
            num_heads=decoder_heads,
            mlp_ratio=hidden / width,
            tubelet=arguments["tubelet"],
            patch=arguments["patch"],
            channels=arguments["channels"],
        )
        learner = MAELearner(Encoder(**arguments), decoder)
    layout = Layout(
        (
            *_encoder_rules(arguments, r"encoder\.", "encoder."),
            Rule(r"decoder\.embed\.weight", ("encoder_to_decoder.weight",)),
            Rule(r"decoder\.mask_token", ("mask_token",)),
            Rule(r"(decoder\.(?:norm|head)\.\w+)", (r"\1",)),
            *block_rules(r"decoder\.blocks", "decoder.blocks"),
        )
    )
    learner, line = filled(learner, weights, layout, family=family, part="encoder and decoder", where=where)
    said = f"{family}: {learner.encoder.num_heads} heads in the encoder, {decoder_heads} in the decoder"
    return Pretrained(learner.encoder, learner.decoder, (line, f"{said}, by the published sizes unless given"))


def _read_encoder(
    weights: dict[str, Tensor], clip: tuple[int, int], given: Source, family: str, where: str
) -> Pretrained:
    prefix_of(weights, STEM, where)
    arguments = _arguments(weights, "", clip, given, where) | {"has_final_norm": "fc_norm.weight" not in weights}
    with torch.device("meta"):
        encoder = Encoder(**arguments)
    layout = Layout(_encoder_rules(arguments, "", ""), _CLASSIFIER)
    encoder, line = filled(encoder, weights, layout, family=family, part="encoder", where=where)
    said = f"{family}: {encoder.num_heads} heads, by the published sizes unless given"
    return Pretrained(encoder, None, (line, said))


def _arguments(
    weights: Mapping[str, Tensor], prefix: str, clip: tuple[int, int], given: Source, where: str
) -> dict[str, Any]:
    shape = shape_arguments(weights, prefix, where)
    heads = heads_of(_HEADS, shape["width"], shape["depth"], given.number("heads"), where)
    return (
        shape
        | clip_arguments(*clip, shape, where)
        | {"num_heads": heads, "positions": "sincos", "qkv_bias": "qv", "init": "xavier"}
    )


def _encoder_rules(arguments: Mapping[str, Any], ours: str, theirs: str) -> tuple[Rule, ...]:
    return (
        *stem_rules(arguments, ours, theirs),
        Rule(rf"{ours}norm\.(\w+)", (rf"{theirs}norm.\1",)),
        *block_rules(rf"{ours}blocks", f"{theirs}blocks"),
    )


def _clip(options: Any, given: Source) -> tuple[tuple[int, int], str]:
    """Frames and pixels a side of the training clip, and where they are known from."""
    frames, crop = given.number("frames"), given.number("crop")
    origin = "as you said"
    if frames is None or crop is None:
        named = vars(options) if isinstance(options, argparse.Namespace) else options
        in_file = [named.get(name) if isinstance(named, dict) else None for name in ("num_frames", "input_size")]
        is_told = all(isinstance(value, int) and value > 0 for value in in_file)
        origin = "as the options in the file say" if is_told else "as published, the file does not say"
        default = in_file if is_told else (16, 224)
        frames, crop = frames or default[0], crop or default[1]
    if not isinstance(frames, int) or not isinstance(crop, int):
        raise ForeignWeightsError(
            f"{given.path} was trained on no clip of {frames} frames of {crop} pixels; check the file"
        )
    return (frames, crop), f"positions: those of {frames} frames of {crop} x {crop} pixels, {origin}"
