"""Who started this process, and as which of how many.

In: the launcher's environment variables. Out: a `World`, the same for Fabric (`LaunchedEnvironment`), and a process group that is whole or
an error. It is its own file because guessing here is what makes other programs train alone, four times over, in silence: Fabric, left to
itself, takes a program typed in the shell of a SLURM allocation for one of the allocation's tasks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import ClusterEnvironment
from torch.distributed.distributed_c10d import _set_pg_timeout

from surgrec.core.errors import UserError

LAUNCH = "torchrun --standalone --nproc-per-node N -m surgrec.train ... runtime=ddp"

_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")
_STEP = (
    "SLURM_STEP_ID",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_TASKS_PER_NODE",
)
_FIRST_STEP_THAT_IS_NONE = 0xFFFFFFF0  # slurm.h: from here on, ids of batch scripts and of the shells of allocations
_FIRST_PORT, _NUM_PORTS = 10_000, 20_000  # below those that Linux hands out


@dataclass(frozen=True)
class World:
    """This process is `rank` of `size`, `local_rank` of `local_size` on its node; all meet at `address`:`port`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def num_nodes(self) -> int:
        """Nodes, on each of which run equally many."""
        return self.size // self.local_size


class LaunchedEnvironment(ClusterEnvironment):
    """A `World` as Fabric asks for it. Nothing in it can be set, and nothing is looked up."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    @property
    def creates_processes_externally(self) -> bool:
        """They are all there."""
        return True

    @property
    def main_address(self) -> str:
        """Where they meet."""
        return self.world.address

    @property
    def main_port(self) -> int:
        """And at which port."""
        return self.world.port

    @staticmethod
    def detect() -> bool:
        """Never by itself; it is given."""
        return False

    def world_size(self) -> int:
        """Of all nodes."""
        return self.world.size

    def set_world_size(self, size: int) -> None:
        """The launcher has."""

    def global_rank(self) -> int:
        """Over all nodes."""
        return self.world.rank

    def set_global_rank(self, rank: int) -> None:
        """The launcher has."""

    def local_rank(self) -> int:
        """On this node."""
        return self.world.local_rank

    def node_rank(self) -> int:
        """Of this node."""
        return self.world.rank // self.world.local_size


def launched_world(strategy: str, variables: Mapping[str, str] = os.environ) -> World:
    """The world that a launcher made: torchrun's variables, else those of a step of `srun`, else one process.

    Raises `UserError` where the variables are there in part, name several processes for `strategy` single, or none for another.
    """
    given = [name for name in _RANKS if name in variables]
    if strategy == "single":
        # a shell may have a stray one of them; several processes in one run folder are the mistake to prevent
        counts = ["WORLD_SIZE", *(["SLURM_STEP_NUM_TASKS"] if _is_step(variables) else [])]
        size = next((_number(variables, name) for name in counts if name in variables), 1)
        if size > 1:
            raise UserError(
                f"{size} processes were launched, but runtime.strategy is single; add runtime=ddp or runtime=fsdp"
            )
        return World()
    if given:
        return _of_torchrun(variables)
    if not _is_step(variables):
        raise UserError(f"runtime.strategy={strategy} needs a launcher, for example: {LAUNCH}")
    return _of_srun(variables)


def _of_torchrun(variables: Mapping[str, str]) -> World:
    missing = [name for name in (*_RANKS, *_MEETING_POINT) if not variables.get(name)]
    if missing:
        raise UserError(
            f"the launcher set only a part of what names this process and its group: {', '.join(missing)} is missing; "
            f"start with {LAUNCH}, or unset {', '.join(name for name in _RANKS if name in variables)}"
        )
    rank, size, local_rank, local_size = (_number(variables, name) for name in _RANKS)
    return _checked(
        World(rank, size, local_rank, local_size, variables["MASTER_ADDR"], _number(variables, "MASTER_PORT"))
    )


def _is_step(variables: Mapping[str, str]) -> bool:
    """Whether `srun` started this process. A batch script and the shell of an allocation have a rank and a number of tasks too."""
    return "SLURM_STEP_ID" in variables and _number(variables, "SLURM_STEP_ID") < _FIRST_STEP_THAT_IS_NONE


def _of_srun(variables: Mapping[str, str]) -> World:
    missing = [name for name in _STEP if not variables.get(name)]
    if missing:
        raise UserError(
            f"srun set only a part of what names this process and its group: {', '.join(missing)} is missing; start with torchrun"
        )
    tasks = _tasks_per_node(variables["SLURM_STEP_TASKS_PER_NODE"])
    node, size = _number(variables, "SLURM_NODEID"), _number(variables, "SLURM_STEP_NUM_TASKS")
    if len(set(tasks)) > 1 or node >= len(tasks):
        raise UserError(
            f"srun started {variables['SLURM_STEP_TASKS_PER_NODE']} processes on the nodes; start equally many on each, "
            "with --ntasks-per-node"
        )
    job, step = (int(variables.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    address = variables.get("MASTER_ADDR") or _first_host(variables.get("SLURM_STEP_NODELIST", "127.0.0.1"))
    port = (
        _number(variables, "MASTER_PORT")
        if variables.get("MASTER_PORT")
        else _FIRST_PORT + (31 * job + step) % _NUM_PORTS
    )
    rank, local_rank = (_number(variables, name) for name in ("SLURM_PROCID", "SLURM_LOCALID"))
    return _checked(World(rank, size, local_rank, tasks[node], address, port))


def _tasks_per_node(text: str) -> list[int]:
    """SLURM's `2(x3),1` as [2, 2, 2, 1]."""
    parts = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(",")]
    return [int(part[1]) for part in parts if part is not None for _ in range(int(part[2] or 1))]


