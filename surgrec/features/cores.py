"""An encoder on the cores of a CPU: each computes windows of its own.

In: a function of clips. Out: the same, over several threads. It is its own file because torch shares every product among all cores and has
them wait for each other after each; windows need nothing of one another, and a core that is busy with decoding then holds up only itself.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def use_one_core() -> None:
    """Have torch compute in the calling thread alone; other threads that compute already are not touched."""
    torch.get_num_threads()
    torch.set_num_threads(1)


class CoreByCore:
    """Calls `compute` on equal parts of a batch (B, ...), a thread for each core that torch may use, and joins the results (B, ...)."""

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        self._compute = compute
        self._num_cores = torch.get_num_threads()  # also: what the calling thread keeps when others choose theirs
        self._pool = ThreadPoolExecutor(self._num_cores, "core", initializer=use_one_core)

    def __call__(self, batch: Tensor) -> Tensor:
        if batch.device.type != "cpu" or len(batch) == 1 or self._num_cores == 1:
            return self._compute(batch)
        return torch.cat(list(self._pool.map(self._compute, batch.chunk(self._num_cores))))
