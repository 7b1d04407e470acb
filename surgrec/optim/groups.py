"""Which parameters are decayed.

In: a module. Out: two parameter groups. Its own file because the rule (no weight decay on biases, norms and tokens) is part of
every recipe and must not be repeated in optimisers.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Matrices are decayed; biases, norms (one dimension) and mask tokens are not (V-JEPA 2 and VideoMAE agree on this)."""
    return parameter.ndim > 1 and not name.endswith("bias") and "mask_token" not in name


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: decayed with `weight_decay`, and not decayed. Frozen parameters are left out."""
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in trained if is_decayed(name, parameter)]
    plain = [parameter for name, parameter in trained if not is_decayed(name, parameter)]
    groups = [
        {"params": decayed, "weight_decay": weight_decay, "is_decayed": True},
        {"params": plain, "weight_decay": 0.0, "is_decayed": False},
    ]
    return [group for group in groups if group["params"]]
