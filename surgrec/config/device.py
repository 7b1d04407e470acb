"""What one device of a run holds, and how its processes share a step: the lines that a run begins with.

In: a configuration and the number of processes. Out: bytes by purpose, and sentences. It is its own file because `estimate` counts what a
run costs whoever computes it; here it is shared out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from surgrec.config.build import accumulation_of
from surgrec.config.estimate import Cost, estimate
from surgrec.config.phases import Phase, phases_of
from surgrec.config.schema import Config, Strategy
from surgrec.core.wording import counted
from surgrec.data.loader import PositionPlan
from surgrec.training.launched import World


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of one device, estimated. `working`: copies of weights and gradients that come and go (casts to bf16, ddp's buckets, what
    fsdp has gathered); `activations` of one micro-batch.
    """

    parameters: int
    gradients: int
    optimiser: int
    target_encoder: int
    working: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


def device_memory(config: Config, cost: Cost, world_size: int) -> DeviceMemory:
    """Of one of `world_size` processes of the phase whose configuration is `config` and whose cost is `cost`.

    Under fsdp parameters, gradients, moments and target encoder are shared out over `runtime.shard_size` processes (null: all); whole at
    a time are two blocks, in the type that they compute in, one's gradients, in it and in float32, and what lies around the blocks.
    """
    strategy, trained = config.runtime.strategy, cost.num_trained
    is_sharded = strategy is Strategy.fsdp
    parts = (config.runtime.shard_size or world_size) if is_sharded else 1
    compute = 2 if cost.is_bf16 else 4
    if is_sharded:
        working = cost.largest_block * (3 * compute + 4) + 4 * cost.num_outside_blocks
    else:
        working = trained * ((2 if cost.is_bf16 else 0) + (4 if strategy is Strategy.ddp else 0))
    return DeviceMemory(
        parameters=-(-4 * trained // parts),
        gradients=-(-4 * trained // parts),
        optimiser=-(-8 * trained // parts),
        target_encoder=-(-4 * cost.num_frozen // parts),
        working=working,
        activations=_plan(config, world_size).micro_batch_size * cost.clip_bytes,
    )


def start_lines(config: Config, world: World, precision: str) -> list[str]:
    """Processes and precision; how each phase's step is cut; the memory of a device in the phase that needs most."""
    memories = [device_memory(phase.config, estimate(phase.config), world.size) for phase in phases_of(config)]
    most = max(memories, key=lambda memory: memory.total)
    parts = ", ".join(f"{name.replace('_', ' ')} {in_words(count)}" for name, count in asdict(most).items() if count)
    return [
        f"runtime: {_mesh(config, world)}, {precision}",
        f"a step: {'; '.join(_step(phase, world.size) for phase in phases_of(config))}",
        f"memory of a device, estimated: {in_words(most.total)} ({parts})",
    ]


def in_words(num_bytes: int) -> str:
    """`1.25 GB`, `3.0 MB`."""
    return f"{num_bytes / 1e9:,.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def _plan(config: Config, world_size: int) -> PositionPlan:
    accumulation = accumulation_of(config, world_size)
    return PositionPlan(config.data.global_batch_size, world_size, 0, accumulation, config.data.repeats)


def _mesh(config: Config, world: World) -> str:
    where = f"{counted(world.size, 'process')} on {counted(world.num_nodes, 'node')}"
    if config.runtime.strategy is Strategy.single:
        return where
    if config.runtime.strategy is Strategy.ddp:
        return f"{where}, {world.size} x 1 (replicate x shard, ddp)"
    parts = config.runtime.shard_size or world.size
    return f"{where}, {world.size // parts} x {parts} (replicate x shard, fsdp)"


def _step(phase: Phase, world_size: int) -> str:
    plan = _plan(phase.config, world_size)
    cut = f"{counted(world_size, 'process')} x {plan.accumulation} micro-batch{'es' if plan.accumulation > 1 else ''}"
    of_phase = f"phase {phase.number}: " if phase.number else ""
    return f"{of_phase}{counted(plan.global_batch_size, 'sample')} = {cut} x {plan.micro_batch_size}"
