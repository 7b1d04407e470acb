"""First weights: the distributions that each family's papers and code give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.positions import sincos_3d_table
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


def test_mimetic_attention_looks_at_like_tokens_and_undoes_a_part_of_them() -> None:
    width, heads = 96, 4
    torch.manual_seed(0)
    clip = {"num_frames": 2, "height_pixels": 16, "width_pixels": 16}
    encoder = Encoder(
        width=width, depth=3, num_heads=heads, **clip, positions="sincos_3d", qkv_bias="qkv", init="mimetic"
    )
    eye = torch.eye(width)
    for block in encoder.blocks:
        query, key, value = block.attention.qkv.weight.view(3, heads, width // heads, width)
        for q, k in zip(query, key, strict=True):
            # a quarter of the singular directions of 0.7 (Z + I), the largest: their part along I is at least a quarter of 0.7 I
            product = q.T @ k
            assert torch.linalg.matrix_rank(product) == width // heads
            assert product.diagonal().mean() > 0.7 / heads
            assert product.diagonal().mean() > 5 * (product - product.diagonal().diag()).mean().abs()
        product = block.attention.proj.weight @ value.reshape(width, width)
        assert product.diagonal().mean().item() == pytest.approx(-0.4, abs=0.02)
        assert (product + 0.4 * eye).std().item() == pytest.approx(0.4 / math.sqrt(width), rel=0.05)
        assert_uniform(block.mlp.fc1.weight, math.sqrt(6 / (5 * width)))


@torch.no_grad()
def test_with_mimetic_weights_and_added_positions_a_mask_token_looks_at_its_neighbours() -> None:
    grid, token = TokenGrid(2, 6, 6), torch.arange(72)
    place = torch.stack((token // 6 % 6, token % 6), 1).float()
    is_near = (torch.cdist(place, place) <= 1).float()
    positions = torch.nn.functional.layer_norm(sincos_3d_table(grid, 96), (96,))
    near = {}
    for scheme in ("mimetic", "xavier"):
        torch.manual_seed(0)
        decoder = Decoder(encoder_width=96, width=96, depth=1, num_heads=4, init=scheme)  # type: ignore[arg-type]
        query, key, _ = decoder.blocks[0].attention.qkv.weight.view(3, 4, 24, 96)  # type: ignore[union-attr]
        scores = torch.stack([(positions @ q.T) @ (positions @ k.T).T for q, k in zip(query, key, strict=True)])
        near[scheme] = (scores / math.sqrt(24)).softmax(-1).mul(is_near).sum(-1).mean() / is_near.mean()
    assert near["mimetic"] > 1.5, "near tokens get half as much again as if all were looked at alike"
    assert near["xavier"] == pytest.approx(1.0, abs=0.25)
