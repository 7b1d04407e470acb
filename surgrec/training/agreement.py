"""Doing things together.

In: an action on every rank, or on the first one. Out: what all of them returned; or on all ranks the same error, where it failed on one.
It is its own file because a rank that fails alone leaves the others waiting for it for ever: whatever reads and writes checkpoints goes
through here, in the training's own process group, or in one of its own for a thread beside the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from surgrec.core.errors import UserError
from surgrec.training.runtime import SharedError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of a run. `group`: None for the one that the training uses."""

    rank: int
    world: int
    group: dist.ProcessGroup | None = None

    def together(self, action: Callable[[], Value]) -> list[Value]:
        """What `action` returns on each rank, in their order. Where it raises an `Exception` on any, all ranks raise that of the first of
        them: a `UserError` as a `SharedError`, and one that is neither that nor the system's as a `RuntimeError` that tells of it.
        """
        if self.world == 1:
            return [action()]
        value: Value | None = None
        failure: Exception | None = None
        try:
            value = action()
        except Exception as error:
            failure = error
        told: list[tuple[Value | None, Exception | None]] = [(None, None)] * self.world
        dist.all_gather_object(told, (value, _portable(failure)), group=self.group)
        for _, shared in told:
            if shared is not None:
                raise shared from failure
        return [value for value, _ in told]  # type: ignore[misc]  # all have one

    def on_first(self, action: Callable[[], Value]) -> Value:
        """What `action` returns on the first rank, on all of them; or its error."""
        value: Value = self.together(lambda: action() if self.rank == 0 else None)[0]  # type: ignore[assignment]
        return value


def _portable(error: Exception | None) -> Exception | None:
    """One that all processes can raise."""
    if error is None or isinstance(error, OSError | SharedError):
        return error
    if isinstance(error, UserError):
        return SharedError(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
