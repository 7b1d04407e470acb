"""From gradients to weights, without waiting for the device.

In: a step's gradients and loss, and whether this process was asked to stop. Out: updated weights, and the step's numbers on their way
to the host. It is its own file because of one promise: a step whose loss or gradient is not finite updates nothing, and yet no step
waits to find out. The verdict is reached on the device and handed to the fused optimiser, which then leaves weights and moments
alone; it stays, so later steps update nothing either, until the host has read the numbers and ends the run. See
docs/decisions/0006-no-waiting-between-readings.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surgrec.training.runtime import Runtime, SharedError
from surgrec.training.trained import Trained


class NonFiniteLossError(SharedError):
    """The loss or its gradient is no longer a number; the trained weights are still those of the step before."""


class Numbers(NamedTuple):
    """Of one step: mean loss over ranks, norm of the whole gradient before clipping, and whether any rank was asked to stop."""

    loss: float
    grad_norm: float
    is_stopping: bool


class Reading:
    """A step's numbers while the device may still be working on them. `videos`: those that this rank read in the step."""

    def __init__(self, runtime: Runtime, step: int, values: Tensor, videos: Sequence[str]) -> None:
        self.runtime, self.step, self.videos = runtime, step, videos
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
        self._host.copy_(values, non_blocking=True)
        self._arrived: torch.cuda.Event | None = None
        if values.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> Numbers:
        """Wait for the device to come to the end of this step. Raises `NonFiniteLossError`, on all ranks alike."""
        if self._arrived is not None:
            self._arrived.synchronize()
        loss, stopping, grad_norm, is_own_finite = self._host.tolist()
        if not (_is_finite(loss) and _is_finite(grad_norm)):
            self._raise(loss, grad_norm, bool(is_own_finite))
        return Numbers(loss, grad_norm, stopping > 0)

    def _raise(self, loss: float, grad_norm: float, is_own_finite: bool) -> None:
        """Half precision may break the gradient alone: then the videos of all ranks are named, else those of the ranks whose loss it is."""
        what = f"gradient's norm at step {self.step} is {grad_norm}"
        if not _is_finite(loss):
            what = f"loss of step {self.step} is {loss}"
        read = self.runtime.gather((is_own_finite, list(self.videos)))
        culprits = [videos for is_finite, videos in read if not is_finite]
        where = "whose loss it is" if culprits else "of that step"
        videos = ", ".join(sorted({video for videos in culprits or [videos for _, videos in read] for video in videos}))
        raise NonFiniteLossError(
            f"the {what}; nothing was updated. Lower optim.lr or look at the videos {where}: {videos}"
        )


class Readings:
    """The newest numbers that can be had: this step's by waiting, or without it those of the step before."""

    def __init__(self) -> None:
        self._former: Reading | None = None

    def newest(self, reading: Reading, wait: bool) -> Numbers | None:
        """Numbers of `reading` where the caller can wait or a stop is asked for, else of the reading before; None where there is none.

        So every reading is looked at when the next is there at the latest; by then the device is done with it and at work on the next.
        """
        former, self._former = self._former, reading
        numbers = former.read() if former is not None else None
        if not wait and not (numbers is not None and numbers.is_stopping):
            return numbers
        self._former = None
        return reading.read()


class Update:
    """Applies gradients. Under an optimiser that is not fused, which cannot be told by the device, every step's numbers are waited for."""

    def __init__(self, runtime: Runtime, trained: Trained, clip_norm: float | None) -> None:
        self.runtime, self.trained, self.clip_norm = runtime, trained, clip_norm
        self.is_fused = all(group.get("fused") for group in trained.optimizer.param_groups)
        self._is_broken = torch.zeros((), device=runtime.device)

    def apply(self, step: int, loss: Tensor, wants_stop: bool, videos: Sequence[str]) -> Reading:
        """Clip, judge, update and forget the gradients of the update number `step` (from 1). `loss`: this rank's. All ranks call it."""
        shared = self.runtime.mean(torch.stack([loss.float(), torch.full_like(loss, float(wants_stop)).float()]))
        grad_norm = clip_gradients(self.trained, self.clip_norm)
        finite = torch.isfinite(shared[0]) & torch.isfinite(grad_norm)
        self._is_broken = torch.maximum(self._is_broken, (~finite).float())
        values = torch.stack([shared[0], shared[1], grad_norm.float(), torch.isfinite(loss).float()])
        reading = Reading(self.runtime, step, values, videos)
        if self.is_fused:
            self.trained.optimizer.found_inf = self._is_broken  # type: ignore[attr-defined]  # as torch's GradScaler does
        else:
            reading.read()
        self.trained.optimizer.step()
        self.trained.optimizer.zero_grad(set_to_none=True)
        return reading


def clip_gradients(trained: Trained, clip_norm: float | None) -> Tensor:
    """Scale gradients down to `clip_norm` where there is one; returns the norm before, over all ranks' shards, a device scalar."""
    gradients = [p.grad for p in trained.learner.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    norm = getattr(norm, "full_tensor", lambda: norm)()
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(trained.learner.parameters(), clip_norm, norm)
    return norm


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")
