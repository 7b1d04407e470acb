"""How far an average lags behind what it follows."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from surgrec.objectives.ema import move_towards, squared_distance


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
