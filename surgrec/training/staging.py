"""The part of a state that this rank writes, and its copy in host memory.

In: a state as `Trained.state` gives it. Out: which of its tensors this rank writes; a copy of those that training may go on from at once.
It is its own file because it is all that a training loop has to wait for: tensors of which several ranks hold the same are shared out
between them, so that each is copied and written once, and the memory for the copies is kept from save to save.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import DefaultSavePlanner
from torch.distributed.checkpoint.planner import SavePlan
from torch.distributed.tensor import DTensor

from surgrec.training.agreement import Ranks


def tensors_of(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of nested dictionaries, under the names that a checkpoint gives them: keys joined by dots."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from tensors_of(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, Tensor):
        yield name, state


def shared_out(state: dict[str, Any], ranks: Ranks) -> dict[str, Tensor]:
    """Names to the tensors that this rank writes: its shards, and its share of what others hold too, the large ones dealt out first.

    All ranks deal alike, since names and whole sizes are the same on all of them.
    """
    largest_first = sorted(tensors_of(state), key=lambda item: (-item[1].numel() * item[1].element_size(), item[0]))
    dealt: dict[int, int] = {}  # by number of copies
    mine: dict[str, Tensor] = {}
    for name, tensor in largest_first:
        copies, index = _copies(tensor, ranks)
        turn = dealt[copies] = dealt.get(copies, -1) + 1
        if turn % copies == index:
            mine[name] = tensor
    return mine


def _copies(tensor: Tensor, ranks: Ranks) -> tuple[int, int]:
    """How many ranks hold the same values as this one, and which of them this is."""
    if not isinstance(tensor, DTensor):
        return ranks.world, ranks.rank
    mesh, coordinate = tensor.device_mesh, tensor.device_mesh.get_coordinate()
    assert coordinate is not None, "every rank is part of the mesh"
    copies, index = 1, 0
    for size, place, placement in zip(mesh.shape, coordinate, tensor.placements, strict=True):
        if placement.is_replicate():
            copies, index = copies * size, index * size + place
    return copies, index


def local(tensor: Tensor) -> Tensor:
    """What this process holds of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def num_bytes(tensors: dict[str, Tensor]) -> int:
    """What this process holds of them."""
    return sum(part.numel() * part.element_size() for part in map(local, tensors.values()))


class HostCopy:
    """Host memory for the tensors that this rank writes, made at the first save and used again by every later one."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, state: dict[str, Any], mine: dict[str, Tensor]) -> tuple[dict[str, Any], Callable[[], None]]:
        """`state` with copies of the tensors in `mine`, and what waits until they are there.

        From a GPU they are copied in the order of its work, without waiting: updates that follow come after. Other tensors stay those
        that are trained: they only say that they exist.
        """
        parts = {name: local(tensor) for name, tensor in mine.items()}
        is_pinned = any(part.is_cuda for part in parts.values())
        for name, part in parts.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape != part.shape or buffer.dtype != part.dtype:
                buffer = torch.empty(part.shape, dtype=part.dtype, pin_memory=part.is_cuda)
                self._buffers[name] = buffer
            buffer.copy_(part, non_blocking=True)
        arrived = torch.cuda.Event() if is_pinned else None
        if arrived is not None:
            arrived.record()
        return self._replaced(state, mine), arrived.synchronize if arrived is not None else _nothing

    def _replaced(self, value: Any, mine: dict[str, Tensor], name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self._replaced(v, mine, f"{name}.{key}" if name else str(key)) for key, v in value.items()}
        if not isinstance(value, Tensor):
            return copy.deepcopy(value)
        if name not in mine:
            return value
        if isinstance(value, DTensor):  # on the same mesh, whatever device that is of: nothing is computed with it
            return DTensor(self._buffers[name], value._spec, requires_grad=False)
        return self._buffers[name]


def _nothing() -> None:
    """There is nothing to wait for."""


class SharedOutPlanner(DefaultSavePlanner):
    """Has this rank write the tensors in `names` alone; who writes what is no tensor is left to torch."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names

    def create_local_plan(self) -> SavePlan:
        """The items that this rank writes."""
        plan = super().create_local_plan()
        kept = [item for item in plan.items if item.tensor_data is None or item.index.fqn in self.names]
        self.plan = replace(plan, items=kept)
        return self.plan
