"""What a mask is: which tokens the encoder sees and which it must predict.

In: global sample positions. Out: `MaskSet`s of token ids, as many for every clip of a batch. It is its own file because the
objectives know masks only through these two types, never how they were drawn.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core.errors import UserError


class MaskError(UserError):
    """A mask that cannot be drawn on this token grid."""


class MaskSet(NamedTuple):
    """Token ids of B clips: `context` (B, K) is what the encoder sees, `target` (B, M) what must be predicted; disjoint, ascending.

    A named tuple, because torch's parallel wrappers walk through tuples but not through frozen dataclasses.
    """

    context: Tensor
    target: Tensor

    def to(self, device: torch.device) -> MaskSet:
        """The same ids on `device`."""
        return MaskSet(self.context.to(device, non_blocking=True), self.target.to(device, non_blocking=True))


class Masker(Protocol):
    """Draws masks; the same (seed, position) always gives the same mask, on any rank and in any batch, and always as many tokens.

    The published multi-block scheme alone keeps neither law beyond one batch; see surgrec/masks/official.py.
    """

    def draw(self, positions: npt.ArrayLike) -> tuple[MaskSet, ...]:
        """Masks of the clips at these global positions (B,): one set for MAE, one per block group for JEPA."""
        ...


def tube_ids(cells: npt.NDArray[np.int64], num_steps: int, num_cells: int) -> Tensor:
    """Token ids (B, num_steps * K) of the same spatial cells (B, K) at every time step, in raster order."""
    ids = np.arange(num_steps)[None, :, None] * num_cells + np.sort(cells, axis=1)[:, None, :]
    return torch.from_numpy(ids.reshape(len(cells), -1))
