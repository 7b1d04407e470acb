"""Processes, devices, precision: the only file that knows how many of us there are.

In: the `runtime` options and the launcher's variables. Out: a `Runtime` that wraps modules and sums numbers over ranks. It is its own
file so that the loop reads the same for one laptop and for sixteen nodes. The world is what the launcher says (`launched`), never a
guess; Lightning Fabric wraps modules and casts, and `sharding` says how FSDP2 splits them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule

from surgrec.core.console import tell
from surgrec.core.errors import ToldError, UserError
from surgrec.training import ending
from surgrec.training.launched import LaunchedEnvironment, join, launched_world
from surgrec.training.sharding import check_shard_size, make_mesh, shard

PRECISIONS = ("auto", "32-true", "bf16-mixed")

Value = TypeVar("Value")

_NEVER = timedelta(days=7)  # which gloo can count in milliseconds
_SIDE_TIMEOUT = timedelta(hours=1)


class SharedError(UserError):
    """A `UserError` that all ranks raise alike, at the same point of the run."""


class Autocast(MixedPrecision):
    """bf16 where autocast chooses it. Fabric would also cast what goes into the learner, and so round the targets before the loss."""

    def __init__(self, device_type: str) -> None:
        super().__init__("bf16-mixed", device_type)

    def convert_input(self, data: Any) -> Any:
        """As it is."""
        return data


@dataclass(frozen=True, kw_only=True)
class RuntimeSpec:
    """What the `runtime` group says of processes and precision; see surgrec/config/schema.py."""

    accelerator: str
    strategy: str
    precision: str
    compile: bool = False
    shard_size: int | None = None
    join_minutes: float = 10.0
    hang_minutes: float | None = 30.0

    @property
    def patience(self) -> timedelta:
        """After which a collective counts as broken: well after a hang has been told, which is the better end."""
        return timedelta(minutes=2 * self.hang_minutes + 5) if self.hang_minutes else _NEVER


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
        self.world = launched_world(spec.strategy)
        check_shard_size(spec.shard_size, self.world.size)
        kind = "cuda" if self.has_cuda else "cpu"
        if spec.strategy != "single":
            self._check_devices()
            device = torch.device(kind, self.world.local_rank) if self.has_cuda else torch.device(kind)
            join(self.world, self._backend, device, spec.join_minutes, spec.patience)
        self.fabric = Fabric(
            accelerator=kind,
            strategy=self._strategy(),
            devices=self.world.local_size,
            num_nodes=self.world.num_nodes,
            plugins=[LaunchedEnvironment(self.world), *([Autocast(kind)] if self.is_half else [])],
        )
        self.fabric.launch()
        self.mesh: DeviceMesh | None = None
        if self.is_sharded:
            self.mesh = make_mesh(kind, self.world.size, spec.shard_size, spec.patience)

    @property
    def precision(self) -> str:
        """`auto` is bf16 on a GPU and float32 on a CPU."""
        if self.spec.precision != "auto":
            return self.spec.precision
        return "bf16-mixed" if self.has_cuda else "32-true"

    @property
    def is_half(self) -> bool:
        """Whether matrix products are in bf16."""
        return self.precision == "bf16-mixed"

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
        if self.spec.compile and not self.is_sharded:
            learner.compile()
        wrapped: nn.Module = self.fabric.setup_module(learner)
        return wrapped

    @contextmanager
    def reducing(self, learner: nn.Module, *, is_last: bool) -> Iterator[None]:
        """Around the passes of a micro-batch through the wrapped `learner`: only the step's last reduces what it costs traffic to reduce.

        Under ddp that is everything. Under fsdp gradients are always reduced to shards, or every process would hold all of them until then;
        what waits is their sum over the replicas of hybrid sharding.
        """
        if isinstance(sharded := getattr(learner, "module", learner), FSDPModule):
            sharded.set_requires_all_reduce(is_last)
            yield
            return
        with self.fabric.no_backward_sync(learner, enabled=not is_last):  # type: ignore[arg-type]
            yield

    def place_frozen(self, frozen: nn.ModuleDict) -> None:
        """Put modules that never see a gradient on the device, sharded as the learner is, outside any gradient wrapper."""
        frozen.to(self.device)
        for module in frozen.values():
            if self.is_sharded:
                self._shard(module)
            elif self.spec.compile:
                module.compile()

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
        ending.keep(group)
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
            raise ToldError(error) from error

    def close(self) -> None:
        """Leave the process group.

        What is left of it is kept to the end of the process. Else DDP's reducer, which holds the GIL, would be the last to let go of
        it, and wait for gloo's thread, which wants the GIL to let go of the tensors of its last message: seen once in thirty ends.
        A program that calls this has its `main` wrapped in `ending_at_once`.
        """
        if dist.is_available() and dist.is_initialized():
            ending.keep(dist.group.WORLD)
            dist.destroy_process_group()

    @property
    def _backend(self) -> str:
        return "nccl" if self.has_cuda else "gloo"

    def _check_devices(self) -> None:
        """Each process of a node has a GPU of its own among those that it sees."""
        seen, wanted = torch.cuda.device_count(), self.world.local_size
        if self.has_cuda and seen < wanted:
            raise UserError(
                f"{wanted} processes were started on this node, but this one sees {seen} of its GPUs; start as many as there are, "
                "and let each see all (srun: --gpus-per-node, not --gpus-per-task)"
            )

    def _strategy(self) -> str | DDPStrategy | ModelParallelStrategy:
        if self.spec.strategy == "ddp":
            return DDPStrategy(process_group_backend=self._backend)
        if self.spec.strategy == "fsdp":
            # predictions are views, which nobody writes into; torch would remind us with every checkpoint
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
            return ModelParallelStrategy(
                lambda module, _: self._shard(module),
                data_parallel_size=self.world.size,
                tensor_parallel_size=1,
                process_group_backend=self._backend,
            )
        return "auto"

    def _shard(self, module: nn.Module) -> nn.Module:
        """On a mesh of our own, which may have two dimensions."""
        assert self.mesh is not None, "the process group is up before modules are placed"
        return shard(module, self.mesh, is_half=self.is_half, is_compiled=self.spec.compile)
