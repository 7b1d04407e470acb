"""What of a step is communication, measured on two processes; and whether as many bytes are sent as the estimate thinks.

    python benchmarks/scaling.py --out benchmarks/results       # about a quarter of an hour on 2 cores

On CPUs over gloo: the whole training step (forward, backward, clipping, AdamW, target encoder; clips and masks are given) of two processes
that train together, under DDP and under FSDP2, against the same step of two processes that train apart, each by itself. Both pairs live
throughout and step in turn, A B B A, so a drift of the machine meets both. The difference is communication that nothing hides; its share of
the step is told, never a speed: two cores of one machine say nothing of a cluster. The bytes of every collective are counted where they are
called (a dispatch mode around forward and backward) and must be those of surgrec/config/traffic.py, by which benchmarks/scaling_estimate.py
goes; and the same collectives are timed alone, with nothing to compute.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import multiprocessing
import os
import socket
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from report import cpu_name, write_result
from torch.utils._python_dispatch import TorchDispatchMode

from surgrec.config.build import build_masker, build_objective, build_runtime
from surgrec.config.compose import compose_config
from surgrec.config.traffic import parameters_of, traffic
from surgrec.core.console import progress
from surgrec.core.memory import keep_freed_memory
from surgrec.optim.optimizer import build_adamw
from surgrec.training.checkpoint import Trained
from surgrec.training.update import Update

VARIANTS = ("mae", "jepa")
BY_SIZE = ("objective.head_width=null", "objective.head_depth=null", "objective.head_heads=null")
NOWHERE = "mix.manifests=[none.parquet]"

# -- measured: a process


KINDS = {"allreduce_": "all_reduced", "_allgather_base_": "gathered", "_reduce_scatter_base_": "scattered"}


class Collectives(TorchDispatchMode):
    """Notes every collective that is called within it: its kind, and the bytes of the whole tensor that it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        space, _, name = function.name().partition("::")
        if space == "c10d":
            name = name.partition(".")[0]
            tensors = args[1] if name == "_reduce_scatter_base_" else args[0]
            tensors = tensors if isinstance(tensors, list | tuple) else [tensors]
            self.calls.append((KINDS.get(name, name), sum(tensor.nbytes for tensor in tensors)))
        return function(*args, **(kwargs or {}))


