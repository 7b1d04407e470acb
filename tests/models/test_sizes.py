"""Parameter counts of the published sizes, built without memory."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import nn

from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.errors import ModelError
from surgrec.models.predictor import Predictor
from surgrec.models.sizes import SIZES, size_named
from tests.models.build import FAMILIES


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def encoder_of(name: str, family: str, **changes: object) -> Encoder:
    clip = {"num_frames": 16, "height_pixels": 224, "width_pixels": 224}
    with torch.device("meta"):
        return Encoder(**(asdict(size_named(name)) | clip | FAMILIES[family] | changes))  # type: ignore[arg-type]


# VideoMAE S, B, L and V-JEPA 2 B, L as measured on the official code; H and g as their papers round them
@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("small", "mae", 21.9),
        ("base", "mae", 86.2),
        ("large", "mae", 303.9),
        ("base", "jepa", 86.2),
        ("large", "jepa", 303.9),
    ],
)
def test_encoders_have_the_official_number_of_parameters(name: str, family: str, expected: float) -> None:
    assert millions(encoder_of(name, family)) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("name", "expected"), [("huge", 630), ("giant", 1010)])
def test_large_encoders_are_near_what_their_papers_say(name: str, expected: float) -> None:
    assert millions(encoder_of(name, "jepa")) == pytest.approx(expected, rel=0.02)


def test_giant_of_videomae_v2_is_an_override_away() -> None:
    encoder = encoder_of("giant", "mae", num_heads=16, patch=14)
    assert encoder.blocks[0].mlp.fc1.out_features == 6144  # type: ignore[union-attr]
    assert encoder.grid.num_tokens == 2048


@pytest.mark.parametrize(
    ("encoder_width", "width", "depth", "num_heads", "expected"),
    [(384, 192, 4, 3, 2.1), (768, 384, 4, 6, 7.7), (1024, 512, 12, 8, 38.6)],
)
def test_decoders(encoder_width: int, width: int, depth: int, num_heads: int, expected: float) -> None:
    with torch.device("meta"):
        decoder = Decoder(encoder_width=encoder_width, width=width, depth=depth, num_heads=num_heads)
    # the official decoder counts neither the projection into it nor the mask token
    assert millions(decoder) - millions(decoder.embed) - width / 1e6 == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("encoder_width", "expected"), [(768, 21.9), (1024, 22.1)])
def test_predictors(encoder_width: int, expected: float) -> None:
    with torch.device("meta"):
        predictor = Predictor(encoder_width=encoder_width)
    assert millions(predictor) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_size_suits_both_families(name: str, family: str) -> None:
    assert millions(encoder_of(name, family)) > 1


def test_unknown_size_lists_the_known() -> None:
    with pytest.raises(ModelError, match="nano, tiny, small, base, large, huge, giant"):
        size_named("medium")
