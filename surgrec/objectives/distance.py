"""How near a token is to what must be predicted.

In: the ids of target tokens in a grid. Out: for every token the distance to the nearest of them. It is its own file because it is
plain geometry, exact and tested against a loop, in an objective that is otherwise about features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid


def squared_distances(target_ids: Tensor, grid: TokenGrid) -> Tensor:
    """Squared Euclidean distance, in tokens, of every token of `grid` to the nearest of `target_ids` (B, M): float32 (B, N), exact.

    A distance transform (Felzenszwalb and Huttenlocher 2012, doi 10.4086/toc.2012.v008a019): the nearest along time, then along
    rows, then along columns. N (t + h + w) sums a clip, a tenth of what comparing all tokens with all targets takes.
    """
    far = torch.full((len(target_ids), grid.num_tokens), float("inf"), device=target_ids.device)
    nearest = far.scatter(1, target_ids, 0.0).view(-1, grid.t, grid.h, grid.w)
    for axis in (1, 2, 3):
        place = torch.arange(nearest.shape[axis], device=far.device, dtype=torch.float32)
        steps = (place[:, None] - place[None, :]).square()
        nearest = (nearest.movedim(axis, -1)[..., None, :] + steps).amin(-1).movedim(-1, axis)
    return nearest.flatten(1)


def nearness(context_ids: Tensor, target_ids: Tensor, grid: TokenGrid) -> Tensor:
    """1 / sqrt(d) for every context token (B, K), d its distance in tokens to the nearest target (B, M): float32 (B, K), at most 1.

    The weight of V-JEPA 2.1's loss on context tokens (public code of V-JEPA 2, MIT licence). Disjoint tokens are at least 1 apart; one
    that is a target itself counts as its neighbour would.
    """
    squared = squared_distances(target_ids, grid).gather(1, context_ids)
    return squared.clamp_min(1.0).pow(-0.25)
