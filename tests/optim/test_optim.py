"""Laws of schedules and parameter groups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from surgrec.optim.groups import parameter_groups
from surgrec.optim.optimizer import build_adamw, set_hyper_parameters
from surgrec.optim.schedules import Ramp, Schedule, Shape


@pytest.mark.parametrize("shape", list(Shape))
def test_warm_up_is_linear_and_meets_the_peak(shape):
    schedule = Schedule(peak=2.0, start=1.0, end=0.5, warmup_steps=10, total_steps=110, shape=shape)
    assert [schedule.at(step) for step in (0, 5, 10)] == [1.0, 1.5, 2.0]


def test_shapes_after_warm_up():
    make = lambda shape: Schedule(peak=1.0, end=0.2, total_steps=100, shape=shape)  # noqa: E731
    assert make(Shape.constant).at(99) == 1.0
    assert make(Shape.linear).at(50) == pytest.approx(0.6)
    assert make(Shape.cosine).at(25) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert make(Shape.cosine).at(1000) == pytest.approx(0.2)


def test_a_ramp_is_flat_linear_and_flat():
    ramp = Ramp(0.5, first=15_000, last=30_000)
    assert [ramp.at(step) for step in (0, 15_000, 30_000, 300_000)] == [0.0, 0.0, 0.5, 0.5]
    assert ramp.at(21_000) == pytest.approx(0.5 * 6 / 15)
    assert Ramp(0.5, 0, 0).at(0) == 0.5


def test_biases_norms_and_mask_tokens_are_not_decayed():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    module.register_parameter("mask_token", nn.Parameter(torch.zeros(1, 1, 4)))
    decayed, plain = parameter_groups(module, 0.05)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)] and len(plain["params"]) == 4
    assert plain["weight_decay"] == 0.0


def test_update_uses_the_values_of_the_step():
    torch.manual_seed(0)
    module = nn.Linear(2, 2, bias=False)
    before = module.weight.detach().clone()
    optimizer = build_adamw(module, (0.9, 0.95), 1e-8, 0.1, fused=False)
    rate, decay = Schedule(peak=0.1, total_steps=10), Schedule(peak=0.1, total_steps=10)
    assert set_hyper_parameters(optimizer, 3, rate, decay) == (0.1, 0.1)
    module.weight.grad = torch.ones_like(module.weight)
    optimizer.step()
    # First AdamW step in closed form: decay, then lr * sign(gradient).
    assert torch.allclose(module.weight, before * (1 - 0.1 * 0.1) - 0.1, atol=1e-6)


def test_schedules_follow_one_another():
    last = Schedule(peak=0.5, total_steps=4, shape=Shape.linear, end=0.1)
    middle = Schedule(peak=2.0, total_steps=2, then=last)
    whole = Schedule(peak=1.0, start=0.0, warmup_steps=2, total_steps=3, then=middle)
    assert [whole.at(step) for step in range(9)] == pytest.approx([0.0, 0.5, 1.0, 2.0, 2.0, 0.5, 0.4, 0.3, 0.2])
    assert whole.at(9) == whole.at(1000) == pytest.approx(0.1)
