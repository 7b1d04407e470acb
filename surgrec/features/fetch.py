"""Features on their way from the device, while it computes the next ones.

In: a tensor on a device. Out: NumPy, when it is needed. It is its own file because a copy that is waited for at once would leave a GPU
idle between batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Fetched:
    """A copy in host memory that is whole once `event` happened; None: it is here."""

    copy: Tensor
    event: torch.cuda.Event | None

    @property
    def is_here(self) -> bool:
        return self.event is None

    def wait(self) -> npt.NDArray[np.float32]:
        """The features, float32."""
        if self.event is not None:
            self.event.synchronize()
        array: npt.NDArray[np.float32] = self.copy.numpy()
        return array


def fetch(features: Tensor) -> Fetched:
    """Begin to copy float32 `features`; what the device is given later does not delay it."""
    if features.device.type != "cuda":
        return Fetched(features.cpu(), None)
    copy = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
    copy.copy_(features, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(features.device))
    return Fetched(copy, event)
