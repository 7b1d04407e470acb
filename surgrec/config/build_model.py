"""The clip's token grid, the encoder, the decoder or predictor, and the objective that holds them.

In: a configuration. Out: modules with random weights, or with those that `init` names. It is its own file because nothing here knows
footage or a device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from surgrec.config.build_schedules import build_context_weight, build_momentum
from surgrec.config.schema import Config, JEPAConfig, MAEConfig
from surgrec.core.errors import UserError
from surgrec.core.grid import TokenGrid
from surgrec.hub.image_start import Pixels
from surgrec.hub.initial import start_from
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder, spread_levels
from surgrec.models.predictor import Predictor
from surgrec.models.sizes import DECODERS, PREDICTORS, HeadSize, size_named
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.objectives.objective import Objective


def build_grid(config: Config) -> TokenGrid:
    """The token grid of the configured clip."""
    crop = config.augment.crop_pixels
    return TokenGrid.of_clip(config.data.num_frames, crop, crop, config.backbone.tubelet, patch_pixels(config))


def patch_pixels(config: Config) -> int:
    """Side of a patch: the backbone's own unless set."""
    return config.backbone.patch or size_named(config.backbone.size).patch


def build_encoder(config: Config) -> Encoder:
    """The encoder; its random weights depend on `seed` alone."""
    node, size = config.backbone, size_named(config.backbone.size)
    levels: tuple[int, ...] = ()
    if isinstance(config.objective, JEPAConfig) and config.objective.dense:
        levels = spread_levels(size.depth, config.objective.levels)
    return Encoder(
        width=size.width,
        depth=size.depth,
        num_heads=node.num_heads or size.num_heads,
        mlp_ratio=size.mlp_ratio,
        num_frames=config.data.num_frames,
        height_pixels=config.augment.crop_pixels,
        width_pixels=config.augment.crop_pixels,
        tubelet=node.tubelet,
        patch=patch_pixels(config),
        positions=node.positions,  # type: ignore[arg-type]
        rope_style=node.rope_style,  # type: ignore[arg-type]
        rope_grid=node.rope_grid,
        position_grid=node.position_grid,
        has_final_norm=node.final_norm,
        levels=levels,
        has_modality_embedding=node.modality_embedding,
        qkv_bias=node.qkv_bias,  # type: ignore[arg-type]
        init=node.init,  # type: ignore[arg-type]
        attention_backend=config.runtime.attention,  # type: ignore[arg-type]
        activation_checkpointing=config.runtime.activation_checkpointing.value,
    )


def head_size(config: Config) -> HeadSize:
    """Shape of decoder or predictor: what the configuration says, else by the encoder's size."""
    node, table = config.objective, DECODERS if isinstance(config.objective, MAEConfig) else PREDICTORS
    size_named(config.backbone.size)  # names the sizes there are
    own = table[config.backbone.size]
    return HeadSize(node.head_width or own.width, node.head_depth or own.depth, node.head_heads or own.num_heads)


def build_objective(config: Config, say: Callable[[str], object] = lambda line: None) -> Objective:
    """Encoder, decoder or predictor, and target encoder; random weights depend on `seed` alone, so all ranks start alike.

    With `init`, encoder and target encoder start from those weights, and so does the decoder or predictor where one came along that
    fits; what was done is told to `say`, a sentence each.
    """
    torch.manual_seed(config.seed)
    encoder = build_encoder(config)
    head = build_head(config, encoder)
    if config.init is not None:
        for line in start_from(
            encoder, head, config.init, Pixels(tuple(config.augment.mean), tuple(config.augment.std))
        ):
            say(line)
    match config.objective, head:
        case MAEConfig() as node, Decoder():
            return MAE(encoder, head, config.augment.mean, config.augment.std, node.normalise_targets)
        case JEPAConfig() as node, Predictor():
            return JEPA(encoder, head, build_momentum(config, node), build_context_weight(node))
    raise AssertionError("a head follows from its objective")


def build_head(config: Config, encoder: Encoder) -> Decoder | Predictor:
    """The decoder or predictor on top of the encoder."""
    size = head_size(config)
    match config.objective:
        case MAEConfig():
            return Decoder(
                encoder_width=encoder.width,
                width=size.width,
                depth=size.depth,
                num_heads=size.num_heads,
                tubelet=encoder.tubelet,
                patch=encoder.patch,
                positions="sincos" if encoder.positions == "sincos" else "sincos_3d",
                position_grid=encoder.position_grid,
                attention_backend=config.runtime.attention,  # type: ignore[arg-type]
                activation_checkpointing=config.runtime.activation_checkpointing.value,
                init=encoder.init_scheme,
            )
        case JEPAConfig() as node:
            return Predictor(
                encoder_width=encoder.width,
                num_levels=max(1, len(encoder.levels)),
                has_context_head=node.dense,
                has_modality_embedding=encoder.has_modality_embedding,
                width=size.width,
                depth=size.depth,
                num_heads=size.num_heads,
                num_mask_tokens=1,
                positions=encoder.positions,
                rope_style=config.backbone.rope_style,  # type: ignore[arg-type]
                rope_grid=encoder.rope_grid,
                position_grid=encoder.position_grid,
                attention_backend=config.runtime.attention,  # type: ignore[arg-type]
                activation_checkpointing=config.runtime.activation_checkpointing.value,
                init=encoder.init_scheme,
            )
    raise UserError("the configuration names no objective; add +variant=mae or +variant=jepa")
