"""Processes, devices, precision: the only file that knows how many of us there are.

In: the `runtime` options and the launcher's variables. Out: a `Runtime` that wraps modules and sums numbers over ranks. It is its own
file so that the loop reads the same for one laptop and for sixteen nodes. Lightning Fabric launches and shards; the world is what
the launcher says (torchrun or SLURM set WORLD_SIZE), never a guess.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from surgrec.core.console import tell
from surgrec.core.errors import ToldError, UserError

_LAUNCH = "torchrun --standalone --nproc-per-node N -m surgrec.train ... runtime=ddp"
PRECISIONS = ("auto", "32-true", "bf16-mixed")

Value = TypeVar("Value")

_SIDE_TIMEOUT = timedelta(hours=1)
_LEFT: list[dist.ProcessGroup | None] = []  # groups; see `Runtime.close`


class SharedError(UserError):
    """A `UserError` that all ranks raise alike, at the same point of the run."""


@dataclass(frozen=True)
class RuntimeSpec:
    """What the `runtime` group says; see surgrec/config/schema.py."""

    accelerator: str
    strategy: str
    precision: str
    accumulation: int
    compile: bool


class Runtime:
    """One process of the run. Creating it joins the process group; a group that does not form is an error, never a world of one."""

    def __init__(self, spec: RuntimeSpec) -> None:
        self.spec = spec
        self.has_cuda = spec.accelerator in ("auto", "cuda") and torch.cuda.is_available()
        if spec.accelerator not in ("auto", "cpu", "cuda"):
            raise UserError(f"runtime.accelerator={spec.accelerator} is unknown; choose auto, cpu or cuda")
        if spec.accelerator == "cuda" and not self.has_cuda:
            raise UserError(
                "runtime.accelerator=cuda, but torch sees no CUDA device; choose runtime=cpu or mend the driver"
            )
        if spec.precision not in PRECISIONS:
            raise UserError(f"runtime.precision={spec.precision} is unknown; choose one of {', '.join(PRECISIONS)}")
        world, local_world = _launched_world(spec.strategy)
        self.fabric = Fabric(
            accelerator="cuda" if self.has_cuda else "cpu",
            strategy=self._strategy(world),
            devices=local_world,
            num_nodes=world // local_world,
            precision=self.precision,  # type: ignore[arg-type]
        )
        self.fabric.launch()
        if self.fabric.world_size != world:
            raise RuntimeError(f"{world} processes were launched, but only {self.fabric.world_size} formed a group")

    @property
    def precision(self) -> str:
        """`auto` is bf16 on a GPU and float32 on a CPU."""
        if self.spec.precision != "auto":
            return self.spec.precision
        return "bf16-mixed" if self.has_cuda else "32-true"

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.fabric.device

    @property
    def is_sharded(self) -> bool:
        """Whether ranks hold parts of one model, so that all must take part in every pass through it."""
        return isinstance(self.fabric.strategy, ModelParallelStrategy)

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.fabric.is_global_zero

    def wrap_learner(self, learner: nn.Module) -> nn.Module:
        """The learner as the step calls it; parameters stay those of `learner`, sharded or not."""
        if self.spec.compile:
            learner.compile()
        wrapped: nn.Module = self.fabric.setup_module(learner)
        return wrapped

    def place_frozen(self, frozen: nn.ModuleDict) -> None:
        """Put modules that never see a gradient on the device, sharded as the learner is, outside any gradient wrapper."""
        frozen.to(self.device)
        for module in frozen.values():
            if self.spec.compile:
                module.compile()
            if isinstance(self.fabric.strategy, ModelParallelStrategy):
                _shard(module, self.fabric.strategy.device_mesh)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks."""
        return self.sum(values) / self.fabric.world_size

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks, new, on the device of `values`: this process's.

        Not Fabric's reduction: that puts a barrier before each, for which the host waits, and writes into `values`.
        """
        total = values.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total)
        return total

    def gather(self, value: Value) -> list[Value]:
        """The `value` of every rank (anything that pickles), in their order, on all ranks. Waits for the device."""
        if self.fabric.world_size == 1:
            return [value]
        values: list[Value | None] = [None] * self.fabric.world_size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # each has been filled

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.fabric.barrier()

    def side_group(self) -> dist.ProcessGroup | None:
        """A further process group of all ranks, over gloo, for what a thread says beside the training; None for one process. All ranks
        call it. Nobody waits in it for longer than an hour.
        """
        if self.fabric.world_size == 1:
            return None
        group = dist.new_group(backend="gloo", timeout=_SIDE_TIMEOUT)
        _LEFT.append(group)
        return group

    def on_first(self, action: Callable[[], object]) -> None:
        """Run `action` in the first process while the others wait; all processes call it.

        Where it raises a `UserError`, the first process raises it and the others a `ToldError`: waiting for a process that has gone,
        they would bury its sentence under tracebacks.
        """
        failure: UserError | None = None
        if self.is_first:
            try:
                action()
            except UserError as error:
                failure = error
        has_failed = bool(self.mean(torch.tensor(float(failure is not None), device=self.device)) > 0)
        if failure is not None:
            raise failure
        if has_failed:
            raise ToldError("the first process tells what is wrong")

    @contextmanager
    def told_once(self) -> Iterator[None]:
        """Within it, the first process alone tells a `SharedError`; then all raise `ToldError`.

        The others wait for that: a launcher ends all processes as soon as it sees that one has gone.
        """
        try:
            yield
        except SharedError as error:
            if self.is_first:
                tell(error)
            self.barrier()
            raise ToldError(str(error)) from error

    def close(self) -> None:
        """Leave the process group.

        What is left of it is kept to the end of the process. Else DDP's reducer, which holds the GIL, would be the last to let go of
        it, and wait for gloo's thread, which wants the GIL to let go of the tensors of its last message: seen once in thirty ends.
        """
        if dist.is_available() and dist.is_initialized():
            _LEFT.append(dist.group.WORLD)
            dist.destroy_process_group()

    def _strategy(self, world: int) -> str | DDPStrategy | ModelParallelStrategy:
        backend = "nccl" if self.has_cuda else "gloo"
        if self.spec.strategy == "ddp":
            return DDPStrategy(process_group_backend=backend)
        if self.spec.strategy == "fsdp":
            # predictions are views, which nobody writes into; torch would remind us with every checkpoint
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
            return ModelParallelStrategy(
                _parallelize, data_parallel_size=world, tensor_parallel_size=1, process_group_backend=backend
            )
        return "auto"


def _launched_world(strategy: str) -> tuple[int, int]:
    """World size and processes on this node, as the launcher set them."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    if strategy == "single" and world > 1:
        raise UserError(
            f"{world} processes were launched, but runtime.strategy is single; add runtime=ddp or runtime=fsdp"
        )
    if strategy != "single" and "WORLD_SIZE" not in os.environ:
        raise UserError(f"runtime.strategy={strategy} needs a launcher, for example: {_LAUNCH}")
    return world, local_world


def _parallelize(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """What Fabric calls on a module that it sets up under FSDP2."""
    return _shard(module, mesh)


def _shard(module: nn.Module, mesh: DeviceMesh | None) -> nn.Module:
    """FSDP2: every transformer block is a unit, the rest another. All are shards again after a forward pass, also the outermost, which
    FSDP2 would keep whole until a backward pass: the target encoder has none, and its average is taken shard by shard.
    """
    assert mesh is not None, "the process group is up before modules are placed"
    data = mesh["data_parallel"]
    for name, child in module.named_modules():
        if name.split(".")[-1].isdigit() and ".blocks." in f".{name}":
            fully_shard(child, mesh=data, reshard_after_forward=True)
    fully_shard(module, mesh=data, reshard_after_forward=True)
    return module
