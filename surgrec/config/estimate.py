"""What a run costs in memory and operations, from its configuration alone.

In: a configuration. Out: a `Cost`, without a GPU and without building a weight. It is its own file because it is the one place that
puts the formulas of surgrec/models/flops.py together in the way that the objectives put the models together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from surgrec.config.build import (
    build_grid,
    build_objective,
    head_size,
    model_flops,
    num_levels,
    num_patch_values,
    tokens_of_masks,
)
from surgrec.config.schema import Checkpointing, Config, JEPAConfig, MAEConfig, Strategy
from surgrec.models.block import Block
from surgrec.models.flops import activation_bytes, block_flops, last_block_flops
from surgrec.models.sizes import size_named

STATE_BYTES = 4 + 4 + 8  # a trained parameter, its gradient, AdamW's two moments, all in float32
HOW = (
    "Parameters, gradients and both moments of AdamW in float32 (16 bytes a trained parameter, 4 a frozen one), under bf16 a cast copy "
    "of the weights (2), under ddp its buckets (4). A clip: the input, what the blocks keep for the backward pass with fused attention, "
    "predictions and targets. Operations: matrix products and attention, 2 for a multiplication with its addition, backward twice the "
    "forward pass, another forward pass of the blocks under activation checkpointing."
)
NOT_COUNTED = (
    "the device's own context and kernels (about 1 GB), workspaces and fragmentation (allow 20 %), what a forward pass needs besides "
    "what it keeps (the target encoder's, for one), decoding, augmentation, norms and the optimiser's arithmetic. Under fsdp the state is "
    "shared out over the processes: a run says at its start what each of them holds"
)


@dataclass(frozen=True)
class Cost:
    """Figures of one run. `counts`: parameters by module name; `tokens`: (context, target) of each mask set, of `num_tokens` in all.
    Parameters: `num_trained`, `num_frozen`, those of the `largest_block` and of all that is trained and in no block.
    """

    counts: dict[str, int]
    num_trained: int
    num_frozen: int
    largest_block: int
    num_outside_blocks: int
    num_tokens: int
    tokens: tuple[tuple[int, int], ...]
    is_bf16: bool
    state_bytes: int
    clip_bytes: int
    clip_flops: int
    run_flops: int

    def clips_that_fit(self, memory_bytes: float) -> int:
        """Clips of one micro-batch beside the state, with a fifth of the memory left free."""
        return max(0, int((0.8 * memory_bytes - self.state_bytes) // self.clip_bytes))


def estimate(config: Config) -> Cost:
    """The cost of a run of one phase, or of one phase by its configuration.

    `runtime.precision=auto` counts as bf16 unless the accelerator is the CPU.
    """
    with torch.device("meta"):
        objective = build_objective(replace(config, init=None))  # where weights start from costs nothing
    counts = {
        name: _num_parameters(module)
        for name, module in [*objective.learner.named_children(), *objective.frozen.named_children()]
    }
    trained = _num_parameters(objective.learner)
    blocks = [_num_parameters(part) for part in objective.learner.modules() if isinstance(part, Block)]
    tokens = tokens_of_masks(config)
    is_bf16 = _is_bf16(config)
    per_trained = STATE_BYTES + (2 if is_bf16 else 0) + (4 if config.runtime.strategy is Strategy.ddp else 0)
    clip_flops = model_flops(config) + _recomputed_flops(config, tokens)
    return Cost(
        counts=counts,
        num_trained=trained,
        num_frozen=sum(counts.values()) - trained,
        largest_block=max(blocks),
        num_outside_blocks=trained - sum(blocks),
        num_tokens=build_grid(config).num_tokens,
        tokens=tokens,
        is_bf16=is_bf16,
        state_bytes=per_trained * trained + 4 * (sum(counts.values()) - trained),
        clip_bytes=_clip_bytes(config, tokens, 2 if is_bf16 else 4),
        clip_flops=clip_flops,
        run_flops=clip_flops * config.data.global_batch_size * config.trainer.steps,
    )


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_bf16(config: Config) -> bool:
    if config.runtime.precision == "auto":
        return config.runtime.accelerator != "cpu"
    return config.runtime.precision == "bf16-mixed"


def _recomputed_flops(config: Config, tokens: tuple[tuple[int, int], ...]) -> int:
    """Operations of one clip that the backward pass does again, because what they gave was not kept."""
    if config.runtime.activation_checkpointing is not Checkpointing.full:
        return 0
    size, total = size_named(config.backbone.size), 0
    width, depth, mlp_ratio = _head_shape(config)
    for context, target in tokens:
        total += size.depth * block_flops(context, size.width, size.mlp_ratio)
        total += (depth - 1) * block_flops(context + target, width, mlp_ratio)
        is_mae = isinstance(config.objective, MAEConfig)
        wanted = target if is_mae else context + target  # the decoder's last block is for targets alone
        total += last_block_flops(context + target, wanted, width, mlp_ratio)
    return total


def _clip_bytes(config: Config, tokens: tuple[tuple[int, int], ...], compute_bytes: int) -> int:
    """Bytes that one clip keeps until the backward pass."""
    size, patch_values = size_named(config.backbone.size), num_patch_values(config)
    predicted = patch_values if isinstance(config.objective, MAEConfig) else size.width * num_levels(config)
    kept = 4 * patch_values * build_grid(config).num_tokens  # the clip itself
    for context, target in tokens:
        kept += compute_bytes * context * patch_values  # the patches embedded
        kept += _stack_bytes(config, context, size.width, size.depth, size.mlp_ratio, compute_bytes)
        kept += _stack_bytes(config, context + target, *_head_shape(config), compute_bytes=compute_bytes)
        if _is_dense(config):
            kept += 2 * 4 * context * predicted  # each level normed, and all side by side
            target += context  # which are predicted too
        cast = 4 if compute_bytes < 4 else 0
        kept += (compute_bytes + cast + 4) * target * predicted  # as predicted, in float32, and the target
    return kept


def _is_dense(config: Config) -> bool:
    return isinstance(config.objective, JEPAConfig) and config.objective.dense


def _head_shape(config: Config) -> tuple[int, int, float]:
    """Width, depth and MLP ratio of decoder or predictor."""
    size = head_size(config)
    return size.width, size.depth, 4.0


def _stack_bytes(config: Config, num_tokens: int, width: int, depth: int, mlp_ratio: float, compute_bytes: int) -> int:
    return activation_bytes(
        num_tokens,
        width=width,
        depth=depth,
        mlp_ratio=mlp_ratio,
        has_rotary=config.backbone.positions == "rope",
        compute_bytes=compute_bytes,
        activation_checkpointing=config.runtime.activation_checkpointing.value,
    )
