"""Small objectives of both kinds with everything that one forward pass needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from surgrec.masks.masks import Masker, MaskSet
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.tube import TubeMasker
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.objectives.objective import Objective, Outcome
from surgrec.optim.schedules import Ramp, Schedule
from tests.models.build import VJEPA21, scramble, small_encoder

CLIP = (3, 8, 32, 48)  # C, T, H, W: a grid of 4 x 4 x 6
PATCH = 8
GRID = TokenGrid(4, 4, 6)
GROUPS = (BlockGroup(3, 0.15, 0.25, 0.5), BlockGroup(2, 0.5, 0.15, 0.6))


def encoder_of(family: str, **changes: Any) -> Encoder:
    return small_encoder(
        family, num_frames=CLIP[1], height_pixels=CLIP[2], width_pixels=CLIP[3], patch=PATCH, **changes
    )


def small_mae(**changes: Any) -> MAE:
    encoder = encoder_of("mae")
    decoder = Decoder(encoder_width=encoder.width, width=24, depth=1, num_heads=2, patch=PATCH)
    scramble(decoder)
    return MAE(encoder, decoder, IMAGENET_MEAN, IMAGENET_STD, **changes)


def small_jepa(momentum: Schedule | None = None) -> JEPA:
    encoder = encoder_of("jepa")
    predictor = Predictor(encoder_width=encoder.width, width=48, depth=1, num_heads=2, num_mask_tokens=1)
    scramble(predictor)
    return JEPA(encoder, predictor, momentum or Schedule(0.9, 10))


def small_dense_jepa(momentum: Schedule | None = None, context_weight: Ramp | None = None) -> JEPA:
    """As V-JEPA 2.1, with two levels; the weight of the context loss is whole from the first step unless given."""
    encoder = encoder_of("jepa", levels=(0, 1), **VJEPA21)
    head: dict[str, Any] = {"num_levels": 2, "has_context_head": True, **VJEPA21}
    predictor = Predictor(encoder_width=encoder.width, width=48, depth=1, num_heads=2, num_mask_tokens=1, **head)
    scramble(predictor)
    objective = JEPA(encoder, predictor, momentum or Schedule(0.9, 10), context_weight or Ramp(0.5, 0, 0))
    objective.before_update(0)
    return objective


def objective_of(variant: str) -> Objective:
    return {"mae": small_mae, "jepa": small_jepa, "dense jepa": small_dense_jepa}[variant]()


def masks_of(variant: str, batch: int = 3, running_cells: bool = False) -> tuple[MaskSet, ...]:
    masker: Masker = TubeMasker(GRID, 0.75, 0, running_cells) if variant == "mae" else MultiBlockMasker(GRID, GROUPS, 0)
    return masker.draw(np.arange(batch))


def random_video(batch: int = 3) -> Tensor:
    return torch.randn(batch, *CLIP)


def run(objective: Objective, video: Tensor, masks: tuple[MaskSet, ...]) -> Outcome:
    """One forward pass, as the step makes it."""
    outcome: Outcome = objective.learner(video, masks, objective.targets(video, masks))
    return outcome


def pixels_of_tokens(ids: Tensor) -> Tensor:
    """Where in a video (B, C, T, H, W) the tokens `ids` (B, n) lie: bool (B, 1, T, H, W)."""
    marked = torch.zeros(len(ids), GRID.num_tokens, dtype=torch.bool).scatter(1, ids, True)
    cells = marked.view(len(ids), 1, GRID.t, GRID.h, GRID.w)
    for axis, times in ((2, 2), (3, PATCH), (4, PATCH)):
        cells = cells.repeat_interleave(times, dim=axis)
    return cells
