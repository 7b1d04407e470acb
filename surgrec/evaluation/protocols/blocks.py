"""An encoder as a sequence of blocks: which parameter belongs to which, and what fine-tuning does by depth.

In: an encoder of any library. Out: parameter groups with a learning rate that falls towards the first layers, and stochastic depth. It is
its own file because it rests on names alone: ours, timm's (`blocks.3`) and transformers' (`encoder.layer.3`) are the same to it, so that
every encoder is fine-tuned alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from surgrec.core.errors import UserError
from surgrec.optim.groups import is_decayed

_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers?)\.(\d+)(?:\.|$)")
_EMBEDDING = ("embed", "cls_token", "reg_token", "register_token", "mask_token", "modality")
# BEiT and VideoMAE decay matrices, and none of these tables
_TABLES = ("pos_embed", "position_embeddings", "time_embed", "cls_token", "reg_token", "register_token", "mask_token")


def depth_of(encoder: nn.Module) -> int:
    """The number of its blocks; 0 where its names show none."""
    numbers = [int(match[1]) for name, _ in encoder.named_parameters() if (match := _BLOCK.search(name))]
    return max(numbers, default=-1) + 1


def layer_of(name: str, depth: int) -> int:
    """The layer of a parameter: 0 for embeddings, i + 1 for block i, depth + 1 for what comes after (norms and the head)."""
    if match := _BLOCK.search(name):
        return int(match[1]) + 1
    return 0 if any(part in name for part in _EMBEDDING) else depth + 1


def layered_groups(
    encoder: nn.Module, head: nn.Module, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups of a layer each, with `rate_factor` = layer_decay ** (depth + 1 - layer); the head's is 1.

    Clark et al. 2020, arXiv 2003.10555; Bao et al. 2021, BEiT, arXiv 2106.08254. Norms, biases and tables of positions are not decayed.
    Raises `UserError` for an encoder whose names show no blocks, unless `layer_decay` is 1.
    """
    depth = depth_of(encoder)
    if depth == 0 and layer_decay != 1:
        raise UserError(
            "the names of this encoder's parameters show no blocks, so layer decay has no layers; fine-tune it with layer_decay=1"
        )
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    named = [(name, parameter, layer_of(name, depth)) for name, parameter in encoder.named_parameters()]
    named += [(f"head.{name}", parameter, depth + 1) for name, parameter in head.named_parameters()]
    for name, parameter, layer in named:
        decayed = is_decayed(name, parameter) and not any(part in name for part in _TABLES)
        group = groups.setdefault(
            (layer, decayed),
            {
                "params": [],
                "layer": layer,
                "rate_factor": layer_decay ** (depth + 1 - layer),
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


@contextmanager
def stochastic_depth(encoder: nn.Module, highest_rate: float, draws: torch.Generator) -> Iterator[None]:
    """While this lasts, blocks are skipped at random for each sample, the more often the deeper, up to `highest_rate` for the last.

    A block that is kept adds 1 / (1 - rate) times what it adds otherwise (Huang et al. 2016, arXiv 1603.09382, a whole block at a time).
    `draws`: a generator on the CPU.
    """
    blocks = _blocks(encoder)
    hooks = []
    for index, block in enumerate(blocks):
        rate = highest_rate * index / max(1, len(blocks) - 1)
        if rate > 0:
            hooks.append(block.register_forward_hook(_Skip(rate, draws), with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _blocks(encoder: nn.Module) -> list[nn.Module]:
    """The blocks, in their order; modules within a block are none."""
    found = {}
    for name, module in encoder.named_modules():
        match = _BLOCK.search(name)
        if match and match.end() == len(name):
            found[name] = module
    return list(found.values())


class _Skip:
    """A forward hook that mixes what a block puts out with what it was given."""

    def __init__(self, rate: float, draws: torch.Generator) -> None:
        self._keep, self._draws = 1 - rate, draws

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
        before: Tensor = inputs[0] if inputs else named["hidden_states"]
        after: Tensor = output[0] if isinstance(output, tuple) else output
        is_kept = torch.rand(len(before), generator=self._draws) < self._keep
        factor = (is_kept.to(after.dtype) / self._keep).to(after.device).view(-1, *[1] * (after.ndim - 1))
        mixed = before + (after - before) * factor
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed
