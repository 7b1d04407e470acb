"""AdamW, and setting its hyper-parameters for a step.

In: a module and schedules. Out: an optimiser whose learning rate and weight decay are what the schedules say. Its own file
because it is the one place where schedules meet torch.
"""

from __future__ import annotations

import torch
from torch import nn

from surgrec.optim.groups import parameter_groups
from surgrec.optim.schedules import Schedule


def build_adamw(
    module: nn.Module, betas: tuple[float, float], eps: float, weight_decay: float, fused: bool
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) over the module's trained parameters; the rate is set per step.

    The rate starts as a tensor-free 0.0: `set_hyper_parameters` must be called before the first update.
    """
    return torch.optim.AdamW(parameter_groups(module, weight_decay), lr=0.0, betas=betas, eps=eps, fused=fused)


def set_hyper_parameters(
    optimizer: torch.optim.Optimizer, step: int, rate: Schedule, weight_decay: Schedule, factor: float = 1.0
) -> tuple[float, float]:
    """Write the step's learning rate, times `factor`, and its weight decay into the optimiser; returns both."""
    lr, decay = rate.at(step) * factor, weight_decay.at(step)
    for group in optimizer.param_groups:
        group["lr"] = lr
        group["weight_decay"] = decay if group["is_decayed"] else 0.0
    return lr, decay
