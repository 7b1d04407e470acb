"""Latent prediction: predict, from what is visible, the features that a slow copy of the encoder gives to what is hidden.

In: normalised clips and one mask set per block group. Out: mean absolute error in feature space (Bardes et al. 2024, V-JEPA,
arXiv 2404.08471, equation 1; Assran et al. 2025, V-JEPA 2, arXiv 2506.09985). Its own file: one objective, one file.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrec.masks.masks import MaskSet
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from surgrec.objectives.ema import move_towards
from surgrec.objectives.objective import Outcome
from surgrec.optim.schedules import Schedule

TARGET_NORM_EPS = 1e-5  # of the target's LayerNorm without weights; the encoder's own norms use 1e-6


class JEPALearner(nn.Module):
    """Encoder over each mask's visible tokens, predictor over visible and hidden ones."""

    def __init__(self, encoder: Encoder, predictor: Predictor) -> None:
        super().__init__()
        self.encoder, self.predictor = encoder, predictor

    def forward(self, video: Tensor, masks: tuple[MaskSet, ...], targets: tuple[Tensor, ...]) -> Outcome:
        """`video` (B, C, T, H, W); mask sets and targets (B, M, D) in the same order. Masks weigh equally, whatever their size."""
        grid = self.encoder.grid_of(video)
        contexts = tuple(self.encoder(video, mask.context) for mask in masks)
        predictions = tuple(
            self.predictor(context, mask.context, mask.target, grid, mask_index=0)
            for context, mask in zip(contexts, masks, strict=True)
        )
        losses = [F.l1_loss(predicted.float(), target) for predicted, target in zip(predictions, targets, strict=True)]
        return Outcome(torch.stack(losses).mean(), predictions, contexts)


class JEPA:
    """The objective. The target encoder starts as a copy, never gets a gradient, and follows by `momentum`."""

    def __init__(self, encoder: Encoder, predictor: Predictor, momentum: Schedule) -> None:
        self.learner = JEPALearner(encoder, predictor)
        self.frozen = nn.ModuleDict({"target_encoder": copy.deepcopy(encoder).requires_grad_(False).eval()})
        self.momentum = momentum

    @torch.no_grad()
    def targets(self, video: Tensor, masks: tuple[MaskSet, ...]) -> tuple[Tensor, ...]:
        """One pass over the whole clip, layer-normed, then gathered for every mask set: (B, M, D) each."""
        tokens = self.frozen["target_encoder"](video).float()
        tokens = F.layer_norm(tokens, tokens.shape[-1:], eps=TARGET_NORM_EPS)
        return tuple(tokens.gather(1, mask.target[..., None].expand(-1, -1, tokens.shape[-1])) for mask in masks)

    def after_update(self, step: int) -> None:
        """Move the target encoder towards the learner's."""
        move_towards(self.frozen["target_encoder"], self.learner.encoder, self.momentum.at(step))

    @property
    def released_encoder(self) -> Encoder:
        """The target encoder: V-JEPA's evaluations use the average."""
        encoder = self.frozen["target_encoder"]
        assert isinstance(encoder, Encoder)
        return encoder
