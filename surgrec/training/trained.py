"""What is trained, as names and tensors.

In: modules and an optimiser, sharded or not. Out: their state under names that do not depend on the strategy, and back. It is its own
file because it is all that a checkpoint knows of models; torch's distributed checkpoint (DCP) does the resharding.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from surgrec.training.runtime import SharedError


@dataclass(frozen=True)
class Trained:
    """The modules and the optimiser whose state is saved. `learner` is unwrapped: names do not depend on the strategy."""

    learner: nn.Module
    frozen: nn.ModuleDict
    optimizer: Optimizer

    def state(self) -> dict[str, Any]:
        """Names to tensors (sharded or not), the same under every strategy. They are those that are trained, not copies."""
        return weights_of(self.learner, self.frozen) | {
            "optimizer": get_optimizer_state_dict(self.learner, self.optimizer)
        }

    def load(self, state: dict[str, Any]) -> None:
        """Put a state read by `read_state` back. How updates are computed is not of the state: the optimiser stays as fused as
        it was built, since torch would take that too from what was saved.
        """
        put_weights(self.learner, self.frozen, state)
        optimizer = dict(state["optimizer"])
        is_fused = self.optimizer.defaults["fused"]
        optimizer["param_groups"] = [{**group, "fused": is_fused} for group in optimizer["param_groups"]]
        set_optimizer_state_dict(self.learner, self.optimizer, optimizer)


def weights_of(learner: nn.Module, frozen: nn.ModuleDict) -> dict[str, Any]:
    """Names to weights (sharded or not); MAE has nothing frozen, and torch cannot name the parameters of an empty module."""
    return {name: get_model_state_dict(module) for name, module in _modules(learner, frozen)}


def put_weights(learner: nn.Module, frozen: nn.ModuleDict, state: dict[str, Any]) -> None:
    """The reverse of `weights_of`."""
    for name, module in _modules(learner, frozen):
        set_model_state_dict(module, state[name])


def read_state(state: dict[str, Any], path: Path) -> None:
    """Fill the tensors of `state` from the checkpoint `path`. Raises `SharedError` where they are not there in these shapes."""
    quiet_alone()
    try:
        dcp.load(state, checkpoint_id=path, no_dist=not dist.is_initialized())
    except (CheckpointException, ValueError, RuntimeError, OSError) as error:
        reason: BaseException = error
        if isinstance(error, CheckpointException):
            reason, _ = next(iter(error.failures.values()))
        said = str(reason).splitlines()[:1] or [type(reason).__name__]
        raise SharedError(
            f"{path} cannot be read into this model: {said[0]}; it is damaged, or of another version of "
            "surgrec; set it aside, or choose another name= for this run"
        ) from error


def quiet_alone() -> None:
    """Turn off torch's remark that a single process saves alone, which is what a single process means. For good, since what
    `catch_warnings` puts back is every thread's.
    """
    warnings.filterwarnings("ignore", message=".*in a single process.*")


def _modules(learner: nn.Module, frozen: nn.ModuleDict) -> list[tuple[str, nn.Module]]:
    return [("learner", learner), *([("frozen", frozen)] if len(frozen) else [])]
