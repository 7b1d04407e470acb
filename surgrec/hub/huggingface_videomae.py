"""VideoMAE as transformers has it: options and keys.

In: a `VideoMAEConfig`, or an encoder and decoder of ours. Out: the other, and the layout of the keys. It is its own file because it is
a family of its own, with queries, keys and values apart and the MLP spread over two modules (Apache-2.0 port of Tong et al. 2022).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from surgrec.hub.keys import ForeignWeightsError, Layout, Rule, Split, Unfolded
from surgrec.models.block import Block
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.objectives.mae import MAELearner

# Options of theirs that ours has no counterpart of, and the only value with which they change nothing.
_FIXED = {"hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "qv_bias": True}


def block_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """Rules of a stack of blocks, `ours` and `theirs` the regular expression and template up to the block's number."""
    return (
        Rule(
            rf"{ours}\.(\d+)\.attention\.qkv\.weight",
            tuple(rf"{theirs}.\1.attention.attention.{part}.weight" for part in ("query", "key", "value")),
            Split(),
        ),
        Rule(rf"{ours}\.(\d+)\.attention\.q_bias", (rf"{theirs}.\1.attention.attention.query.bias",)),
        Rule(rf"{ours}\.(\d+)\.attention\.v_bias", (rf"{theirs}.\1.attention.attention.value.bias",)),
        Rule(rf"{ours}\.(\d+)\.attention\.proj\.(\w+)", (rf"{theirs}.\1.attention.output.dense.\2",)),
        Rule(rf"{ours}\.(\d+)\.norm1\.(\w+)", (rf"{theirs}.\1.layernorm_before.\2",)),
        Rule(rf"{ours}\.(\d+)\.norm2\.(\w+)", (rf"{theirs}.\1.layernorm_after.\2",)),
        Rule(rf"{ours}\.(\d+)\.mlp\.fc1\.(\w+)", (rf"{theirs}.\1.intermediate.dense.\2",)),
        Rule(rf"{ours}\.(\d+)\.mlp\.fc2\.(\w+)", (rf"{theirs}.\1.output.dense.\2",)),
    )


def encoder_layout(encoder: Encoder, ours: str = "", theirs: str = "") -> Layout:
    """The keys of `VideoMAEModel`; `ours` (regular expression) and `theirs` stand before every key."""
    kernel = (encoder.channels, encoder.tubelet, encoder.patch, encoder.patch)
    stem = f"{theirs}embeddings.patch_embeddings.projection"
    return Layout(
        (
            Rule(rf"{ours}embed\.proj\.weight", (f"{stem}.weight",), Unfolded(kernel)),
            Rule(rf"{ours}embed\.proj\.bias", (f"{stem}.bias",)),
            Rule(rf"{ours}norm\.(\w+)", (rf"{theirs}layernorm.\1",)),
            *block_rules(rf"{ours}blocks", f"{theirs}encoder.layer"),
        )
    )


def learner_layout(encoder: Encoder) -> Layout:
    """The keys of `VideoMAEForPreTraining`."""
    return Layout(
        (
            *encoder_layout(encoder, r"encoder\.", "videomae.").rules,
            Rule(r"decoder\.embed\.weight", ("encoder_to_decoder.weight",)),
            Rule(r"decoder\.mask_token", ("mask_token",)),
            Rule(r"decoder\.(norm|head)\.(\w+)", (r"decoder.\1.\2",)),
            *block_rules(r"decoder\.blocks", "decoder.decoder_layers"),
        )
    )


def encoder_of(config: Any) -> Encoder:
    """The encoder that a `VideoMAEConfig` describes. Raises `ForeignWeightsError` for what ours cannot be."""
    for name, value in _FIXED.items():
        if getattr(config, name) != value:
            raise ForeignWeightsError(
                f"the VideoMAE has {name}={getattr(config, name)!r}, which has no counterpart here; only {value!r} can be read"
            )
    height, width = _pair(config.image_size)
    rows, columns = _pair(config.patch_size)
    if rows != columns:
        raise ForeignWeightsError(
            f"the VideoMAE has patches of {rows} x {columns} pixels; only square ones can be read"
        )
    return Encoder(
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_ratio=config.intermediate_size / config.hidden_size,
        num_frames=config.num_frames,
        height_pixels=height,
        width_pixels=width,
        tubelet=config.tubelet_size,
        patch=rows,
        channels=config.num_channels,
        positions="sincos",
        qkv_bias="qv",
        norm_eps=config.layer_norm_eps,
        has_final_norm=not config.use_mean_pooling,
        init="xavier",
    )


def learner_of(config: Any, decoder_norm: nn.Module) -> MAELearner:
    """Encoder and decoder; the epsilon of the decoder's last norm is not in the configuration, so its module is needed."""
    encoder = encoder_of(config)
    decoder = Decoder(
        encoder_width=encoder.width,
        width=config.decoder_hidden_size,
        depth=config.decoder_num_hidden_layers,
        num_heads=config.decoder_num_attention_heads,
        mlp_ratio=config.decoder_intermediate_size / config.decoder_hidden_size,
        tubelet=encoder.tubelet,
        patch=encoder.patch,
        channels=encoder.channels,
        norm_eps=config.layer_norm_eps,
        final_norm_eps=decoder_norm.eps,  # type: ignore[arg-type]
    )
    return MAELearner(encoder, decoder, bool(config.norm_pix_loss))


def config_of(encoder: Encoder, decoder: Decoder | None) -> dict[str, Any]:
    """The options of the `VideoMAEConfig` that describes encoder and decoder. Raises `ForeignWeightsError` where none does."""
    heads = [head for head in (encoder, decoder) if head is not None]
    has_plain_positions = all(part.positions == "sincos" and part.position_grid is None for part in heads)
    if not has_plain_positions or encoder.qkv_bias != "qv":
        raise ForeignWeightsError(
            "transformers' VideoMAE has sincos positions of the clip's own grid and biases on queries and values; this encoder has "
            f"{encoder.positions} and {encoder.qkv_bias}, so it cannot be written as one"
        )
    if decoder is not None and decoder.norm_eps != encoder.norm_eps:
        raise ForeignWeightsError(
            "transformers' VideoMAE has one epsilon for all blocks; here the encoder has "
            f"{encoder.norm_eps} and the decoder {decoder.norm_eps}, so it cannot be written as one"
        )
    is_square = encoder.height_pixels == encoder.width_pixels
    options: dict[str, Any] = {
        "image_size": encoder.height_pixels if is_square else [encoder.height_pixels, encoder.width_pixels],
        "patch_size": encoder.patch,
        "num_channels": encoder.channels,
        "num_frames": encoder.num_frames,
        "tubelet_size": encoder.tubelet,
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": round(encoder.width * encoder.mlp_ratio),
        "layer_norm_eps": encoder.norm_eps,
        "use_mean_pooling": not encoder.has_final_norm,
        **_FIXED,
    }
    if decoder is None:
        return options
    block = decoder.blocks[0]
    assert isinstance(block, Block)
    return options | {
        "decoder_hidden_size": decoder.width,
        "decoder_num_hidden_layers": len(decoder.blocks),
        "decoder_num_attention_heads": block.attention.num_heads,
        "decoder_intermediate_size": len(block.mlp.fc1.weight),
    }


def _pair(size: Any) -> tuple[int, int]:
    first, second = size if isinstance(size, list | tuple) else (size, size)
    return int(first), int(second)
