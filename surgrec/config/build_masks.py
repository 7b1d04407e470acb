"""Masks, and what the model computes of a clip under them.

In: a configuration. Out: a masker; counts of tokens, values and operations. It is its own file because the counts are of what is drawn.
"""

from __future__ import annotations

import numpy as np

from surgrec.config.build_data import accumulation_of
from surgrec.config.build_model import build_grid, head_size, patch_pixels
from surgrec.config.schema import Config, JEPAConfig, MaskMode, MultiBlockMaskConfig, TubeMaskConfig
from surgrec.core.errors import UserError
from surgrec.data.loader import PositionPlan
from surgrec.masks.masks import Masker
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.official import OfficialMultiBlockMasker
from surgrec.masks.tube import TubeMasker
from surgrec.models.flops import training_flops
from surgrec.models.sizes import size_named

CHANNELS = 3
_CLIPS_FOR_A_MEAN = 512


def build_masker(config: Config) -> Masker:
    """Masks for the configured token grid."""
    grid = build_grid(config)
    match config.mask:
        case TubeMaskConfig() as node:
            return TubeMasker(grid, node.ratio, config.seed, node.running_cells)
        case MultiBlockMaskConfig() as node:
            groups = [BlockGroup(**vars(group)) for group in node.groups]
            scheme = OfficialMultiBlockMasker if node.mode is MaskMode.official else MultiBlockMasker
            return scheme(grid, groups, config.seed, node.aspect)
    raise UserError("the configuration names no mask; add +variant=mae or +variant=jepa")


def tokens_of_masks(config: Config) -> tuple[tuple[int, int], ...]:
    """Context and target tokens of each mask set; where the batch decides them, the mean over batches of one process."""
    masker, batch, num_batches = build_masker(config), 1, 1
    if isinstance(config.mask, MultiBlockMaskConfig) and config.mask.mode is MaskMode.official:
        batch = PositionPlan(config.data.global_batch_size, accumulation=accumulation_of(config, 1)).micro_batch_size
        num_batches = max(1, _CLIPS_FOR_A_MEAN // batch)
    drawn = [masker.draw(range(first, first + batch)) for first in range(0, num_batches * batch, batch)]
    counts = np.array([[(mask.context.shape[1], mask.target.shape[1]) for mask in masks] for masks in drawn])
    return tuple((int(context), int(target)) for context, target in counts.mean(axis=0).round())


def num_patch_values(config: Config) -> int:
    """P, the values of one patch."""
    return CHANNELS * config.backbone.tubelet * patch_pixels(config) ** 2


def num_levels(config: Config) -> int:
    """Levels of the encoder that are predicted."""
    return config.objective.levels if isinstance(config.objective, JEPAConfig) and config.objective.dense else 1


def model_flops(config: Config) -> int:
    """Operations of one clip's step that the model needs, forward and backward: what its utilisation of a device is counted from."""
    is_jepa = isinstance(config.objective, JEPAConfig)
    return training_flops(
        tokens_of_masks(config),
        size_named(config.backbone.size),
        head_size(config),
        patch_values=num_patch_values(config),
        num_tokens=build_grid(config).num_tokens if is_jepa else None,
        num_levels=num_levels(config),
        has_context_head=isinstance(config.objective, JEPAConfig) and config.objective.dense,
    )
