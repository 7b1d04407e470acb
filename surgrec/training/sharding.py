"""How a model is split over processes (FSDP2, Zhao et al. 2023, arXiv 2304.11277).

In: a module, a mesh of devices, a precision. Out: the same module, of which this process keeps a shard. It is its own file because the
order matters and is the whole matter: a block is compiled, then sharded; blocks first, what lies around them last.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from surgrec.core.errors import UserError
from surgrec.models.block import Block


def check_shard_size(shard_size: int | None, world_size: int) -> None:
    """Raise `UserError` where shards of so many processes do not make up the world."""
    if shard_size is not None and world_size % shard_size:
        allowed = ", ".join(str(size) for size in range(1, world_size + 1) if world_size % size == 0)
        raise UserError(
            f"runtime.shard_size={shard_size} does not divide {world_size} processes; choose {allowed}, or null for all of them"
        )


def make_mesh(device_type: str, world_size: int, shard_size: int | None, patience: timedelta) -> DeviceMesh:
    """The processes in a row, or, with a `shard_size`, in rows of so many: rows share a model, columns hold the same part of it.

    Neighbours share a row, which therefore lies on one node where `shard_size` divides a node's processes. Gradients are then reduced
    within rows, and their parts over columns (hybrid sharding). All ranks call it; `patience` is for its collectives.
    """
    if shard_size is None:
        return init_device_mesh(device_type, (world_size,), mesh_dim_names=("shard",))
    shape = (world_size // shard_size, shard_size)
    mesh = init_device_mesh(device_type, shape, mesh_dim_names=("replicate", "shard"))
    for group in mesh.get_all_groups():
        _set_pg_timeout(patience, group)  # torch gives groups that are not the world its own
    return mesh


def policy_of(is_half: bool) -> MixedPrecisionPolicy:
    """Of a block. In half precision its weights are gathered as bf16, at half the traffic and memory; shards, the gradients' sum over
    processes and over micro-batches, and the optimiser stay float32.

    What goes into a block is left as it is, and autocast chooses the type of every operation, as it does under ddp: the policy only
    decides what is gathered.
    """
    if not is_half:
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)


def shard(module: nn.Module, mesh: DeviceMesh, *, is_half: bool, is_compiled: bool) -> nn.Module:
    """FSDP2: every transformer block is a unit, the rest another. All are shards again after a forward pass, also the outermost, which
    FSDP2 would keep whole until a backward pass: the target encoder has none, and its average is taken shard by shard.

    The rest (embeddings, mask tokens, last norms, heads) is small, and gathered in float32. Compiled is a block's arithmetic, without the
    hooks that gather it.
    """
    sharding: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": True}
    for block in [part for part in module.modules() if isinstance(part, Block)]:
        if is_compiled:
            block.forward = torch.compile(block.forward)  # type: ignore[method-assign]
        fully_shard(block, mp_policy=policy_of(is_half), **sharding)
    fully_shard(module, **sharding)
    return module
