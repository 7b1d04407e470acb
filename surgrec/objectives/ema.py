"""Exponential moving average of an encoder.

In: two modules of the same shape and a momentum. Out: the target moved in place. Its own file because its closed form is a law:
after n updates target = m^n target_0 + (1 - m) sum_k m^(n-k) online_k.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_SMALLEST_SHARE = (
    5e-4  # of the online weight in one move, so that float32 does not round most of it away; V-JEPA 2 moves by 7.5e-4
)


def _local(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The shard that this rank holds: FSDP2 shards target and online encoder alike, so no rank needs another's part."""
    return [getattr(parameter, "to_local", lambda p=parameter: p)() for parameter in parameters]


def moved_at_once(momentum: float) -> int:
    """How many updates are made as one, with the momentum to that power: 1 down to a share of 5e-4 for the online encoder.

    In float32 a weight of 1 cannot move by less than 6e-8: at a momentum of 0.99998 it would never follow a change of 0.1 %.
    """
    share = 1.0 - momentum
    return max(1, math.ceil(_SMALLEST_SHARE / share - 1e-6)) if share > 0 else 1


@torch.no_grad()
def move_towards(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, over all parameters at once."""
    torch._foreach_lerp_(_local(target.parameters()), _local(online.parameters()), 1.0 - momentum)


@torch.no_grad()
def squared_distance(target: nn.Module, online: nn.Module) -> Tensor:
    """Of this rank's shards, (2,): the squared distance between the parameters, and the squared norm of `online`'s.

    Summed over ranks, the root of their quotient is how far the average lags behind, relative to the size of the weights.
    """
    pairs = list(zip(_local(target.parameters()), _local(online.parameters()), strict=True))
    apart = torch.stack([torch.linalg.vector_norm(slow - fast) for slow, fast in pairs])  # one difference at a time
    size = torch.stack(torch._foreach_norm([fast for _, fast in pairs]))
    return torch.stack([apart.square().sum(), size.square().sum()])
