"""Laws of the latent predictor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.models.errors import ModelError
from surgrec.models.predictor import Predictor
from tests.models.build import VJEPA21, random_ids, scramble

GRID = TokenGrid(2, 3, 5)


def build(**changes: object) -> Predictor:
    arguments: dict[str, object] = {"encoder_width": 32, "width": 24, "depth": 2, "num_heads": 2, "num_mask_tokens": 3}
    return Predictor(**(arguments | changes))  # type: ignore[arg-type]


@pytest.fixture(params=["rope", "sincos_3d"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    torch.manual_seed(0)
    model = build(positions=request.param)
    scramble(model)
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    ids = random_ids(2, 30, 20)
    return torch.randn(2, 8, 32), ids[:, :8], ids[:, 8:]


def test_predicts_the_targets_in_their_order(predictor: Predictor) -> None:
    tokens, context, target = inputs()
    out = predictor(tokens, context, target, GRID, mask_index=1)
    assert out.shape == (2, 12, 32)
    order, context_order = torch.randperm(12), torch.randperm(8)
    again = predictor(tokens[:, context_order], context[:, context_order], target[:, order], GRID, mask_index=1)
    torch.testing.assert_close(again, out[:, order], rtol=0, atol=5e-6)


def test_positions_are_those_of_the_grid_that_is_given(predictor: Predictor) -> None:
    tokens, context, target = inputs()
    wider = TokenGrid(4, 5, 9)  # the same places under other ids
    moved = [(ids // 15 * 5 + ids // 5 % 3) * 9 + ids % 5 for ids in (context, target)]
    out = predictor(tokens, context, target, GRID)
    torch.testing.assert_close(predictor(tokens, *moved, wider), out, rtol=0, atol=5e-6)
    assert (predictor(tokens, context, target, wider) - out).abs().max() > 1e-3


def test_each_mask_has_its_own_token_and_all_have_gradients(predictor: Predictor) -> None:
    batch = inputs()
    first, second = (predictor(*batch, GRID, mask_index=index) for index in (0, 1))
    assert (first - second).abs().max() > 1e-3
    first.square().mean().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None, name  # also what this mask does not use, or DDP would wait for it
    gradient = predictor.mask_tokens.grad
    assert gradient is not None and gradient[0].any() and not gradient[1:].any()
    for index in (-1, 3):
        with pytest.raises(ModelError, match="3 mask tokens"):
            predictor(*batch, GRID, mask_index=index)


def vjepa21() -> Predictor:
    torch.manual_seed(0)
    model = build(num_levels=4, has_context_head=True, **VJEPA21)
    scramble(model)
    return model


def test_vjepa21_reads_and_predicts_all_levels_for_targets_and_context() -> None:
    model, (_, context, target) = vjepa21(), inputs()
    tokens = torch.randn(2, 8, 4 * 32)
    seen: list[Tensor] = []
    model.norm.register_forward_hook(lambda _, inputs, out: seen.append(out))
    predicted, again = model(tokens, context, target, GRID, with_context=True)
    assert predicted.shape == (2, 12, 4 * 32) and again.shape == (2, 8, 4 * 32)
    assert torch.equal(predicted, model(tokens, context, target, GRID))  # the second head changes nothing for targets
    first, second = model.embed[0], model.embed[2]  # type: ignore[index]
    assert first.weight.shape == (32, 128) and second.weight.shape == (24, 32)
    assert torch.equal(again, model.proj_context(seen[1]))  # type: ignore[misc]
    (predicted.square().mean() + again.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_modality_embedding_of_the_predictor_is_added_to_context_and_mask_tokens() -> None:
    model, (_, context, target) = vjepa21(), inputs()
    tokens = torch.randn(2, 8, 4 * 32)
    before = model(tokens, context, target, GRID, with_context=True)
    with torch.no_grad():
        model.embed[2].bias += model.modality  # type: ignore[index, operator]
        model.mask_tokens += model.modality
        model.modality.zero_()  # type: ignore[union-attr]
    torch.testing.assert_close(model(tokens, context, target, GRID, with_context=True), before, rtol=0, atol=5e-6)


def test_vjepa21_predictor_positions_are_stretched_to_the_grid_of_pretraining() -> None:
    model, (_, context, target) = vjepa21(), inputs()
    plain = build(num_levels=4, has_context_head=True, **(VJEPA21 | {"rope_grid": None}))
    plain.load_state_dict(model.state_dict())
    tokens = torch.randn(2, 8, 4 * 32)
    assert (model(tokens, context, target, GRID) - plain(tokens, context, target, GRID)).abs().max() > 1e-3
    square = TokenGrid(1, 16, 16)
    both = [predictor(tokens, context, target, square) for predictor in (model, plain)]
    assert torch.equal(*both)


def test_an_output_of_another_width_and_a_head_that_is_not_there(predictor: Predictor) -> None:
    """The distilled V-JEPA 2.1 models read one level of the student and predict the 1664 features of their teacher."""
    _, context, target = inputs()
    assert build(out_width=52)(torch.randn(2, 8, 32), context, target, GRID).shape == (2, 12, 52)
    with pytest.raises(ModelError, match="no head for context"):
        predictor(*inputs(), GRID, with_context=True)


def test_checkpointing_gives_the_same_gradients(predictor: Predictor) -> None:
    saving = build(activation_checkpointing=True, positions=predictor.positions)
    saving.load_state_dict(predictor.state_dict())
    batch = inputs()
    for model in (predictor, saving):
        model(*batch, GRID).square().mean().backward()
    for (name, a), b in zip(predictor.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name  # type: ignore[arg-type]


def test_autocast_is_close(predictor: Predictor) -> None:
    batch = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        rough = predictor(*batch, GRID)
    exact = predictor(*batch, GRID)
    assert torch.nn.functional.cosine_similarity(exact, rough.float(), dim=-1).min() > 0.999


def test_compiles_to_one_graph(predictor: Predictor) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(predictor, backend="eager", fullgraph=True)
    batch = inputs()
    torch.testing.assert_close(compiled(*batch, GRID), predictor(*batch, GRID), rtol=0, atol=5e-6)
    torch._dynamo.reset()


def test_a_predictor_has_the_epsilon_and_the_position_grid_that_it_was_given() -> None:
    shape: dict[str, Any] = {"encoder_width": 48, "width": 24, "depth": 1, "num_heads": 2, "positions": "sincos_3d"}
    head = Predictor(**shape, norm_eps=1e-3, position_grid=(1, 2, 2))
    assert {part.eps for part in head.modules() if isinstance(part, torch.nn.LayerNorm)} == {1e-3}
    other = Predictor(**shape, norm_eps=1e-3)
    other.load_state_dict(head.state_dict())
    batch = torch.randn(1, 4, 48), torch.arange(4)[None], torch.arange(4, 16)[None]
    grid = TokenGrid(1, 4, 4)
    assert (head(*batch, grid) - other(*batch, grid)).abs().max() > 1e-5
    other.position_grid = (1, 2, 2)
    assert torch.equal(head(*batch, grid), other(*batch, grid))
