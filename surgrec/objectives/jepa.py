"""Latent prediction: predict, from what is visible, the features that a slow copy of the encoder gives to what is hidden.

In: normalised clips and one mask set per block group. Out: mean absolute error in feature space (Bardes et al. 2024, V-JEPA,
arXiv 2404.08471, equation 1; Assran et al. 2025, V-JEPA 2, arXiv 2506.09985). Its own file: one objective, one file.

The dense form is V-JEPA 2.1's (public code of V-JEPA 2, MIT licence): the features of several levels of the encoder are read and
predicted side by side, and the visible tokens are predicted too, the more the nearer they are to what is hidden.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrec.masks.masks import MaskSet
from surgrec.models.encoder import Encoder
from surgrec.models.errors import ModelError
from surgrec.models.predictor import Predictor
from surgrec.objectives.distance import nearness
from surgrec.objectives.ema import move_towards, moved_at_once
from surgrec.objectives.objective import Outcome
from surgrec.optim.schedules import Ramp, Schedule

TARGET_NORM_EPS = 1e-5  # of the target's LayerNorm without weights; the encoder's own norms use 1e-6


def ids_of(masks: tuple[MaskSet, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """The context ids and the target ids of every mask."""
    return [mask.context for mask in masks], [mask.target for mask in masks]


class JEPALearner(nn.Module):
    """Encoder over each mask's visible tokens, predictor over visible and hidden ones."""

    def __init__(self, encoder: Encoder, predictor: Predictor) -> None:
        super().__init__()
        self.encoder, self.predictor = encoder, predictor

    def forward(self, video: Tensor, masks: tuple[MaskSet, ...], targets: tuple[Tensor, ...]) -> Outcome:
        """`video` (B, C, T, H, W); mask sets and targets (B, M, D) in the same order. Masks weigh equally, whatever their size."""
        grid = self.encoder.grid_of(video)
        contexts = self.encode(video, masks)
        predicted, _ = self.predictor.forward_all(contexts, *ids_of(masks), grid)
        predictions = tuple(predicted)
        losses = [F.l1_loss(predicted.float(), target) for predicted, target in zip(predictions, targets, strict=True)]
        return Outcome(torch.stack(losses).mean(), predictions, contexts)

    def encode(self, video: Tensor, masks: tuple[MaskSet, ...], *, all_levels: bool = False) -> tuple[Tensor, ...]:
        """The context tokens of every mask, each as if alone, in one pass: patches, norms and linear layers take them together."""
        counts = tuple(mask.context.shape[1] for mask in masks)
        ids = torch.cat([mask.context for mask in masks], dim=1)
        return self.encoder(video, ids, segments=counts, all_levels=all_levels).split(counts, dim=1)


class DenseJEPALearner(JEPALearner):
    """The same on all levels of the encoder, and for context tokens too.

    `context_weight` is a tensor, so that a compiled graph serves every step; it follows from the step and is in no checkpoint.
    """

    context_weight: Tensor

    def __init__(self, encoder: Encoder, predictor: Predictor) -> None:
        super().__init__(encoder, predictor)
        self.register_buffer("context_weight", torch.zeros(()), persistent=False)

    def forward(self, video: Tensor, masks: tuple[MaskSet, ...], targets: tuple[Tensor, ...]) -> Outcome:
        """As `JEPALearner`, with L levels: `targets` are (B, M, L * D) of every mask set, then (B, K, L * D) of every context.

        The loss is that of the target tokens plus `context_weight` times the mean over context tokens and features of the
        absolute error times `nearness`. The outcome's predictions are ordered as the targets are; its context tokens are the
        last level's.
        """
        grid = self.encoder.grid_of(video)
        contexts = self.encode(video, masks, all_levels=True)
        hidden, seen = self.predictor.forward_all(contexts, *ids_of(masks), grid, with_context=True)
        hidden_losses = [F.l1_loss(p.float(), t) for p, t in zip(hidden, targets[: len(masks)], strict=True)]
        seen_losses = [
            ((p.float() - t).abs().mean(-1) * nearness(mask.context, mask.target, grid)).mean()
            for p, t, mask in zip(seen, targets[len(masks) :], masks, strict=True)
        ]
        loss = torch.stack(hidden_losses).mean() + self.context_weight * torch.stack(seen_losses).mean()
        width = self.encoder.width
        return Outcome(loss, (*hidden, *seen), tuple(context[..., -width:] for context in contexts))


class JEPA:
    """The objective. The target encoder starts as a copy, never gets a gradient, and follows by `momentum`.

    With `context_weight`, the weight of the context tokens' loss over the run, it is the dense one. The encoder then needs
    levels and the predictor as many and a head for context tokens; without it neither may have them, for nothing would train them.
    """

    def __init__(
        self, encoder: Encoder, predictor: Predictor, momentum: Schedule, context_weight: Ramp | None = None
    ) -> None:
        self.is_dense = context_weight is not None
        fits = predictor.num_levels == max(1, len(encoder.levels))
        if not fits or {bool(encoder.levels), predictor.proj_context is not None} != {self.is_dense}:
            raise ModelError(
                "dense latent prediction needs an encoder with levels and a predictor with as many and a context head; "
                "plain latent prediction trains none of them"
            )
        self.learner = DenseJEPALearner(encoder, predictor) if self.is_dense else JEPALearner(encoder, predictor)
        self.frozen = nn.ModuleDict({"target_encoder": copy.deepcopy(encoder).requires_grad_(False).eval()})
        self.momentum, self.context_weight = momentum, context_weight

    @torch.no_grad()
    def targets(self, video: Tensor, masks: tuple[MaskSet, ...]) -> tuple[Tensor, ...]:
        """One pass over the whole clip, layer-normed, then gathered for every mask set: (B, M, D) each.

        Dense: every level layer-normed by itself, (B, M, L * D) for every mask set, then (B, K, L * D) for every context.
        """
        encoder, ids = self.frozen["target_encoder"], [mask.target for mask in masks]
        if not self.is_dense:
            tokens = encoder(video).float()
            tokens = F.layer_norm(tokens, tokens.shape[-1:], eps=TARGET_NORM_EPS)
        else:
            levels = encoder(video, all_levels=True).float().unflatten(-1, (-1, self.released_encoder.width))
            tokens = F.layer_norm(levels, levels.shape[-1:], eps=TARGET_NORM_EPS).flatten(-2)
            ids += [mask.context for mask in masks]
        return tuple(tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1])) for chosen in ids)

    def before_update(self, step: int) -> None:
        """Set the weight of the context tokens' loss, where it counts."""
        if isinstance(self.learner, DenseJEPALearner) and self.context_weight is not None:
            self.learner.context_weight.fill_(self.context_weight.at(step))

    def after_update(self, step: int) -> None:
        """Move the target encoder towards the learner: at every update or, with a constant momentum near 1, every few (`moved_at_once`)."""
        momentum = self.momentum.at(step)
        is_constant = momentum == self.momentum.at(step + 1)
        count = moved_at_once(momentum) if is_constant else 1
        if (step + 1) % count == 0:
            move_towards(self.frozen["target_encoder"], self.learner.encoder, momentum**count)

    @property
    def released_encoder(self) -> Encoder:
        """The target encoder: V-JEPA's evaluations use the average."""
        encoder = self.frozen["target_encoder"]
        assert isinstance(encoder, Encoder)
        return encoder
