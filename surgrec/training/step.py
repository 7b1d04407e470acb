"""One update's forward and backward passes.

In: the micro-batches of one step. Out: gradients in the learner, and what the step saw. It is its own file because this is where
footage meets learning: clips become a video tensor, masks are drawn, targets made, the loss taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from surgrec.data.augment import ClipAugment
from surgrec.data.clips import Clip
from surgrec.data.loader import ClipBatch
from surgrec.masks.masks import Masker
from surgrec.objectives.objective import Objective, Outcome
from surgrec.training.pace import ForwardClock
from surgrec.training.phases import PhasedAugment
from surgrec.training.runtime import Runtime

_SEEN = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True)
class StepResult:
    """`loss`: mean over this rank's clips (a device scalar); `outcome` and `targets` of the last micro-batch; the `clips` read, without
    their pixels."""

    loss: Tensor
    outcome: Outcome
    targets: tuple[Tensor, ...]
    clips: list[Clip]


@dataclass(frozen=True)
class Step:
    """What turns clips into gradients. `learner` is the wrapped one; `clock` adds up what is done before the backward passes."""

    runtime: Runtime
    learner: nn.Module
    objective: Objective
    masker: Masker
    augment: ClipAugment | PhasedAugment
    clock: ForwardClock = field(default_factory=ForwardClock)

    def run(self, batches: Iterator[ClipBatch]) -> StepResult:
        """Forward and backward over one step's micro-batches; gradients are averaged over them and over ranks."""
        total = torch.zeros((), device=self.runtime.device)
        clips: list[Clip] = []
        micro, count = 0, 1
        while micro < count:
            batch = next(batches)
            micro, count = micro + 1, batch.num_micro  # which differs between phases
            # or they would fill the device until the next step
            clips += [replace(clip, pixels=_SEEN) for clip in batch.clips]
            with self.runtime.reducing(self.learner, is_last=micro == count):
                with self.clock.running(self.runtime.device):
                    outcome, targets = self._forward(batch)
                self.runtime.fabric.backward(outcome.loss / count)
            total += outcome.loss.detach() / count
        return StepResult(total, outcome, targets, clips)

    def _forward(self, batch: ClipBatch) -> tuple[Outcome, tuple[Tensor, ...]]:
        video = self.augment(batch.pixels, batch.positions, self.runtime.device, batch.places)
        masks = tuple(mask.to(self.runtime.device) for mask in self.masker.draw(np.asarray(batch.positions)))
        with self.runtime.fabric.autocast():
            targets = self.objective.targets(video, masks)
        outcome: Outcome = self.learner(video, masks, targets)
        return outcome, targets
