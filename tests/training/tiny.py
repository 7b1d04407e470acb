"""Runs of seconds: their configuration, how they are started, and how two of them are compared."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from surgrec.training.folder import RunFolder
from surgrec.training.log import TIMINGS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
VARIANTS = ("mae", "jepa")
TRAIN, RECORDED = "surgrec.train:main", "tests.training.recorded:main"  # what is started; see recorded.py
SLOWED, RELOADED = "tests.training.slowed:main", "tests.training.reloaded:main"  # and slowed.py and reloaded.py
BROKEN_RANK, SHALLOW = "tests.training.broken_rank:main", "tests.training.shallow:main"  # and shallow.py
POISONED, BLIND = "tests.training.poisoned:main", "tests.training.poisoned:blind"  # and poisoned.py
PATIENCE_SECONDS = 500
# One thread a process: the machine's other work then changes no result and costs little time.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}

_COMMON = (
    "backbone=nano",
    "backbone.patch=8",
    "augment.crop_pixels=32",
    "data.num_frames=4",
    "data.global_batch_size=8",
    "data.workers=0",
    "optim.warmup_steps=2",
    "optim.lr=1e-3",
    "trainer.steps=12",
    "trainer.log_every=1",
    "trainer.health_every=1",
    "trainer.checkpoint_every=3",
    "runtime=cpu",
)
_SMALL = {
    "mae": ("mask.ratio=0.75", "objective.head_width=64", "objective.head_depth=1", "objective.head_heads=2"),
    "jepa": ("objective.head_width=64", "objective.head_depth=1", "objective.head_heads=2"),
}


def overrides(variant: str, manifest: Path, runs: Path, name: str, *more: str) -> list[str]:
    """The command line of a tiny run; `more` comes last and wins."""
    where = (f"mix.manifests=[{manifest}]", f"paths.runs={runs}", f"name={name}")
    return [f"+variant={variant}", *where, *_COMMON, *_SMALL[variant], *more]


# -- starting


@dataclass(frozen=True)
class Running:
    """A process that was started; `log` is what it prints. `ended(seconds)` gives its status, or None where it took longer."""

    pid: int
    log: Path
    ended: Callable[[float], int | None]

    def signal(self, number: signal.Signals, whole_group: bool = False) -> None:
        """Send a signal to the process, or as a terminal does to it and its workers; harmless after its end."""
        with suppress(ProcessLookupError):
            (os.killpg if whole_group else os.kill)(self.pid, number)

    def is_alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit status, negative for a signal."""
        status = self.ended(seconds)
        assert status is not None, f"still running after {seconds} seconds:\n{self.log.read_text()}"
        return status


class Warm:
    """Starts processes as forks of one that has everything imported; see `warm.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.training.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | ENVIRONMENT,
        )
        assert self._server.stdout is not None and self._server.stdout.readline().strip() == "ready"

    def _ask(self, order: dict[str, Any]) -> Any:
        """One order, one answer."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(
        self,
        arguments: Sequence[str],
        program: str = TRAIN,
        env: Mapping[str, str] | None = None,
        crash: tuple[Path, int] | None = None,
    ) -> Running:
        """Fork a process that calls `program` with these arguments; `crash` as in `warm.crash_before`."""
        self._number += 1
        log = self.folder / f"{self._number:04d}.log"
        log.touch()
        where = [str(crash[0]), crash[1]] if crash else None
        start = {
            "start": [*program.split(":"), list(arguments)],
            "env": dict(env or {}),
            "log": str(log),
            "crash": where,
        }
        pid = int(self._ask(start))
        return Running(pid, log, lambda seconds: self._ask({"wait": pid, "seconds": seconds}))

    def run(self, arguments: Sequence[str], status: int = 0, **options: Any) -> str:
        """Start, wait, check the exit status; returns what was printed."""
        process = self.start(arguments, **options)
        ended = process.wait()
        assert ended == status, f"status {ended}, not {status}:\n{process.log.read_text()}"
        return process.log.read_text()

    def start_world(self, size: int, arguments: Sequence[str], program: str = RECORDED) -> list[Running]:
        """The same program in `size` processes, with the variables that torchrun sets."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "tests"}
        common |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "GROUP_RANK": "0"}
        return [
            self.start(arguments, program, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(size)
        ]

    def run_world(
        self,
        size: int,
        arguments: Sequence[str],
        program: str = RECORDED,
        status: int = 0,
        seconds: float = PATIENCE_SECONDS,
    ) -> str:
        """Start them, wait, check the exit statuses; returns what all of them printed."""
        ranks = self.start_world(size, arguments, program)
        statuses = [rank.wait(seconds) for rank in ranks]
        said = "\n".join(rank.log.read_text() for rank in ranks)
        assert statuses == [status] * size, f"statuses {statuses}:\n{said}"
        return said

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)


@dataclass(frozen=True)
class Runs:
    """Folders of runs below `folder`, each made by `run(name)` when it is first asked for: `runs / "mae"`."""

    folder: Path
    run: Callable[[str], object]

    def __truediv__(self, name: str) -> Path:
        if not (self.folder / name).exists():
            self.run(name)
        return self.folder / name


def start_command(arguments: Sequence[str], log: Path) -> Running:
    """`python -m surgrec.train` as a user starts it."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "surgrec.train", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=REPOSITORY,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        )

    def ended(seconds: float) -> int | None:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    return Running(process.pid, log, ended)


def wait_until(condition: Callable[[], bool], process: Running, seconds: float = PATIENCE_SECONDS) -> None:
    """Until the condition holds or the process ended."""
    deadline = time.monotonic() + seconds
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.0005)


# -- comparing


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none where there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """Every line of `metrics.jsonl` without the timings."""
    lines = lines_of(RunFolder(folder).metrics_file)
    return [{key: value for key, value in line.items() if key not in TIMINGS} for line in lines]


def state_of(folder: Path, step: int | None = None) -> dict[str, Any]:
    """Everything in the newest checkpoint, or in that of `step`: weights, target encoder, optimiser; flat names to values."""
    checkpoints = folder / "checkpoints"
    name = (checkpoints / "latest").read_text().strip() if step is None else f"step_{step:08d}"
    whole = folder / f".{name}.pt"
    dcp_to_torch_save(checkpoints / name, whole)
    state = torch.load(whole, weights_only=True)
    whole.unlink()
    return _flat(state)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: value}
    return {name: leaf for key, inner in items for name, leaf in _flat(inner, f"{prefix}/{key}").items()}


def assert_same_weights(one: Path, other: Path) -> None:
    """The newest checkpoints hold the same state, bit for bit."""
    first, second = state_of(one), state_of(other)
    assert first.keys() == second.keys() and first
    for name, value in first.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == second[name].dtype and torch.equal(value, second[name]), name
        else:
            assert value == second[name], name


def assert_same_run(one: Path, other: Path) -> None:
    """The same metrics, line for line, and the same weights, bit for bit."""
    assert metrics_of(one) == metrics_of(other)
    assert_same_weights(one, other)


def assert_close_numbers(one: Path, other: Path, names: Sequence[str], tolerance: float) -> float:
    """The named metrics agree at every step, relative to the larger of 1 and the value; returns the largest distance."""
    first, second = metrics_of(one), metrics_of(other)
    assert [line["step"] for line in first] == [line["step"] for line in second] and first
    distances = [
        abs(a[name] - b[name]) / max(1.0, abs(a[name])) for a, b in zip(first, second, strict=True) for name in names
    ]
    assert max(distances) <= tolerance, f"{names} differ by {max(distances)}"
    return max(distances)
