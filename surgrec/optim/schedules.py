"""Schedules as pure functions of the step.

In: a step. Out: learning rate, weight decay, EMA momentum or the weight of a loss at that step. It is its own file because resuming
must need no scheduler state: the value at step k is computed, never accumulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    """How a value moves from its peak to its end after the warm-up."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from `start` to `peak` over `warmup_steps`, then `shape` to `end` at `total_steps`.

    From `total_steps` on, `then` applies where there is one, with its own steps counted from 0; else the value stays.
    """

    peak: float
    total_steps: int
    shape: Shape = Shape.constant
    start: float = 0.0
    end: float = 0.0
    warmup_steps: int = 0
    then: Schedule | None = None

    def at(self, step: int) -> float:
        """The value used for the update number `step` (0 is the first)."""
        if self.then is not None and step >= self.total_steps:
            return self.then.at(step - self.total_steps)
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        if self.shape is Shape.constant:
            return self.peak
        length = max(1, self.total_steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / length)
        if self.shape is Shape.linear:
            return self.peak + (self.end - self.peak) * progress
        return self.end + (self.peak - self.end) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Ramp:
    """0 up to the step `first`, `value` from the step `last` on, linear between (V-JEPA 2.1's weight of the loss on context tokens)."""

    value: float
    first: int
    last: int

    def at(self, step: int) -> float:
        """The value used for the update number `step` (0 is the first). Where `first` is `last` it is there at once."""
        if step >= self.last:
            return self.value
        return self.value * max(0, step - self.first) / (self.last - self.first)
