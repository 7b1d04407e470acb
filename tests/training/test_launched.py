"""The world is what a launcher says: all of it, or an error; never a guess."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from surgrec.core.errors import UserError
from surgrec.training.launched import LaunchedEnvironment, World, join, launched_world
from tests.training.tiny import TRAIN, Warm, overrides

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "gpu03",
    "MASTER_PORT": "29500",
}
ALLOCATION = {"SLURM_JOB_ID": "1234", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "gpu[03-04]"}
BATCH_SCRIPT = ALLOCATION | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
SRUN = ALLOCATION | {
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
}


def without(variables: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in names}


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_torchrun_says_all(strategy: str) -> None:
    world = launched_world(strategy, TORCHRUN)
    assert world == World(5, 8, 1, 4, "gpu03", 29500) and world.num_nodes == 2
    environment = LaunchedEnvironment(world)
    environment.set_world_size(1)
    environment.set_global_rank(0)
    asked = (environment.global_rank(), environment.world_size(), environment.local_rank(), environment.node_rank())
    assert asked == (5, 8, 1, 1)


def test_a_step_of_srun_says_all_and_torchrun_within_it_goes_first() -> None:
    world = launched_world("ddp", SRUN)
    assert (world.rank, world.size, world.local_rank, world.local_size, world.address) == (5, 8, 1, 4, "gpu03")
    others = [launched_world("ddp", SRUN | {"SLURM_PROCID": str(rank)}).port for rank in range(8)]
    assert {*others} == {world.port} and 10_000 <= world.port < 30_000, "all processes of a step meet"
    assert launched_world("ddp", SRUN | {"SLURM_STEP_ID": "3"}).port != world.port, "two steps do not"
    given = launched_world("ddp", SRUN | {"MASTER_ADDR": "here", "MASTER_PORT": "77"})
    assert (given.address, given.port) == ("here", 77)
    assert launched_world("ddp", SRUN | TORCHRUN) == launched_world("ddp", TORCHRUN)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        ALLOCATION,  # in the shell of salloc
        BATCH_SCRIPT,  # in a script of sbatch, which has a rank and a number of tasks
        SRUN | {"SLURM_STEP_ID": "4294967290"},  # in a shell that salloc starts on a node
        BATCH_SCRIPT | {"SLURM_STEP_ID": "4294967291"},
    ],
)
def test_what_is_typed_in_the_shell_of_an_allocation_is_one_process(variables: dict[str, str]) -> None:
    assert launched_world("single", variables) == World()
    with pytest.raises(UserError, match=r"runtime\.strategy=ddp needs a launcher, for example: torchrun"):
        launched_world("ddp", variables)


@pytest.mark.parametrize("missing", list(TORCHRUN))
def test_a_part_of_a_world_is_no_world(missing: str) -> None:
    with pytest.raises(UserError, match=f"{missing} is missing; start with torchrun .*, or unset"):
        launched_world("ddp", without(TORCHRUN, missing))


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (without(SRUN, "SLURM_LOCALID"), "srun set only a part .*: SLURM_LOCALID is missing"),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "5,3"}, r"srun started 5,3 processes .*equally many on each"),
        (TORCHRUN | {"RANK": "8"}, "rank 8 of 8 processes"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "3"}, "start equally many on every node"),
        (TORCHRUN | {"RANK": "first"}, "RANK=first is not a number"),
    ],
)
def test_a_world_that_cannot_be_is_told(variables: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        launched_world("fsdp", variables)


@pytest.mark.parametrize("variables", [TORCHRUN, SRUN, {"WORLD_SIZE": "8"}])
def test_several_processes_are_no_single_one(variables: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"8 processes were launched, but runtime\.strategy is single; add runtime=ddp"):
        launched_world("single", variables)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[03-04]", "gpu03"),
        ("gpu[7,9-12],login", "gpu7"),
        ("a,b", "a"),
        ("node-1.lan", "node-1.lan"),
        ("gpu[1-2].lan,login", "gpu1.lan"),
        ("rack[1,3]n[05-06],a[1-2]", "rack1n05"),
    ],
)
def test_processes_of_srun_meet_on_their_first_node(nodes: str, first: str) -> None:
    assert launched_world("ddp", SRUN | {"SLURM_STEP_NODELIST": nodes}).address == first


# -- the group


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def world_of(size: int, rank: int, port: int) -> dict[str, str]:
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
    }


def test_a_group_that_stays_incomplete_names_who_is_missing() -> None:
    world = World(0, 3, 0, 3, "127.0.0.1", free_port())
    said = r"3 processes has not formed within 0.02 minutes \(runtime.join_minutes\): rank 1, 2 has not come"
    with pytest.raises(UserError, match=said):
        join(world, "gloo", torch.device("cpu"), 0.02, timedelta(seconds=1))


@pytest.mark.slow
def test_a_run_whose_group_stays_incomplete_leaves_nothing(warm: Warm, footage: Path, tmp_path: Path) -> None:
    options = overrides("mae", footage, tmp_path, "partial", "runtime=ddp", "runtime.join_minutes=0.05")
    said = warm.run([*options, "runtime.accelerator=cpu"], status=2, env=world_of(3, 0, free_port()), program=TRAIN)
    assert (
        "the group of 3 processes has not formed within 0.05 minutes (runtime.join_minutes): rank 1, 2 has not come"
        in said
    )
    assert "Traceback" not in said and not (tmp_path / "partial").exists()


@pytest.mark.slow
def test_processes_that_torchrun_starts_again_form_a_new_group(warm: Warm, footage: Path, tmp_path: Path) -> None:
    """`--max-restarts`: its store, which outlives them, still holds what the dead ones said."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launched = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "tests"}
    for attempt in range(2):
        options = overrides(
            "mae", footage, tmp_path, "again", "trainer.steps=2", "runtime=ddp", "runtime.accelerator=cpu"
        )
        attempts = launched | {"TORCHELASTIC_RESTART_COUNT": str(attempt)}
        ranks = [warm.start(options, env=world_of(2, rank, store.port) | attempts) for rank in range(2)]
        assert [rank.wait() for rank in ranks] == [0, 0], ranks[0].log.read_text() + ranks[1].log.read_text()


@pytest.mark.slow
def test_a_group_without_its_first_process_is_told(warm: Warm, footage: Path, tmp_path: Path) -> None:
    options = overrides("mae", footage, tmp_path, "headless", "runtime=ddp", "runtime.join_minutes=0.05")
    port = free_port()
    said = warm.run([*options, "runtime.accelerator=cpu"], status=2, env=world_of(2, 1, port), program=TRAIN)
    assert f"nothing answers at 127.0.0.1:{port}" in said and "Traceback" not in said
    assert not (tmp_path / "headless").exists()
