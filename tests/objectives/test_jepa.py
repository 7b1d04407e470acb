"""Latent prediction: the loss in closed form, one pass of the target encoder, and its movement."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surgrec.objectives.ema import move_towards
from surgrec.optim.schedules import Schedule, Shape
from tests.models.build import scramble
from tests.objectives.build import masks_of, random_video, run, small_jepa


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


def test_one_pass_of_the_target_encoder_serves_both_masks() -> None:
    objective, masks = small_jepa(), masks_of("jepa")
    passes = {"target": [], "context": []}
    objective.frozen["target_encoder"].register_forward_hook(lambda _, inputs, out: passes["target"].append(out.shape))
    objective.learner.encoder.register_forward_hook(lambda _, inputs, out: passes["context"].append(out.shape))
    run(objective, random_video(), masks)
    assert [shape[1] for shape in passes["target"]] == [96]  # the whole clip, once
    assert [shape[1] for shape in passes["context"]] == [mask.context.shape[1] for mask in masks]


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


def test_after_update_uses_the_momentum_of_its_step() -> None:
    torch.manual_seed(2)
    schedule = Schedule(0.5, total_steps=4, shape=Shape.linear, end=1.0)
    objective = small_jepa(schedule)
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
