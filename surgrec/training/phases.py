"""Masks and augmentation of a run of several phases.

In: those of each phase, and where the phases lie. Out: one masker and one augmentation for the whole run, that know by a sample's
position which phase draws it. It is its own file so that a step, like everything else, needs positions alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core.spans import Spans
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.data.clips import Place
from surgrec.masks.masks import Masker, MaskSet


class PhasedMasker:
    """The masker of each phase for its own samples."""

    def __init__(self, spans: Spans, maskers: Sequence[Masker]) -> None:
        self.spans, self.maskers = spans, tuple(maskers)

    def draw(self, positions: npt.ArrayLike) -> tuple[MaskSet, ...]:
        """Masks of the samples at these positions (B,), which lie in one phase."""
        return self.maskers[phase_of(self.spans, positions)].draw(positions)


class PhasedAugment:
    """The augmentation of each phase for its own samples; phases differ in the size of the crop alone."""

    def __init__(self, spans: Spans, augments: Sequence[ClipAugment]) -> None:
        self.spans, self.augments = spans, tuple(augments)

    @property
    def spec(self) -> AugmentSpec:
        """Of the first phase."""
        return self.augments[0].spec

    def __call__(
        self,
        clips: Sequence[Tensor],
        positions: npt.ArrayLike,
        device: torch.device | str = "cpu",
        places: Sequence[Place] | None = None,
    ) -> Tensor:
        """Clips uint8 (T, H, W, 3) at `positions` (b,), which lie in one phase, to float32 (b, 3, T, S, S)."""
        return self.augments[phase_of(self.spans, positions)](clips, positions, device, places)


def phase_of(spans: Spans, positions: npt.ArrayLike) -> int:
    """The number of the phase that draws all of `positions` (b,). Raises `ValueError` where two do."""
    numbers = {spans.number_of_position(int(position)) for position in np.asarray(positions)[[0, -1]]}
    if len(numbers) > 1:
        raise ValueError("a batch lies in one phase; these positions lie in two")
    return numbers.pop()
