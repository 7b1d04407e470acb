"""Where the phases of a run lie: which steps and which sample positions are whose.

In: the length and the batch of every phase. Out: `Span`s. It is its own file because data, training and configuration must agree on
this arithmetic: positions go on through all phases, so that a sample is addressed by its position alone, whatever its phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Span:
    """One phase: `num_steps` steps of `batch` samples each, from step `first_step` and sample position `first_position` on."""

    first_step: int
    num_steps: int
    first_position: int
    batch: int

    @property
    def stop_step(self) -> int:
        """The first step that is not in it."""
        return self.first_step + self.num_steps

    def positions_before(self, step: int) -> int:
        """How many samples the run has drawn when `step` of this phase begins: the position of its first sample."""
        return self.first_position + (step - self.first_step) * self.batch


class Spans:
    """The phases of a run in their order.

    Args:
        lengths: number of steps and batch of each, at least 1 of either; one phase at least.
    """

    def __init__(self, lengths: Sequence[tuple[int, int]]) -> None:
        steps = [0, *accumulate(count for count, _ in lengths)]
        positions = [0, *accumulate(count * batch for count, batch in lengths)]
        self.phases = tuple(
            Span(first, count, position, batch)
            for first, position, (count, batch) in zip(steps, positions, lengths, strict=False)
        )

    @property
    def num_steps(self) -> int:
        """Steps of all phases."""
        return self.phases[-1].stop_step

    def number_at(self, step: int) -> int:
        """The number of the phase that `step` lies in, from 0; beyond the end, the last."""
        return next((number for number, span in enumerate(self.phases) if step < span.stop_step), len(self.phases) - 1)

    def number_of_position(self, position: int) -> int:
        """The number of the phase that draws the sample at `position`; beyond the end, the last."""
        later = (number for number, span in enumerate(self.phases[1:]) if position < span.first_position)
        return next(later, len(self.phases) - 1)

    def positions_before(self, step: int) -> int:
        """How many samples the run has drawn when `step` begins."""
        return self.phases[self.number_at(step)].positions_before(step)
