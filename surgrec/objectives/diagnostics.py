"""Is this run healthy? Numbers that tell learning from collapse.

In: an outcome and its targets. Out: scalars that stay on their device, so that the caller chooses when to read them. Its own file
because the loss alone does not tell: JEPA's loss can rise in a healthy run and fall in a collapsing one. What is healthy is in
docs/healthy_runs.md; what is done about the rest, in surgrec/training/watch.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from surgrec.objectives.objective import Outcome

_MAX_TOKENS = 1024  # enough for a stable estimate, small enough for every reading
_TINY = 1e-12

_GOLDEN = 0.6180339887498949  # of its multiples, the fractions fill the unit interval evenly and in no rhythm

HEALTH = (
    "feature_std",
    "effective_rank",
    "num_tokens",
    "clip_similarity",
    "target_std",
    "prediction_spread",
    "loss_over_mean",
)


def _alone(sums: Tensor) -> Tensor:
    """The sum over ranks where there is one."""
    return sums


@torch.no_grad()
def health(
    outcome: Outcome, targets: tuple[Tensor, ...], sum_over_ranks: Callable[[Tensor], Tensor] = _alone
) -> Tensor:
    """The numbers named in `HEALTH`, float64 (7,), of one micro-batch of every rank, on the device that holds it.

    Of the encoder's context tokens: `feature_std`, the mean over features of their standard deviation over tokens, 0 after a collapse
    to a point; `effective_rank`, 1 after a collapse to a line, at most `num_tokens`, how many were looked at; `clip_similarity`, the
    mean cosine between tokens of different clips, 1 where they cannot be told apart (not a number where there is one clip). Of the
    targets: `target_std`, as `feature_std`. Of the predictions: `prediction_spread`, their standard deviation over that of the
    targets, 0 for one that is always the same; `loss_over_mean`, how far they are from the targets, over how far the mean of this
    rank's targets is (mean absolute differences), 1 for that mean. Ranks add up moments, so the rest is as if one had had all clips.
    Where a rank has more than 1024 tokens, as many are looked at, evenly spread over its clips; but for the similarity of clips, which
    costs nothing.
    """
    context = outcome.context[0].float()
    tokens = _some(context.flatten(0, 1)).double()
    # a mean of cosines is a cosine of means of unit vectors
    directions = functional.normalize(context, dim=-1).mean(1).double()
    sums = [tokens.T @ tokens, _moments(tokens), directions.sum(0), directions.square().sum(), _count(directions)]
    for predicted, target in zip(outcome.predictions, targets, strict=True):
        predicted, target = (_some(each.flatten(0, 1)).float() for each in (predicted, target))
        apart, mean_apart = (predicted - target).abs().mean(), (target - target.mean(0)).abs().mean()
        sums += [_moments(target), _moments(predicted), torch.stack([apart, mean_apart]).double()]
    total = sum_over_ranks(torch.cat([each.flatten() for each in sums])).split([each.numel() for each in sums])
    gram, moments, direction, squares, num_clips, *others = total
    width = tokens.shape[1]
    spreads, relative_spreads, ratios = [], [], []
    for target, predicted, distances in zip(others[0::3], others[1::3], others[2::3], strict=True):
        spreads.append(_spread(target))
        relative_spreads.append(_spread(predicted) / _spread(target).clamp_min(_TINY))
        ratios.append(distances[0] / distances[1].clamp_min(_TINY))
    values = (
        _spread(moments),
        rank_of(gram.view(width, width)),
        moments[0],
        _mean_cosine(direction, squares[0], num_clips[0]),
        torch.stack(spreads).mean(),
        torch.stack(relative_spreads).mean(),
        torch.stack(ratios).mean(),
    )
    return torch.stack(values)


def effective_rank(tokens: Tensor) -> Tensor:
    """RankMe of tokens (n, D); see `rank_of`."""
    return rank_of(tokens.double().T @ tokens.double())


def rank_of(gram: Tensor) -> Tensor:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 3) of the tokens whose Gram matrix (D, D), float64, this is: exp of the
    entropy of the singular values' shares.
    """
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    shares = values / values.sum().clamp_min(_TINY) + 1e-7
    return torch.exp(-(shares * shares.log()).sum())


def _mean_cosine(direction: Tensor, squares: Tensor, num_clips: Tensor) -> Tensor:
    """Over all pairs of clips, from the sum of their directions (D,), the sum of these directions' squares, and their number."""
    return (direction.square().sum() - squares) / (num_clips * (num_clips - 1))


def _moments(tokens: Tensor) -> Tensor:
    """Number, sums and sums of squares of tokens (n, D): (1 + 2 D,), float64. What ranks can add up."""
    values = tokens.double()
    return torch.cat([_count(tokens), values.sum(0), values.square().sum(0)])


def _spread(moments: Tensor) -> Tensor:
    """Mean over features of the unbiased standard deviation, from `_moments`."""
    count, (sums, squares) = moments[0], moments[1:].chunk(2)
    return ((squares - sums.square() / count) / (count - 1)).clamp_min(0).sqrt().mean()


def _count(tokens: Tensor) -> Tensor:
    return tokens.new_full((1,), len(tokens), dtype=torch.float64)


def _some(tokens: Tensor) -> Tensor:
    """All of at most `_MAX_TOKENS` rows, else so many: one out of each of as many equal parts, at a place in it that goes from part to
    part without a rhythm. A fixed stride would look at some columns of the token grid alone wherever it shares a factor with their number.
    """
    if len(tokens) <= _MAX_TOKENS:
        return tokens
    parts = torch.arange(_MAX_TOKENS + 1, device=tokens.device)
    borders = parts * len(tokens) // _MAX_TOKENS
    places = parts[:-1].double() * _GOLDEN % 1
    return tokens[borders[:-1] + (places * borders.diff()).long()]
