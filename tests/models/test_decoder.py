"""Laws of the masked autoencoder's decoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.models.decoder import Decoder
from tests.models.build import random_ids, scramble

GRID = TokenGrid(2, 3, 5)


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    model = Decoder(encoder_width=32, width=24, depth=2, num_heads=2, patch=4)
    scramble(model)
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    ids = random_ids(2, 30, 20)
    return torch.randn(2, 8, 32), ids[:, :8], ids[:, 8:]


def test_predicts_the_pixels_of_the_targets_in_their_order(decoder: Decoder) -> None:
    tokens, context, target = inputs()
    out = decoder(tokens, context, target, GRID)
    assert out.shape == (2, 12, 3 * 2 * 4 * 4)
    order = torch.randperm(12)
    torch.testing.assert_close(decoder(tokens, context, target[:, order], GRID), out[:, order], rtol=0, atol=5e-6)


def test_order_of_the_context_is_free_but_its_places_matter(decoder: Decoder) -> None:
    tokens, context, target = inputs()
    out = decoder(tokens, context, target, GRID)
    order = torch.randperm(8)
    torch.testing.assert_close(decoder(tokens[:, order], context[:, order], target, GRID), out, rtol=0, atol=5e-6)
    assert (decoder(tokens, context[:, order], target, GRID) - out).abs().max() > 1e-3


def test_every_parameter_learns_also_when_checkpointing(decoder: Decoder) -> None:
    saving = Decoder(encoder_width=32, width=24, depth=2, num_heads=2, patch=4, activation_checkpointing=True)
    saving.load_state_dict(decoder.state_dict())
    batch = inputs()
    for model in (decoder, saving):
        model(*batch, GRID).square().mean().backward()
    for (name, a), b in zip(decoder.named_parameters(), saving.parameters(), strict=True):
        assert a.grad is not None and a.grad.any(), name
        assert torch.equal(a.grad, b.grad), name
    assert decoder.embed.bias is None


def test_autocast_is_close(decoder: Decoder) -> None:
    batch = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        rough = decoder(*batch, GRID)
    exact = decoder(*batch, GRID)
    assert torch.nn.functional.cosine_similarity(exact, rough.float(), dim=-1).min() > 0.999


def test_a_decoder_has_the_epsilons_and_the_position_grid_that_it_was_given() -> None:
    head = Decoder(encoder_width=48, width=24, depth=1, num_heads=2, norm_eps=1e-3, position_grid=(1, 2, 2))
    assert {part.eps for part in head.modules() if isinstance(part, torch.nn.LayerNorm)} == {1e-3}
    other = Decoder(encoder_width=48, width=24, depth=1, num_heads=2, norm_eps=1e-3, final_norm_eps=1e-2)
    assert other.norm.eps == 1e-2 and other.blocks[0].norm1.eps == 1e-3
    other.norm.eps = 1e-3
    other.load_state_dict(head.state_dict())
    batch = torch.randn(1, 4, 48), torch.arange(4)[None], torch.arange(4, 16)[None]
    grid = TokenGrid(1, 4, 4)
    assert (head(*batch, grid) - other(*batch, grid)).abs().max() > 1e-4
    other.position_grid = (1, 2, 2)
    assert torch.equal(head(*batch, grid), other(*batch, grid))