class Process:
    """One process that trains: the parts of a run without its footage."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.config = compose_config(options_of(spec["variant"], spec["strategy"], spec["options"]))
        self.runtime = build_runtime(self.config)
        self.objective = build_objective(self.config)
        self.learner = self.runtime.wrap_learner(self.objective.learner)
        self.runtime.place_frozen(self.objective.frozen)
        optimizer = build_adamw(self.objective.learner, (0.9, 0.95), 1e-8, 0.05, fused=True)
        self.update = Update(self.runtime, Trained(self.objective.learner, self.objective.frozen, optimizer), 1.0)
        batch, data, crop = spec["batch"], self.config.data, self.config.augment.crop_pixels
        self.video = torch.randn(batch, 3, data.num_frames, crop, crop, generator=torch.Generator().manual_seed(0))
        self.masks = build_masker(self.config).draw(np.arange(batch))
        self.calls: list[tuple[str, int]] = []

    def step(self) -> None:
        targets = self.objective.targets(self.video, self.masks)
        outcome = self.learner(self.video, self.masks, targets)
        self.runtime.fabric.backward(outcome.loss)
        self._finish(outcome.loss)

    def count(self) -> dict[str, Any]:
        """A step whose collectives are noted, but for those of the loss and the gradient's norm, a few bytes."""
        with Collectives() as seen:
            targets = self.objective.targets(self.video, self.masks)
            outcome = self.learner(self.video, self.masks, targets)
            self.runtime.fabric.backward(outcome.loss)
        self._finish(outcome.loss)
        self.calls = seen.calls
        total = Counter[str]()
        for kind, size in seen.calls:
            total[kind] += size
        return {"bytes": dict(total), "calls": dict(Counter(kind for kind, _ in seen.calls))}

    def collectives(self) -> None:
        """What was noted, once more, one after the other and with nothing to compute."""
        world = self.runtime.fabric.world_size
        for kind, size in self.calls:
            whole = torch.zeros(size // 4)
            part = torch.zeros(len(whole) // world)
            if kind == "all_reduced":
                dist.all_reduce(whole)
            elif kind == "gathered":
                dist.all_gather_into_tensor(whole, part)
            elif kind == "scattered":
                dist.reduce_scatter_tensor(part, whole)

    def _finish(self, loss: torch.Tensor) -> None:
        self.update.apply(1, loss.detach(), False, []).read()
        self.objective.after_update(0)


def work(spec: dict[str, Any], world: dict[str, str], pipe: Connection) -> None:
    """Answer every message, the name of a method of `Process`, with its time and what it returned, until one is empty."""
    warnings.simplefilter("ignore")
    os.environ |= world
    keep_freed_memory()
    torch.set_num_threads(1)
    process = Process(spec)
    pipe.send("ready")
    while what := pipe.recv():
        began = time.perf_counter()
        value = getattr(process, what)()
        pipe.send({"seconds": time.perf_counter() - began, "value": value})
    process.runtime.close()


# -- measured: pairs of processes

_CONTEXT = multiprocessing.get_context("forkserver")


class Pair:
    """Two processes that do the same at the same time: together under `strategy`, or, where that is `single`, each by itself."""

    def __init__(self, variant: str, strategy: str, batch: int, options: Sequence[str]) -> None:
        spec = {"variant": variant, "strategy": strategy, "batch": batch, "options": list(options)}
        self._started = [self._start(rank, spec, port) for port in [_free_port()] for rank in range(2)]
        for process in self._started:
            self._answer(process)

    def _start(self, rank: int, spec: dict[str, Any], port: int) -> tuple[BaseProcess, Connection]:
        world = {
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
        }
        world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "scaling"}
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=work, args=(spec, world if spec["strategy"] != "single" else {}, theirs))
        process.start()
        theirs.close()
        return process, ours

    def ask(self, what: str) -> list[dict[str, Any]]:
        for _, pipe in self._started:
            pipe.send(what)
        return [self._answer(process) for process in self._started]

    def seconds(self, what: str) -> float:
        """Of the slower one."""
        return max(answer["seconds"] for answer in self.ask(what))

    def _answer(self, started: tuple[BaseProcess, Connection]) -> Any:
        process, pipe = started
        try:
            return pipe.recv()
        except EOFError:
            self.close()
            raise SystemExit(f"a process ended with status {process.exitcode}; what it said is above") from None

    def close(self) -> None:
        for _, pipe in self._started:
            with suppress(BrokenPipeError):  # of one that has ended
                pipe.send("")
        for process, _ in self._started:
            process.join()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Measured:
    """Of one setting. `apart` and `together`: seconds of steps, in turn; `alone`: of its collectives with nothing to compute; `counted` and
    `formula`: bytes of a step by kind, as called and as surgrec/config/traffic.py has them; `calls` by kind."""

    variant: str
    strategy: str
    batch: int
    options: list[str]
    apart: list[float]
    together: list[float]
    alone: list[float]
    counted: dict[str, int]
    formula: dict[str, int]
    calls: dict[str, int]

    @property
    def share(self) -> float:
        """Of the step that is communication which nothing hides."""
        return statistics.median(
            1 - apart / together for apart, together in zip(self.apart, self.together, strict=True)
        )


def options_of(variant: str, strategy: str, options: Sequence[str]) -> list[str]:
    runtime = {"single": ["runtime=cpu"]}.get(strategy, [f"runtime={strategy}", "runtime.accelerator=cpu"])
    return [f"+variant={variant}", NOWHERE, *runtime, *BY_SIZE, *options]


