"""V-JEPA 1's checkpoints, and SurgRec-JEPA's.

In: a file as the authors' code writes it: `encoder`, `predictor`, `target_encoder` and the state of training. Out: one of the two
encoders, and the predictor. It is its own file because it is one family of keys; written from the names in the files (Bardes et al.
2024, arXiv 2404.08471; Lu et al. 2026, arXiv 2603.29966) and from no code.

The position tables are stored. They are not loaded but compared with those that are computed here, and the file is refused where they
differ: a run that adds other positions than the weights were trained with is what this folder exists to prevent. Which encoder is taken
is said after the path, `@take:encoder` or `@take:target_encoder`; V-JEPA's own evaluations take the target encoder, SurgRec's the other.

A predictor that is missing, broken or under another name refuses a training state, unless the user leaves it out (`@head:none`). No key
tells how deep it was: like an encoder, one of a size that was never published is refused unless its heads are said, so that a file that
lost its last blocks is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.hub.keys import ForeignWeightsError, Layout, Listed, Rule
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
    refuse_other_positions,
    shape_arguments,
    shape_at,
    square_side,
    stem_rules,
)
from surgrec.hub.weights_file import read_weights_file, sound, weights_at
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor

HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 32): 16}
PREDICTOR_SIZE = (384, 12)  # width and depth of every published predictor, but for version 2.1's deeper ones
OPTIONS = ("heads", "head_heads", "head", "frames", "crop", "take")
_FRAMES = 16
_TABLE = "position table, equal to the one computed here"


def read_vjepa(source: str, family: str = "vjepa", take: str = "target_encoder") -> Pretrained:
    """The encoder under `take`, or under what the user says instead, and the predictor. Raises `ForeignWeightsError`."""
    given = Source.parse(source, OPTIONS)
    content = read_weights_file(given.path)
    name, weights, said = chosen(content, given, (take,), family)
    encoder, lines = _read_encoder(weights, given, family, f"{given.path} ({name})")
    found = predictor_of(content, given, family)
    if isinstance(found, str):
        return Pretrained(encoder, None, (said, *lines, found))
    predictor, line = _read_predictor(found, encoder, given, family, f"{given.path} (predictor)")
    return Pretrained(encoder, predictor, (said, *lines, line))


def chosen(
    content: Mapping[str, Any], given: Source, default: tuple[str, ...], family: str
) -> tuple[str, dict[str, Tensor], str]:
    """Name and weights of the encoder to take, and a line that says so: the user's choice, or the first of `default` that is there.

    A file of weights alone, without names for parts, is one encoder.
    """
    if _is_one_encoder(content):
        if take := given.options.get("take"):
            raise ForeignWeightsError(f"{given.path} holds one encoder without a name; leave out @take:{take}")
        return "the file", sound(content, given.path), f"{family}: the file holds one encoder"
    wanted = (given.options["take"],) if "take" in given.options else default
    name, weights = weights_at(dict(content), wanted, given.path)
    rest = ", ".join(str(key) for key in content if key not in (name, "predictor")) or "nothing"
    how = "as you said" if "take" in given.options else "the default of this family"
    return name, weights, f"{family}: the encoder is {name}, {how}; not read: {rest}"


def predictor_of(content: Mapping[str, Any], given: Source, family: str) -> dict[str, Tensor] | str:
    """The predictor's weights; or a line that says why there are none: the file is one encoder, or the user wants none (`@head:none`).

    Raises `ForeignWeightsError` for a training state without a predictor under that name, saying where one seems to be.
    """
    wanted = given.options.get("head")
    if wanted == "none":
        return f"{family}: no predictor was read, as you said"
    if wanted is not None:
        raise ForeignWeightsError(f"@head:{wanted} is not known; write @head:none to leave the predictor out")
    if _is_one_encoder(content):
        return f"{family}: the file has no predictor"
    if isinstance(content.get("predictor"), dict):
        return sound(content["predictor"], f"{given.path} (predictor)")
    alike = [f", but what looks like one under {name}" for name, part in content.items() if _looks_like_predictor(part)]
    raise ForeignWeightsError(
        f"{given.path} has no weights under predictor{''.join(alike[:1])}; fetch the file anew, or leave the predictor out: @head:none"
    )


def _is_one_encoder(content: Mapping[str, Any]) -> bool:
    return any(key.endswith(STEM) for key in content)


def _looks_like_predictor(part: Any) -> bool:
    return isinstance(part, dict) and any("predictor_blocks." in str(key) for key in part)


def encoder_layout(arguments: Mapping[str, Any], drops: tuple[tuple[str, str], ...]) -> Layout:
    """Keys of an encoder, without the prefix."""
    return Layout(
        (*stem_rules(arguments, "", ""), Rule(r"(norm\.\w+)", (r"\1",)), *block_rules("blocks", "blocks")), drops
    )


def predictor_layout(num_mask_tokens: int, drops: tuple[tuple[str, str], ...]) -> Layout:
    """Keys of a predictor, without the prefix."""
    tokens = tuple(f"mask_tokens.{number}" for number in range(num_mask_tokens))
    return Layout(
        (
            Rule(r"embed\.(.+)", (r"predictor_embed.\1",)),
            Rule(r"mask_tokens", tokens, Listed()),
            Rule(r"(norm|proj|proj_context)\.(\w+)", (r"predictor_\1.\2",)),
            *block_rules("blocks", "predictor_blocks"),
        ),
        drops,
    )


def predictor_arguments(
    weights: Mapping[str, Any], prefix: str, published: Mapping[tuple[int, int], int], given: Source, where: str
) -> dict[str, Any]:
    """What the shapes of a predictor tell; the mask tokens are as many as the file has, at least the one that is used.

    `published` leads from width and depth to heads, see `heads_of`.
    """
    width = shape_at(weights, f"{prefix}predictor_norm.weight", 1, where)[0]
    depth = count_of(weights, f"{prefix}predictor_blocks")
    hidden = shape_at(weights, f"{prefix}predictor_blocks.0.mlp.fc1.weight", 2, where)[0]
    return {
        "width": width,
        "depth": depth,
        "num_heads": heads_of(published, width, depth, given.number("head_heads"), where, "head_heads"),
        "mlp_ratio": hidden / width,
        "num_mask_tokens": max(1, count_of(weights, f"{prefix}mask_tokens")),
    }


def _read_encoder(
    weights: dict[str, Tensor], given: Source, family: str, where: str
) -> tuple[Encoder, tuple[str, ...]]:
    prefix = prefix_of(weights, STEM, where)
    shape = shape_arguments(weights, prefix, where)
    heads = heads_of(HEADS, shape["width"], shape["depth"], given.number("heads"), where)
    clip = _clip(weights, prefix, shape, given, where)
    arguments = shape | clip | {"num_heads": heads, "positions": "sincos_3d", "qkv_bias": "qkv", "init": "trunc_normal"}
    with torch.device("meta"):
        encoder = Encoder(**arguments)
    refuse_other_positions(weights, f"{prefix}pos_embed", "sincos_3d", encoder.grid, encoder.width, where)
    layout = encoder_layout(arguments, (("pos_embed", _TABLE),)).under(prefix)
    encoder, line = filled(encoder, weights, layout, family=family, part="encoder", where=where)
    grid = encoder.grid
    positions = f"positions: the stored table is that of {grid.t} x {grid.h} x {grid.w} tokens"
    return encoder, (line, f"{family}: {heads} heads, by the published sizes unless given", positions)


def _read_predictor(
    weights: dict[str, Tensor], encoder: Encoder, given: Source, family: str, where: str
) -> tuple[Predictor, str]:
    prefix = prefix_of(weights, "predictor_embed.weight", where)
    published = {PREDICTOR_SIZE: encoder.num_heads}  # version 1's predictor has as many as its encoder
    arguments = predictor_arguments(weights, prefix, published, given, where)
    with torch.device("meta"):
        predictor = Predictor(encoder_width=encoder.width, positions="sincos_3d", **arguments)
    key = f"{prefix}predictor_pos_embed"
    refuse_other_positions(weights, key, "sincos_3d", encoder.grid, predictor.width, where)
    layout = predictor_layout(arguments["num_mask_tokens"], (("predictor_pos_embed", _TABLE),)).under(prefix)
    return filled(predictor, weights, layout, family=family, part="predictor", where=where)


def _clip(
    weights: Mapping[str, Any], prefix: str, shape: Mapping[str, Any], given: Source, where: str
) -> dict[str, Any]:
    """The training clip: what the user says, else the square one of 16 frames that has as many tokens as the stored table."""
    num_tokens = shape_at(weights, f"{prefix}pos_embed", 3, where)[1]
    frames = given.number("frames") or _FRAMES
    side = square_side(num_tokens, max(1, frames // shape["tubelet"]))
    crop = given.number("crop") or (None if side is None else side * shape["patch"])
    if crop is None:
        raise ForeignWeightsError(
            f"{where} has {prefix}pos_embed with {num_tokens} positions, which are no square clip of {frames} frames; say what it was "
            "trained on after the path: @frames:16@crop:224"
        )
    TokenGrid.of_clip(frames, crop, crop, shape["tubelet"], shape["patch"])
    return clip_arguments(frames, crop, shape, where)
