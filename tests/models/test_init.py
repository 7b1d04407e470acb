"""First weights: the distributions that each family's papers and code give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from tests.models.build import FAMILIES


def encoder_of(family: str) -> Encoder:
    torch.manual_seed(0)
    clip = {"num_frames": 2, "height_pixels": 16, "width_pixels": 16}
    return Encoder(width=96, depth=3, num_heads=4, **clip, **FAMILIES[family])


def assert_uniform(weight: Tensor, bound: float) -> None:
    assert 0.98 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_xavier() -> None:
    encoder = encoder_of("mae")
    for block in encoder.blocks:
        for linear in (block.attention.qkv, block.attention.proj, block.mlp.fc1, block.mlp.fc2):
            assert_uniform(linear.weight, math.sqrt(6 / (linear.in_features + linear.out_features)))
        assert not block.attention.q_bias.any() and not block.attention.v_bias.any() and not block.mlp.fc1.bias.any()
    assert_uniform(encoder.embed.proj.weight, 1 / math.sqrt(1536))  # as torch draws a convolution


def test_truncated_normal_with_rescaled_residual_writers() -> None:
    encoder = encoder_of("jepa")
    for layer, block in enumerate(encoder.blocks, start=1):
        assert block.attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for writer in (block.attention.proj, block.mlp.fc2):
            assert writer.weight.std().item() == pytest.approx(0.02 / math.sqrt(2 * layer), rel=0.05)
    assert encoder.embed.proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not encoder.embed.proj.bias.any()


def test_mask_tokens() -> None:
    decoder = Decoder(encoder_width=96, width=512, depth=1, num_heads=4)
    assert 0.005 < decoder.mask_token.std().item() < 0.02 and decoder.mask_token.abs().max().item() <= 0.02
    predictor = Predictor(encoder_width=96, width=48, depth=2, num_heads=4)
    assert not predictor.mask_tokens.any()
    second = predictor.blocks[1]
    assert second.mlp.fc2.weight.std().item() == pytest.approx(0.01, rel=0.1)  # type: ignore[union-attr]