def measure(variant: str, strategy: str, batch: int, options: Sequence[str], pairs: int, apart: Pair) -> Measured:
    """Steps of both pairs in turn, after two that do not count (in the first DDP builds its buckets anew)."""
    config = compose_config(options_of(variant, strategy, options))
    formula = traffic(parameters_of(config), config.runtime.strategy, 2, 1, is_bf16=False)
    kinds = ["all_reduced"] if strategy == "ddp" else ["gathered", "scattered"]
    together = Pair(variant, strategy, batch, options)
    try:
        for _ in range(2):
            together.ask("step"), apart.ask("step")
        counts = [answer["value"] for answer in together.ask("count")]
        assert counts[0] == counts[1], "both processes call the same collectives"
        times: dict[str, list[float]] = {"together": [], "apart": []}
        for number in range(pairs):
            for name, pair in [("together", together), ("apart", apart)][:: -1 if number % 2 else 1]:
                times[name].append(pair.seconds("step"))
        alone = [together.seconds("collectives") for _ in range(pairs + 1)][1:]
    finally:
        together.close()
    whole = {kind: getattr(formula, kind) for kind in kinds}
    return Measured(
        variant, strategy, batch, list(options), times["apart"], times["together"], alone, counts[0]["bytes"], whole, counts[0]["calls"]
    )  # fmt: skip


def measured_table(rows: Sequence[Measured]) -> list[str]:
    lines = [
        "| variant | strategy | clips of a process | step apart, s | step together, s | share of communication | from - to "
        "| collectives alone, s | MB all-reduced | gathered | scattered | collectives |",
        "|" + "---|" * 12,
    ]
    for row in rows:
        shares = [1 - apart / together for apart, together in zip(row.apart, row.together, strict=True)]
        sizes = " | ".join(
            f"{row.counted.get(kind, 0) / 1e6:,.1f}" for kind in ("all_reduced", "gathered", "scattered")
        )
        apart, together, alone = (statistics.median(times) for times in (row.apart, row.together, row.alone))
        lines.append(
            f"| {row.variant} | {row.strategy} | {row.batch} | {apart:.2f} | {together:.2f} | {row.share:.1%} "
            f"| {min(shares):.0%} - {max(shares):.0%} | {alone:.2f} | {sizes} | {sum(row.calls.values())} |"
        )
    off = max(abs(row.counted[kind] / size - 1) for row in rows for kind, size in row.formula.items())
    return [
        *lines,
        "",
        "One process: no collective is called, its share is 0. Counted bytes differ from those of surgrec/config/traffic.py by "
        f"{off:.2%} at most (FSDP2 pads what it cannot split evenly).",
    ]


# -- the command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--strategies", nargs="+", choices=["ddp", "fsdp"], default=["ddp", "fsdp"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4], help="clips of a process (default 1 4)")
    parser.add_argument("--pairs", type=int, default=7, help="timed pairs of steps (default 7)")
    parser.add_argument(
        "--set", nargs="+", default=["backbone=small"], help="options of the model (default backbone=small)"
    )
    parser.add_argument("--out", type=Path, help="folder for scaling_cpu_DATE.json and .md")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes
    _CONTEXT.set_forkserver_preload(["surgrec.config.build"])  # what this script imports, once for all of them
    load, rows = os.getloadavg()[0], []
    settings = list(itertools.product(options.variants, options.batch))
    with progress("measuring", len(settings) * len(options.strategies)) as advance:
        for variant, batch in settings:
            apart = Pair(variant, "single", batch, options.set)
            try:
                for strategy in options.strategies:
                    rows.append(measure(variant, strategy, batch, options.set, options.pairs, apart))
                    print("\n".join(measured_table(rows[-1:])), flush=True)
                    advance()
            finally:
                apart.close()
    report = (
        f"{datetime.date.today()}, {cpu_name()}, {os.cpu_count()} cores, torch {torch.__version__}, gloo over loopback, float32, "
        f"one thread a process, load before {load:.1f}; {' '.join(options.set)}, {options.pairs} pairs of steps"
    )
    text = "\n".join([f"# Communication of two processes\n\n{report}.\n", *measured_table(rows)]) + "\n"
    print(text)
    if options.out:
        content = {"run": report, "rows": [asdict(row) | {"share": row.share} for row in rows]}
        write_result(options.out / f"scaling_cpu_{datetime.date.today()}", text, content)


if __name__ == "__main__":
    main()
