"""Masked autoencoding: reconstruct the pixels of hidden tubes.

In: normalised clips and one mask set. Out: mean squared error on the hidden patches (Tong et al. 2022, VideoMAE, arXiv
2203.12602, section 3; decoder masking of VideoMAE V2, arXiv 2303.16727, is a matter of the mask alone). Its own file: one
objective, one file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrec.masks.masks import MaskSet
from surgrec.models.decoder import Decoder
from surgrec.models.embed import patchify
from surgrec.models.encoder import Encoder
from surgrec.objectives.objective import Outcome

TARGET_EPS = 1e-6  # added to the standard deviation, after the square root, as VideoMAE does


class MAELearner(nn.Module):
    """Encoder over visible tokens, light decoder over visible and hidden ones.

    `normalise_targets` says what the decoder's values are, normalised patches or pixels; no weight tells, so it goes with the weights.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, normalise_targets: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder, self.normalise_targets = encoder, decoder, normalise_targets

    def forward(self, video: Tensor, masks: tuple[MaskSet, ...], targets: tuple[Tensor, ...]) -> Outcome:
        """`video` (B, C, T, H, W); one mask set; targets (B, M, P)."""
        (mask,), (target,) = masks, targets
        context = self.encoder(video, mask.context)
        prediction = self.decoder(context, mask.context, mask.target, self.encoder.grid_of(video))
        loss = F.mse_loss(prediction.float(), target)
        return Outcome(loss, (prediction,), (context,))


class MAE:
    """The objective. `mean` and `std` undo the input normalisation, since targets are pixels in [0, 1]."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        normalise_targets: bool = True,
    ) -> None:
        self.learner = MAELearner(encoder, decoder, normalise_targets)
        self.frozen = nn.ModuleDict()
        self.mean, self.std, self.normalise_targets = mean, std, normalise_targets

    @torch.no_grad()
    def targets(self, video: Tensor, masks: tuple[MaskSet, ...]) -> tuple[Tensor, ...]:
        """Pixels of the hidden tokens (B, M, P), P ordered (t p p c); see `normalise_patches`."""
        (mask,) = masks
        patches = self.patches(video, mask.target)
        return (normalise_patches(patches, video.shape[1]) if self.normalise_targets else patches,)

    def patches(self, video: Tensor, ids: Tensor) -> Tensor:
        """Pixels in [0, 1] of the tokens `ids` (B, M): (B, M, P)."""
        encoder = self.released_encoder
        mean, std = (video.new_tensor(value).view(1, -1, 1, 1, 1) for value in (self.mean, self.std))
        pixels = patchify(video.float() * std + mean, encoder.tubelet, encoder.patch, order="t p p c")
        return pixels.gather(1, ids[..., None].expand(-1, -1, pixels.shape[-1]))

    def before_update(self, step: int) -> None:
        """Nothing changes with the step."""

    def after_update(self, step: int) -> None:
        """Nothing moves besides the learner."""

    @property
    def released_encoder(self) -> Encoder:
        """The trained encoder."""
        encoder: Encoder = self.learner.encoder
        return encoder


def patch_statistics(patches: Tensor, num_channels: int) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation (B, M, 1, C) of each patch, per colour channel over its t * p * p pixels."""
    pixels = patches.unflatten(-1, (-1, num_channels))
    return pixels.mean(-2, keepdim=True), pixels.std(-2, keepdim=True)


def normalise_patches(patches: Tensor, num_channels: int) -> Tensor:
    """VideoMAE's target: each patch less its mean, over its standard deviation, per channel. `patches` (B, M, P), P ordered (t p p c)."""
    mean, std = patch_statistics(patches, num_channels)
    return ((patches.unflatten(-1, (-1, num_channels)) - mean) / (std + TARGET_EPS)).flatten(-2)
