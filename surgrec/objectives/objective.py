"""The seam between a way of learning and the rest of a run.

In: a batch of clips and its masks. Out: a loss. It is its own file because the training loop knows objectives only through it:
targets are made without gradients (pixels for MAE, the slow encoder's features for JEPA, a frozen teacher's for SALT), the
learner predicts them, and after every update the objective may move its target encoder.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from surgrec.masks.masks import MaskSet
from surgrec.models.encoder import Encoder


class Outcome(NamedTuple):
    """What one forward pass gives: the scalar `loss`; per mask set the `predictions` (B, M, P or D) and `context` tokens (B, K, D).

    `predictions` are ordered as the targets are, and in dense latent prediction hold the predicted context tokens after those of all
    mask sets.
    """

    loss: Tensor
    predictions: tuple[Tensor, ...]
    context: tuple[Tensor, ...]


class Objective(Protocol):
    """A way of learning."""

    @property
    def learner(self) -> nn.Module:
        """What the optimiser updates and the runtime wraps; called with (video, masks, targets), it returns an `Outcome`."""
        ...

    @property
    def frozen(self) -> nn.ModuleDict:
        """What is saved with a checkpoint but never sees a gradient."""
        ...

    def targets(self, video: Tensor, masks: tuple[MaskSet, ...]) -> tuple[Tensor, ...]:
        """What must be predicted, per mask set (B, M, P or D), without gradients. `video`: normalised clips (B, C, T, H, W)."""
        ...

    def before_update(self, step: int) -> None:
        """Called once before the forward passes of the update number `step`."""
        ...

    def after_update(self, step: int) -> None:
        """Called once after the update number `step`."""
        ...

    @property
    def released_encoder(self) -> Encoder:
        """The encoder that users of the run get: the averaged one where there is one."""
        ...