def _first_host(nodes: str) -> str:
    """The first of SLURM's list of hosts: `gpu[03-05,9],login` gives gpu03, `rack[1-2]n[3-4].lan` rack1n3.lan."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0] if first else "")


def _number(variables: Mapping[str, str], name: str) -> int:
    value = variables[name]
    if not value.isdecimal():
        raise UserError(f"{name}={value} is not a number; it is the launcher's to set: start with {LAUNCH}")
    return int(value)


def _checked(world: World) -> World:
    """Ranks lie within their sizes, and nodes are alike."""
    is_right = world.rank < world.size and world.local_rank < world.local_size and world.size % world.local_size == 0
    if not is_right:
        raise UserError(
            f"the launcher says rank {world.rank} of {world.size} processes, {world.local_rank} of {world.local_size} on this node, which "
            "cannot be; start equally many on every node"
        )
    return world


# -- the group


def join(world: World, backend: str, device: torch.device, join_minutes: float, patience: timedelta) -> None:
    """Make the process group of all of `world`, and of no fewer; `patience` is for its collectives, later.

    Raises `UserError` that names the ranks which have not come after `join_minutes`.
    """
    within = timedelta(minutes=join_minutes)
    # torchrun holds the store itself, for all of its attempts (--max-restarts); else the first process does
    is_torchruns = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    is_host = world.rank == 0 and not is_torchruns
    try:
        store: dist.Store = dist.TCPStore(
            world.address, world.port, world.size, is_host, timeout=within, wait_for_workers=False, multi_tenant=True
        )
    except dist.DistError as error:
        what = "this process cannot listen" if is_host else "nothing answers"
        _refuse(world, join_minutes, f"{what} at {world.address}:{world.port}", error)
    if is_torchruns:  # or those who start again would find what the dead have left
        store = dist.PrefixStore(f"surgrec/attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    roll = dist.PrefixStore("surgrec/joined", store)
    try:
        roll.set(str(world.rank), "here")
        roll.wait([str(rank) for rank in range(world.size)], within)
    except dist.DistError as error:
        _refuse(world, join_minutes, _missing(roll, world), error)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        store=store,
        rank=world.rank,
        world_size=world.size,
        timeout=within,
        device_id=device if device.type == "cuda" else None,
    )
    _set_pg_timeout(patience)


def _missing(roll: dist.Store, world: World) -> str:
    """Which ranks are not there."""
    try:
        missing = [str(rank) for rank in range(world.size) if not roll.check([str(rank)])]
    except dist.DistError:
        return "the first process has gone"
    return f"rank {', '.join(missing)} has not come"


def _refuse(world: World, join_minutes: float, reason: str, error: Exception) -> NoReturn:
    raise UserError(
        f"the group of {world.size} processes has not formed within {join_minutes:g} minutes (runtime.join_minutes): {reason}; look at "
        "what the other processes say, then start all of them again"
    ) from error
