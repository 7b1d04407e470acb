"""V-JEPA 2 as transformers has it: options and keys.

In: a `VJEPA2Config`, or an encoder and predictor of ours. Out: the other, and the layout of the keys. It is its own file because it is
a family of its own, with queries, keys and values apart and square clips only (Apache-2.0 port of Assran et al. 2025).
"""

from __future__ import annotations

import math
from typing import Any

from surgrec.hub.keys import ForeignWeightsError, Layout, Rule, Split, Unfolded
from surgrec.models.block import Block
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPALearner

# Options of theirs that ours has no counterpart of, and the only value with which they change nothing.
_FIXED = {
    "hidden_act": "gelu",
    "attention_probs_dropout_prob": 0.0,
    "attention_dropout": 0.0,
    "drop_path_rate": 0.0,
    "qkv_bias": True,
}


def learner_layout(encoder: Encoder) -> Layout:
    """The keys of `VJEPA2Model`."""
    kernel = (encoder.channels, encoder.tubelet, encoder.patch, encoder.patch)
    stem = "encoder.embeddings.patch_embeddings.proj"
    qkv = tuple(rf"\1.layer.\2.attention.{part}.\3" for part in ("query", "key", "value"))
    return Layout(
        (
            Rule(r"encoder\.embed\.proj\.weight", (f"{stem}.weight",), Unfolded(kernel)),
            Rule(r"encoder\.embed\.proj\.bias", (f"{stem}.bias",)),
            Rule(r"predictor\.embed\.(\w+)", (r"predictor.embeddings.predictor_embeddings.\1",)),
            Rule(r"predictor\.mask_tokens", ("predictor.embeddings.mask_tokens",)),
            Rule(r"predictor\.proj\.(\w+)", (r"predictor.proj.\1",)),
            Rule(r"(encoder|predictor)\.norm\.(\w+)", (r"\1.layernorm.\2",)),
            Rule(r"(encoder|predictor)\.blocks\.(\d+)\.attention\.qkv\.(\w+)", qkv, Split()),
            Rule(r"(encoder|predictor)\.blocks\.(\d+)\.(.+)", (r"\1.layer.\2.\3",)),
        )
    )


def learner_of(config: Any) -> JEPALearner:
    """Encoder and predictor that a `VJEPA2Config` describes. Raises `ForeignWeightsError` for what ours cannot be."""
    for name, value in _FIXED.items():
        if getattr(config, name) != value:
            raise ForeignWeightsError(
                f"the V-JEPA 2 has {name}={getattr(config, name)!r}, which has no counterpart here; only {value!r} can be read"
            )
    if not isinstance(config.patch_size, int):
        raise ForeignWeightsError(f"the V-JEPA 2 has patch_size={config.patch_size}; only one number can be read")
    encoder = Encoder(
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_ratio=_ratio(config.hidden_size, config.mlp_ratio),
        num_frames=config.frames_per_clip,
        height_pixels=config.crop_size,
        width_pixels=config.crop_size,
        tubelet=config.tubelet_size,
        patch=config.patch_size,
        channels=config.in_chans,
        positions="rope",
        rope_style="tiled",
        qkv_bias="qkv",
        norm_eps=config.layer_norm_eps,
        init="trunc_normal",
    )
    predictor = Predictor(
        encoder_width=config.hidden_size,
        width=config.pred_hidden_size,
        depth=config.pred_num_hidden_layers,
        num_heads=config.pred_num_attention_heads,
        mlp_ratio=_ratio(config.pred_hidden_size, config.pred_mlp_ratio),
        num_mask_tokens=config.pred_num_mask_tokens,
        norm_eps=config.layer_norm_eps,
    )
    return JEPALearner(encoder, predictor)


def config_of(encoder: Encoder, predictor: Predictor) -> dict[str, Any]:
    """The options of the `VJEPA2Config` that describes both. Raises `ForeignWeightsError` where none does."""
    is_family = (encoder.positions, encoder.rope_style, encoder.qkv_bias) == ("rope", "tiled", "qkv")
    if not is_family or (predictor.positions, predictor.rope_style) != ("rope", "tiled") or not encoder.has_final_norm:
        raise ForeignWeightsError(
            "transformers' V-JEPA 2 has tiled rotary positions, biases on queries, keys and values, and a final norm; this encoder has "
            f"{encoder.positions}, {encoder.rope_style}, {encoder.qkv_bias}, so it cannot be written as one"
        )
    if encoder.levels or encoder.rope_grid or predictor.rope_grid or predictor.out_width != encoder.width:
        raise ForeignWeightsError(
            "transformers has no V-JEPA 2.1: an encoder with levels or stretched positions stays here"
        )
    if encoder.height_pixels != encoder.width_pixels:
        raise ForeignWeightsError(
            f"transformers' V-JEPA 2 has square clips; {encoder.height_pixels} x {encoder.width_pixels} pixels cannot be written"
        )
    if encoder.norm_eps != predictor.norm_eps:
        raise ForeignWeightsError(
            f"transformers' V-JEPA 2 has one epsilon for all norms; here they are {encoder.norm_eps} and {predictor.norm_eps}"
        )
    block = predictor.blocks[0]
    assert isinstance(block, Block)
    return {
        "crop_size": encoder.height_pixels,
        "patch_size": encoder.patch,
        "frames_per_clip": encoder.num_frames,
        "tubelet_size": encoder.tubelet,
        "in_chans": encoder.channels,
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.num_heads,
        "mlp_ratio": _their_ratio(encoder.width, round(encoder.width * encoder.mlp_ratio)),
        "layer_norm_eps": encoder.norm_eps,
        "pred_hidden_size": predictor.width,
        "pred_num_hidden_layers": len(predictor.blocks),
        "pred_num_attention_heads": predictor.num_heads,
        "pred_num_mask_tokens": len(predictor.mask_tokens),
        "pred_mlp_ratio": _their_ratio(predictor.width, len(block.mlp.fc1.weight)),
        **_FIXED,
    }


def _ratio(width: int, ratio: float) -> float:
    """The ratio that gives, rounded, the hidden width that theirs truncates to."""
    return int(width * ratio) / width


def _their_ratio(width: int, hidden_width: int) -> float:
    """The ratio that gives, truncated, `hidden_width`: a quotient may fall just below it."""
    ratio = hidden_width / width
    return ratio if int(width * ratio) == hidden_width else math.nextafter(ratio, math.inf)
