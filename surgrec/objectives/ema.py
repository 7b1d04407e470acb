"""Exponential moving average of an encoder.

In: two modules of the same shape and a momentum. Out: the target moved in place. Its own file because its closed form is a law:
after n updates target = m^n target_0 + (1 - m) sum_k m^(n-k) online_k.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def _local(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The shard that this rank holds: FSDP2 shards target and online encoder alike, so no rank needs another's part."""
    return [getattr(parameter, "to_local", lambda p=parameter: p)() for parameter in parameters]


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
