"""How far an average lags behind what it follows."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from surgrec.objectives.ema import move_towards, moved_at_once, squared_distance


def relative(target: nn.Module, online: nn.Module) -> float:
    squared, size = squared_distance(target, online).tolist()
    return float((squared / size) ** 0.5)


def test_the_distance_is_that_of_all_weights_as_one_vector() -> None:
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    target = copy.deepcopy(online)
    assert relative(target, online) == 0.0
    for weight in target.parameters():
        weight.data.add_(torch.randn_like(weight))
    slow, fast = (torch.cat([weight.flatten() for weight in module.parameters()]) for module in (target, online))
    assert relative(target, online) == pytest.approx(
        float((slow - fast).detach().norm() / fast.detach().norm()), rel=1e-6
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_update_shrinks_the_distance_by_the_momentum(momentum: float) -> None:
    torch.manual_seed(1)
    online, target = nn.Linear(4, 3), nn.Linear(4, 3)
    before = relative(target, online)
    move_towards(target, online, momentum)
    assert relative(target, online) == pytest.approx(momentum * before, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("momentum", [0.99925, 0.999875, 0.999984])
def test_a_weight_of_one_follows_a_small_change_however_near_to_one_the_momentum(momentum: float) -> None:
    """LayerNorm weights are near 1. After n updates towards 1.001 the closed form is 1 + 0.001 (1 - m^n)."""
    target, online = nn.LayerNorm(4), nn.LayerNorm(4)
    nn.init.constant_(online.weight, 1.001)
    count, updates = moved_at_once(momentum), 4200
    for step in range(updates):
        if (step + 1) % count == 0:
            move_towards(target, online, momentum**count)
    moved = target.weight.detach().double() - 1
    assert moved == pytest.approx(1e-3 * (1 - momentum**updates), rel=0.1)


def test_updates_are_made_as_one_only_where_float32_would_lose_them() -> None:
    assert [moved_at_once(m) for m in (0.0, 0.996, 0.99925, 0.9995)] == [1, 1, 1, 1]
    assert moved_at_once(0.99975) == 2 and moved_at_once(1.0) == 1
