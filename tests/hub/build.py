"""Small releases for the tests of releases and features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from surgrec.data.preprocess import PreprocessSpec
from surgrec.hub.card import TrainingSource
from surgrec.hub.head import head_of
from surgrec.hub.image_start import Pixels
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.hub.release import Release, write_release
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.optim.schedules import Ramp, Schedule, Shape

FAMILIES: dict[str, dict[str, Any]] = {
    "mae": {"positions": "sincos", "qkv_bias": "qv", "init": "xavier"},
    "jepa": {"positions": "rope", "qkv_bias": "qkv", "init": "trunc_normal"},
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = Pixels(MEAN, STD)
PREPROCESS = ClipPreprocess(4, 0.2, PreprocessSpec(short_side_pixels=40, crop_pixels=32, mean=MEAN, std=STD))
SOURCES = (TrainingSource("cholec", 12.5, 0.75, 3000, "CC BY 4.0"), TrainingSource("eye|two", 0.5, 0.25, 1000))


def small_release(variant: str = "jepa", seed: int = 0, **changes: Any) -> Release:
    """A release of a two-block encoder over clips of 4 frames, 0.2 seconds apart, of 32 x 32 pixels: a grid of 2 x 4 x 4."""
    torch.manual_seed(seed)
    family = FAMILIES["mae" if variant == "mae" else "jepa"]
    more = {"levels": (0, 1), "has_modality_embedding": True, "rope_grid": 16} if variant == "dense jepa" else {}
    encoder = Encoder(
        width=48, depth=2, num_heads=2, num_frames=4, height_pixels=32, width_pixels=32, patch=8, **family, **more
    )
    objective: MAE | JEPA
    if variant == "mae":
        objective = MAE(encoder, Decoder(encoder_width=48, width=24, depth=1, num_heads=2, patch=8), MEAN, STD)
    elif variant == "dense jepa":
        head: dict[str, Any] = {
            "num_levels": 2,
            "has_context_head": True,
            "has_modality_embedding": True,
            "rope_grid": 16,
        }
        predictor = Predictor(encoder_width=48, width=24, depth=1, num_heads=2, num_mask_tokens=1, **head)
        objective = JEPA(encoder, predictor, Schedule(0.99, 10), Ramp(0.5, 0, 0))
    else:
        predictor = Predictor(encoder_width=48, width=24, depth=1, num_heads=2, num_mask_tokens=1)
        objective = JEPA(encoder, predictor, Schedule(0.99, 10, Shape.linear, end=1.0))
    facts: dict[str, Any] = {
        "encoder": objective.released_encoder,
        "head": head_of(objective),
        "preprocess": PREPROCESS,
        "variant": variant.removeprefix("dense "),
        "objective": variant.removeprefix("dense "),
        "step": 300,
        "sources": SOURCES,
        "distance": ("optim.lr 0.000525 -> 0.0001",),
    }
    return Release(**facts | changes)


def written(folder: Path, variant: str = "jepa", **changes: Any) -> Path:
    """The folder of a small release."""
    assert write_release(small_release(variant, **changes), folder)
    return folder
