"""Is this run healthy? Numbers that tell learning from collapse.

In: an outcome and its targets. Out: scalars that stay on their device, so that the caller chooses when to read them. Its own file
because the loss alone does not tell: JEPA's loss can rise in a healthy run and fall in a collapsing one. What is healthy is in
docs/healthy_runs.md; what is done about the rest, in surgrec/training/watch.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from surgrec.objectives.objective import Outcome

_MAX_TOKENS = 1024  # enough for a stable estimate, small enough for every reading
_TINY = 1e-12

HEALTH = ("feature_std", "effective_rank", "clip_similarity", "target_std", "prediction_spread", "loss_over_mean")


@torch.no_grad()
def health(outcome: Outcome, targets: tuple[Tensor, ...]) -> Tensor:
    """The numbers named in `HEALTH`, float32 (6,), of one micro-batch on the device that holds it.

    Of the encoder's context tokens: `feature_std`, the mean over features of their standard deviation over tokens, 0 after a collapse
    to a point; `effective_rank`, 1 after a collapse to a line; `clip_similarity`, the mean cosine between tokens of different clips,
    1 where they cannot be told apart (not a number where there is one clip). Of the targets: `target_std`, as `feature_std`. Of the
    predictions: `prediction_spread`, their standard deviation over that of the targets, 0 for one that is always the same;
    `loss_over_mean`, how far they are from the targets, over how far the targets' mean is (mean absolute differences), 1 for that mean.
    """
    context = outcome.context[0].float()
    tokens = _some(context.flatten(0, 1))
    pairs = [
        (predicted.float(), target.float()) for predicted, target in zip(outcome.predictions, targets, strict=True)
    ]
    values = (
        tokens.std(0).mean(),
        effective_rank(tokens).float(),
        clip_similarity(context),
        torch.stack([_spread(target) for _, target in pairs]).mean(),
        torch.stack([_spread(predicted) / _spread(target).clamp_min(_TINY) for predicted, target in pairs]).mean(),
        torch.stack([_loss_over_mean(predicted, target) for predicted, target in pairs]).mean(),
    )
    return torch.stack(values)


def effective_rank(tokens: Tensor) -> Tensor:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 3) of tokens (n, D): exp of the entropy of the singular values' shares."""
    values = torch.linalg.eigvalsh(tokens.double().T @ tokens.double()).clamp_min(0).sqrt()
    shares = values / values.sum().clamp_min(_TINY) + 1e-7
    return torch.exp(-(shares * shares.log()).sum())


def clip_similarity(tokens: Tensor) -> Tensor:
    """Mean cosine over all pairs of tokens of different clips; `tokens` (B, K, D). Not a number where B is 1."""
    mean = functional.normalize(tokens, dim=-1).mean(1)  # the mean of cosines is the cosine of means of unit vectors
    count = len(mean) * (len(mean) - 1)
    return (mean.sum(0).square().sum() - mean.square().sum()) / count if count else mean.new_tensor(float("nan"))


def _loss_over_mean(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).abs().mean() / (target - target.mean((0, 1))).abs().mean().clamp_min(_TINY)


def _spread(tokens: Tensor) -> Tensor:
    """Mean over features of the standard deviation over all tokens (B, M, D)."""
    return tokens.flatten(0, 1).std(0).mean()


def _some(tokens: Tensor) -> Tensor:
    """At most `_MAX_TOKENS` rows, evenly spread."""
    return tokens[:: -(-len(tokens) // _MAX_TOKENS)]
