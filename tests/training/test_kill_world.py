"""One of several processes killed with SIGKILL at any moment, most of all while it saves: the same command continues as if nothing had
happened. `SURGREC_KILLS` is how often each run is killed: 3 by default; 13 makes 52 kills of the four runs, in some minutes.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from surgrec.training.checkpoint_facts import read_facts, size_fault, sum_fault
from surgrec.training.checkpoint_listing import steps_in
from surgrec.training.folder import RunFolder
from tests.training.tiny import SLOWED, TRAIN, VARIANTS, Running, Warm, assert_same_run, metrics_of, overrides
from tests.training.tiny import wait_until as until

NUM_KILLS = int(os.environ.get("SURGREC_KILLS", "3"))
STEPS = 4 * NUM_KILLS + 6  # as many as mostly suffice for all kills
LONG = (f"trainer.steps={STEPS}", "trainer.checkpoint_every=2", "runtime.accelerator=cpu")
WHOLE_SECONDS = 60.0 + 10 * STEPS  # for a run without kills, on a machine that does much else
PATIENCE_SECONDS = 5.0  # of a launcher, after which it ends the other processes of a world


def num_lines(folder: Path) -> int:
    """Whole lines of metrics; who reads while another writes may see a part of one."""
    file = RunFolder(folder).metrics_file
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill_somewhere(chance: random.Random, ranks: list[Running], folder: Path) -> str:
    """Kill one process at a random moment of a random kind; returns which."""
    victim, checkpoints = chance.choice(ranks), RunFolder(folder).checkpoints
    kind = chance.choice(["while saving", "while saving", "between steps", "by the clock"])
    if kind == "while saving":
        known = set(checkpoints.glob(".step_*"))
        until(lambda: bool(set(checkpoints.glob(".step_*")) - known), victim)
        time.sleep(chance.uniform(0.0, 0.5))
    elif kind == "between steps":
        wanted = num_lines(folder) + chance.randint(1, 6)
        until(lambda: num_lines(folder) >= wanted, victim)
        time.sleep(chance.uniform(0.0, 0.05))
    else:
        time.sleep(chance.uniform(0.0, 4.0))
    victim.signal(signal.SIGKILL)
    return f"{kind}, rank {ranks.index(victim)}"


def end_world(ranks: list[Running], victim_ended: float) -> list[int]:
    """The other processes end by themselves, or are killed after a launcher's patience: one may wait for a world that never forms."""
    while any(rank.is_alive() for rank in ranks) and time.monotonic() < victim_ended + PATIENCE_SECONDS:
        time.sleep(0.01)
    for rank in ranks:
        rank.signal(signal.SIGKILL)
    return [rank.wait() for rank in ranks]


def assert_all_are_whole(folder: Path) -> None:
    """Every checkpoint that has a name, and the one that `latest` names among them."""
    checkpoints = RunFolder(folder).checkpoints
    there = steps_in(checkpoints)
    for path in there:
        facts = read_facts(path)
        assert facts.files and size_fault(path, facts) is None and sum_fault(path, facts, list(facts.files)) is None
    pointer = checkpoints / "latest"
    assert not pointer.exists() or checkpoints / pointer.read_text().strip() in there


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_rank_killed_at_any_moment(variant: str, strategy: str, warm: Warm, footage: Path, tmp_path: Path) -> None:
    """A run that comes to its end between two kills is checked, and the next one takes its place."""

    def command(name: str) -> list[str]:
        return overrides(variant, footage, tmp_path, name, *LONG, f"runtime={strategy}")

    def check(name: str, said: str) -> None:
        assert "damaged" not in said, said
        assert [line["step"] for line in metrics_of(tmp_path / name)] == list(range(1, STEPS + 1))
        assert_same_run(tmp_path / name, tmp_path / "whole")
        assert not list(RunFolder(tmp_path / name).checkpoints.glob(".step_*"))

    warm.run_world(2, command("whole"), TRAIN, seconds=WHOLE_SECONDS)
    seed = int.from_bytes(os.urandom(4))
    chance, told, number = random.Random(seed), [], 0
    while len(told) < NUM_KILLS:
        name = f"killed_{number}"
        ranks = warm.start_world(2, command(name), SLOWED)
        how = kill_somewhere(chance, ranks, tmp_path / name)
        statuses = end_world(ranks, time.monotonic())
        if statuses == [0, 0]:
            check(name, "\n".join(rank.log.read_text() for rank in ranks))
            number += 1
            continue
        assert_all_are_whole(tmp_path / name)
        told.append(f"{how}, after {num_lines(tmp_path / name)} steps")
    check(name, warm.run_world(2, command(name), SLOWED, seconds=WHOLE_SECONDS))
    print(f"{variant}, {strategy}, seed {seed}: {'; '.join(told)}")
