"""Latent prediction: the loss in closed form, one pass of the target encoder, and its movement."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounter

from surgrec.masks.masks import MaskSet
from surgrec.models.errors import ModelError
from surgrec.models.predictor import Predictor
from surgrec.objectives.ema import move_towards
from surgrec.objectives.jepa import JEPA
from surgrec.optim.schedules import Ramp, Schedule, Shape
from tests.models.build import scramble
from tests.objectives.build import GRID, encoder_of, masks_of, random_video, run, small_dense_jepa, small_jepa


def test_the_loss_is_the_mean_over_masks_of_the_mean_absolute_difference() -> None:
    torch.manual_seed(0)
    objective, masks, video = small_jepa(), masks_of("jepa"), random_video()
    scramble(objective.frozen)  # else the target encoder equals the encoder
    outcome = run(objective, video, masks)
    with torch.no_grad():
        tokens = objective.frozen["target_encoder"](video)
        centred = tokens - tokens.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        losses = []
        for prediction, mask in zip(outcome.predictions, masks, strict=True):
            wanted = torch.stack([clip[ids] for clip, ids in zip(normed, mask.target, strict=True)])
            assert prediction.shape == wanted.shape
            losses.append((prediction - wanted).abs().mean())
    assert len(losses) == 2 and masks[0].target.shape != masks[1].target.shape  # unequal masks weigh equally
    torch.testing.assert_close(outcome.loss, torch.stack(losses).mean(), rtol=1e-5, atol=0)


def test_the_dense_loss_is_its_closed_form() -> None:
    """Levels layer-normed one by one; L1 on targets; on context tokens lambda times the mean of L1 / sqrt(distance), looped."""
    torch.manual_seed(0)
    objective, masks, video = small_dense_jepa(context_weight=Ramp(0.3, 0, 0)), masks_of("jepa"), random_video()
    scramble(objective.frozen)
    outcome = run(objective, video, masks)
    place = [(n // 24, n // 6 % 4, n % 6) for n in range(GRID.num_tokens)]
    with torch.no_grad():
        levels = objective.frozen["target_encoder"](video, all_levels=True)
        assert levels.shape == (3, 96, 2 * 48)
        normed = torch.cat([F.layer_norm(level, (48,), eps=1e-5) for level in levels.chunk(2, dim=-1)], -1)
        hidden, seen = [], []
        for number, mask in enumerate(masks):
            of_target, of_context = outcome.predictions[number], outcome.predictions[len(masks) + number]
            for clip in range(3):
                target, context = mask.target[clip], mask.context[clip]
                hidden.append((of_target[clip] - normed[clip, target]).abs().mean())
                error = (of_context[clip] - normed[clip, context]).abs().mean(-1)
                near = [min(math.dist(place[n], place[m]) for m in target.tolist()) ** -0.5 for n in context.tolist()]
                seen.append((error * torch.tensor(near)).mean())
    wanted = torch.stack(hidden).mean() + 0.3 * torch.stack(seen).mean()
    torch.testing.assert_close(outcome.loss, wanted, rtol=1e-5, atol=0)
    assert all(context.shape[-1] == 48 for context in outcome.context)  # what is watched is the last level


def test_the_weight_of_the_context_loss_is_that_of_the_step() -> None:
    torch.manual_seed(1)
    objective, masks, video = small_dense_jepa(context_weight=Ramp(0.5, 2, 4)), masks_of("jepa"), random_video()
    losses = []
    for step in (0, 2, 3, 4, 9):
        objective.before_update(step)
        losses.append(run(objective, video, masks).loss.item())
    assert losses[0] == losses[1] < losses[2] < losses[3] == losses[4]
    assert losses[2] - losses[0] == pytest.approx((losses[3] - losses[0]) / 2, rel=1e-4)
    assert "context_weight" not in objective.learner.state_dict()  # a function of the step, never of what was saved


@pytest.mark.parametrize(("has_levels", "num_levels", "has_head", "is_dense"), [
    (False, 1, False, True), (True, 2, True, False), (True, 1, True, True), (True, 2, False, True), (False, 1, True, False),
])  # fmt: skip
def test_parts_that_nothing_would_train_or_that_do_not_fit_are_refused(
    has_levels: bool, num_levels: int, has_head: bool, is_dense: bool
) -> None:
    encoder = encoder_of("jepa", levels=(0, 1) if has_levels else ())
    predictor = Predictor(
        encoder_width=48, num_levels=num_levels, has_context_head=has_head, width=48, depth=1, num_heads=2
    )
    with pytest.raises(ModelError, match="dense latent prediction needs"):
        JEPA(encoder, predictor, Schedule(0.9, 10), Ramp(0.5, 0, 0) if is_dense else None)


@pytest.mark.slow
def test_one_graph_serves_every_step_of_the_ramp() -> None:
    objective, masks, video = small_dense_jepa(context_weight=Ramp(0.5, 0, 2)), masks_of("jepa"), random_video()
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(objective.learner, backend=counter, fullgraph=True)
    for step in range(4):
        objective.before_update(step)
        targets = objective.targets(video, masks)
        loss = objective.learner(video, masks, targets).loss
        torch.testing.assert_close(compiled(video, masks, targets).loss, loss, rtol=1e-5, atol=0)
    assert counter.frame_count == 1
    torch._dynamo.reset()


@pytest.mark.parametrize("make", [small_jepa, small_dense_jepa])
def test_one_pass_of_either_encoder_serves_both_masks(make: Callable[[], JEPA]) -> None:
    objective, masks = make(), masks_of("jepa")
    passes = {"target": [], "context": []}
    objective.frozen["target_encoder"].register_forward_hook(lambda _, inputs, out: passes["target"].append(out.shape))
    objective.learner.encoder.register_forward_hook(lambda _, inputs, out: passes["context"].append(out.shape))
    run(objective, random_video(), masks)
    assert [shape[1] for shape in passes["target"]] == [96]  # the whole clip, once
    assert [shape[1] for shape in passes["context"]] == [sum(mask.context.shape[1] for mask in masks)]


@pytest.mark.parametrize("make", [small_jepa, small_dense_jepa])
@pytest.mark.parametrize("is_equally_long", [True, False])
def test_masks_together_equal_mask_by_mask(make: Callable[[], JEPA], is_equally_long: bool) -> None:
    """The shared passes are a matter of speed: a mask's context and predictions are those it has by itself."""
    objective, masks, video = make(), masks_of("jepa"), random_video()
    scramble(objective.learner)
    if not is_equally_long:
        masks = (masks[0], MaskSet(masks[1].context, masks[1].target[:, 1:]))
    together = run(objective, video, masks)
    for index, mask in enumerate(masks):
        alone = run(objective, video, (mask,))
        torch.testing.assert_close(together.context[index], alone.context[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(together.predictions[index], alone.predictions[0], rtol=0, atol=1e-5)


def test_the_target_encoder_starts_as_a_copy_and_is_what_is_released() -> None:
    objective = small_jepa()
    target, online = objective.frozen["target_encoder"], objective.learner.encoder
    assert objective.released_encoder is target and target is not online
    for mine, other in zip(target.parameters(), online.parameters(), strict=True):
        assert torch.equal(mine, other) and mine.data_ptr() != other.data_ptr()


def test_the_average_equals_its_closed_form() -> None:
    """After n updates: m^n target_0 + (1 - m) sum_k m^(n - k) online_k."""
    torch.manual_seed(1)
    momentum, updates = 0.97, 25
    target, online = nn.Linear(7, 5).double(), nn.Linear(7, 5).double()
    expected = [momentum**updates * weight.clone() for weight in target.parameters()]
    for k in range(1, updates + 1):
        scramble(online)
        move_towards(target, online, momentum)
        for total, weight in zip(expected, online.parameters(), strict=True):
            total += (1 - momentum) * momentum ** (updates - k) * weight
    for total, weight in zip(expected, target.parameters(), strict=True):
        torch.testing.assert_close(weight, total, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", [small_jepa, small_dense_jepa])
def test_after_update_uses_the_momentum_of_its_step(make: Callable[[Schedule], JEPA]) -> None:
    """For all parameters: V-JEPA 2.1's level norms and modality embedding too."""
    torch.manual_seed(2)
    schedule = Schedule(0.5, total_steps=4, shape=Shape.linear, end=1.0)
    objective = make(schedule)
    target, online = objective.frozen["target_encoder"], objective.learner.encoder
    expected = [weight.double() for weight in target.parameters()]
    for step, momentum in enumerate((0.5, 0.625, 0.75, 0.875)):
        assert schedule.at(step) == momentum
        scramble(online)
        objective.after_update(step)
        expected = [
            momentum * total + (1 - momentum) * weight.double()
            for total, weight in zip(expected, online.parameters(), strict=True)
        ]
    for total, weight in zip(expected, target.parameters(), strict=True):
        torch.testing.assert_close(weight.double(), total, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("momentum", "follows"), [(1.0, False), (0.0, True)])
def test_the_ends_of_the_momentum(momentum: float, follows: bool) -> None:
    objective = small_jepa(Schedule(momentum, 10))
    before = [weight.clone() for weight in objective.frozen.parameters()]
    scramble(objective.learner)
    objective.after_update(0)
    wanted = list(objective.learner.encoder.parameters()) if follows else before
    assert all(torch.equal(mine, other) for mine, other in zip(objective.frozen.parameters(), wanted, strict=True))
