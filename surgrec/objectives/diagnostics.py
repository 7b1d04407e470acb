"""Is this run healthy? Numbers that tell learning from collapse.

In: an outcome and its targets. Out: three scalars. Its own file because the loss alone does not tell: JEPA's loss can rise in a
healthy run and fall in a collapsing one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgrec.objectives.objective import Outcome

_MAX_TOKENS = 1024  # enough for a stable estimate, small enough for every logged step


@torch.no_grad()
def health(outcome: Outcome, targets: tuple[Tensor, ...]) -> dict[str, float]:
    """`feature_std`: mean over features of their standard deviation over tokens; 0 means collapse to a point.

    `effective_rank`: see `effective_rank`; 1 means collapse to a line. `loss_over_mean`: how far the predictions are from the targets,
    over how far the targets' mean is (mean absolute differences); below 1 means that something is learned.
    """
    tokens = _some(outcome.context[0].float().flatten(0, 1))
    return {
        "feature_std": float(tokens.std(0).mean()),
        "effective_rank": float(effective_rank(tokens)),
        "loss_over_mean": float(_loss_over_mean(outcome.predictions, targets)),
    }


def effective_rank(tokens: Tensor) -> Tensor:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 3) of tokens (n, D): exp of the entropy of the singular values' shares."""
    values = torch.linalg.eigvalsh(tokens.double().T @ tokens.double()).clamp_min(0).sqrt()
    shares = values / values.sum().clamp_min(1e-12) + 1e-7
    return torch.exp(-(shares * shares.log()).sum())


def _loss_over_mean(predictions: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
    ratios = [
        (predicted.float() - target).abs().mean() / (target - target.mean((0, 1))).abs().mean().clamp_min(1e-12)
        for predicted, target in zip(predictions, targets, strict=True)
    ]
    return torch.stack(ratios).mean()


def _some(tokens: Tensor) -> Tensor:
    """At most `_MAX_TOKENS` rows, evenly spread."""
    return tokens[:: -(-len(tokens) // _MAX_TOKENS)]
