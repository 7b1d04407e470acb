"""One objective that a benchmark steps: random weights, random clips, and the wall time of any call.

In: a configuration and how many clips a step has. Out: a step without anything beside it, and seconds. It is its own file because what
is measured beside a step, monitors or saves, is measured on the same step.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from surgrec.config.build import build_masker, build_objective, build_runtime
from surgrec.config.schema import Config
from surgrec.objectives.objective import Objective, Outcome
from surgrec.optim.optimizer import build_adamw
from surgrec.training.trained import Trained


class Bench:
    """Its parts, on the configured device."""

    def __init__(self, config: Config, num_clips: int) -> None:
        self.config, self.runtime = config, build_runtime(config)
        self.objective: Objective = build_objective(config)
        self.learner = self.runtime.wrap_learner(self.objective.learner)
        self.runtime.place_frozen(self.objective.frozen)
        self.optimizer = build_adamw(self.objective.learner, (0.9, 0.95), 1e-8, 0.05, fused=True)
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-5
        self.trained = Trained(self.objective.learner, self.objective.frozen, self.optimizer)
        masks = build_masker(config).draw(np.arange(num_clips))
        self.masks = tuple(mask.to(self.runtime.device) for mask in masks)
        crop = config.augment.crop_pixels
        shape = (num_clips, 3, config.data.num_frames, crop, crop)
        self.video = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.runtime.device)
        self.targets: tuple[torch.Tensor, ...] = ()

    def step(self) -> Outcome:
        """Forward, backward, AdamW, target encoder; the gradients are still there afterwards."""
        with self.runtime.fabric.autocast():
            self.targets = self.objective.targets(self.video, self.masks)
        outcome: Outcome = self.learner(self.video, self.masks, self.targets)
        self.runtime.fabric.backward(outcome.loss)
        self.optimizer.step()
        self.objective.after_update(0)
        return outcome

    def seconds(self, action: Callable[[], object]) -> float:
        """Wall time of one call, the device's work included."""
        self._wait()
        began = time.perf_counter()
        action()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.runtime.has_cuda:
            torch.cuda.synchronize()
