"""What the addressed sampler costs as a corpus grows: opening, compiling, memory of a worker, draws a second.

    python benchmarks/sampler.py --out benchmarks/results

In: nothing; manifests are generated in a temporary folder (`--folder`, to choose the disk; 10 million videos take about 12 GB). Out: a
table, printed and written with date and hardware.

* Compile: the first opening of a manifest by a mixture, in a process of its own: what is checked, sorted and written. Its peak memory.
* Open: every later opening, as each rank does, in a process of its own: manifest, mixture and sampler.
* Draws: batches of 65,536 addressed draws on one core, source, video and start, at the beginning of a run and at its billionth clip.
  One process has the samplers of all sizes open and takes a batch of each in turn, so that whatever slows the machine slows all; how the
  cost grows is the median over rounds of the batch's seconds over those of the smallest corpus in the same round.
* Memory of one more worker: processes of the loader's kind that have drawn 200,000 clips and asked for their files; the proportional set
  size of all of them together, with three of them less with one, halved; and from that the same of workers that hold no reader, which
  is Python and the imports of this script. Pages of the mapped files apart: they are the page cache's, one copy for all processes of the
  machine, and given back where memory is short.
* Peers: `torch.multinomial` over all videos (what `WeightedRandomSampler` calls) and `numpy.random.Generator.choice(p=)`, which draw a
  video, no start, and nothing that can be asked for by position.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from report import write_result

from surgrec.config.build import DataPath, build_data
from surgrec.config.compose import compose_config
from surgrec.config.schema import Config
from surgrec.core.console import run_command
from surgrec.corpus.manifest import SCHEMA

SIZES = (10_000, 1_000_000, 10_000_000)
POLICIES = {
    "temperature": [],
    "hierarchical": ["mix=hierarchical"],
    "capped": ["mix.max_passes=4000", "trainer.steps=1000"],
}
GOAL_OPEN_SECONDS, GOAL_MEGABYTES, GOAL_DRAWS, GOAL_GROWTH = 1.0, 20.0, 200_000, 1.5
NUM_SOURCES, BATCH, REPEATS, ROUNDS = 34, 1 << 16, 5, 41
_ROWS_AT_ONCE = 1_000_000


def write_manifest(path: Path, number: int) -> None:
    """Videos of a long tail of sources, minutes to hours long, one to three usable intervals each."""
    chance = np.random.default_rng(0)
    counts = np.arange(1, NUM_SOURCES + 1) ** -1.2
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for first in range(0, number, _ROWS_AT_ONCE):
            size = min(_ROWS_AT_ONCE, number - first)
            writer.write_table(_rows(chance, first, size, counts / counts.sum()))


def _rows(chance: np.random.Generator, first: int, size: int, shares: np.ndarray) -> pa.Table:
    number = pa.array(np.arange(first, first + size)).cast(pa.string())
    source = chance.choice(NUM_SOURCES, size, p=shares)
    digest = pa.array(chance.integers(1 << 60, 1 << 62, size)).cast(pa.string())
    seconds = chance.lognormal(6.0, 1.0, size)
    per_video = chance.integers(1, 4, size)
    offsets = np.concatenate([[0], np.cumsum(per_video)])
    length = np.repeat(seconds / per_video, per_video)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], per_video)
    spans = pa.StructArray.from_arrays(
        [pa.array(place * length), pa.array((place + 0.9) * length)], ["start_seconds", "end_seconds"]
    )

    def of_source(names: list[str | None]) -> pa.Array:
        return pa.array(names).take(pa.array(source))

    def constant(value: object) -> pa.Array:
        return pa.array([value]).take(pa.array(np.zeros(size, dtype=np.int64)))

    names = [f"source_{index:02d}" for index in range(NUM_SOURCES)]
    domains = ["laparoscopy", "endoscopy", "cataract", "robotic"]
    columns = {
        "video_id": pc.binary_join_element_wise(of_source(names), digest, number, "_"),
        "source": of_source(names),
        "domain": of_source([domains[index % 4] for index in range(NUM_SOURCES)]),
        "procedure": of_source([f"procedure_{index % 11}" for index in range(NUM_SOURCES)]),
        "group_id": number,
        "root": constant("videos/prepared"),
        "path": pc.binary_join_element_wise("case", digest, pc.binary_join_element_wise(number, "mp4", "."), "/"),
        "sha256": pc.binary_join_element_wise(digest, digest, digest, number, ""),
        "duration_seconds": pa.array(seconds),
        "usable": pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), spans),
    }
    constants = {
        "num_frames": 9000,
        "fps": 25.0,
        "width": 426,
        "height": 320,
        "codec": "h264",
        "licence": None,
        "schema_version": 1,
    }
    columns |= {name: constant(value) for name, value in constants.items()}
    return pa.table(
        [columns.get(name, pa.nulls(size)).cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA
    )


# -- one measurement, each in a process of its own


def build(manifest: Path, policy: str) -> DataPath:
    """Everything between the manifest and clips, as `surgrec train` builds it."""
    return build_data(configured(manifest, policy))


def configured(manifest: Path, policy: str) -> Config:
    """The run."""
    runs = f"paths.runs={manifest.parent / 'runs'}"
    return compose_config(["+variant=mae", f"mix.manifests=[{manifest}]", runs, *POLICIES[policy]])


def opened(manifest: Path, policy: str) -> dict[str, float]:
    """Seconds of opening; the first time, of compiling."""
    config = configured(manifest, policy)
    began = time.perf_counter()
    build_data(config)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def drawn(manifests: Sequence[Path], policy: str, rounds: int) -> list[dict[str, float]]:
    """Addressed draws a second at the beginning of a run and far into it, of every manifest, a batch of each in turn; medians."""
    samplers = [build(manifest, policy).sampler for manifest in manifests]
    for sampler in samplers:
        table = sampler.mixture.draws
        for values in (table.videos["sum"], table.guide, sampler._windows["sum"]):
            assert np.isfinite(values.max())  # touches every page, once
    found: list[dict[str, float]] = [{} for _ in samplers]
    for name, first in (("begin", 0), ("end", 10**9)):
        seconds = np.empty((rounds, len(samplers)))
        for turn in range(rounds):
            batch = np.arange(first + turn * BATCH, first + (turn + 1) * BATCH)
            for number, sampler in enumerate(samplers):
                seconds[turn, number] = _seconds(partial(sampler.draw, batch))
        for number, one in enumerate(found):
            one[name] = BATCH / statistics.median(seconds[:, number])
            one[f"growth_{name}"] = statistics.median(seconds[:, number] / seconds[:, 0])
    return found


def peers(manifest: Path, policy: str) -> dict[str, float]:
    """Videos a second of samplers that hold all weights in memory."""
    mixture = build(manifest, policy).mixture
    weights = np.diff(mixture.draws.videos["sum"])
    shares = np.repeat(mixture.strata.shares[0], np.diff(mixture.draws.first_video))
    totals = np.add.reduceat(weights, mixture.draws.first_video[:-1])
    weights = shares * weights / np.repeat(totals, np.diff(mixture.draws.first_video))
    weights /= weights.sum()
    tensor, chance = torch.from_numpy(weights), np.random.default_rng(0)
    torch.set_num_threads(1)
    calls: dict[str, Callable[[], object]] = {
        "torch.multinomial": lambda: torch.multinomial(tensor, BATCH, replacement=True),
        "numpy choice": lambda: chance.choice(len(weights), BATCH, p=weights),
    }
    return {name: BATCH / statistics.median(_seconds(call) for _ in range(REPEATS)) for name, call in calls.items()}


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def workers(manifest: Path, policy: str) -> dict[str, float]:
    """Megabytes of one more worker, with a reader and without one: its own memory, and its part of the pages of files."""
    reader = build(manifest, policy).reader
    own, files = (more - less for more, less in zip(_one_more(reader), _one_more(None), strict=True))
    return {"own": own, "files": files}


def _one_more(reader: Any) -> tuple[float, float]:
    one, three = _memory_of(reader, 1), _memory_of(reader, 3)
    return (three[0] - one[0]) / 2, (three[1] - one[1]) / 2


def _memory_of(reader: Any, number: int) -> tuple[float, float]:
    """Megabytes of so many workers together, once each has drawn: their own, and of files that are mapped."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["surgrec.config.build"])  # what this script imports, once for all of them
    pipes, processes = [], []
    for index in range(number):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(reader, index, theirs), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    parts = [_proportional_megabytes(int(process.pid or 0)) for process in processes]
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send("end")
        process.join()
    return sum(own for own, _ in parts), sum(files for _, files in parts)


def work(reader: Any, index: int, pipe: Connection) -> None:
    """What a worker does between two clips: it draws, and asks where the file lies."""
    if reader is not None:
        for turn in range(20):
            first = 10_000 * (20 * index + turn)
            rows = reader.sampler.draw(np.arange(first, first + 10_000)).rows
            for row in rows[:50].tolist():
                reader.manifest.path_of(row), reader.manifest.id_of(row)
    pipe.send("ready")
    pipe.recv()


def _proportional_megabytes(pid: int) -> tuple[float, float]:
    """Proportional set size: anonymous memory, and pages of files, which the system takes back when it needs them."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    sizes = {words[0]: int(words[1]) / 1024 for words in lines if words[0].startswith("Pss")}
    return sizes["Pss_Anon:"], sizes["Pss_File:"] + sizes["Pss_Shmem:"]


MEASURES = {"open": opened, "peers": peers, "workers": workers}


def measure(name: str, manifest: Path, policy: str = "temperature") -> dict[str, float]:
    """One of `MEASURES`, of a manifest, in a process of its own."""
    return dict(_measured(name, policy, [manifest]))


def _measured(name: str, policy: str, manifests: Sequence[Path], rounds: int = ROUNDS) -> Any:
    command = [sys.executable, __file__, "--rounds", str(rounds), "--measure", name, policy, *map(str, manifests)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


# -- report


def report(results: list[dict[str, Any]]) -> str:
    """The table, with what was asked for."""
    first, last = results[0], results[-1]
    growth = {policy: values["growth_begin"] for policy, values in last["draws"].items()}
    lines = [
        "# Sampler",
        "",
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, torch {torch.__version__}. One core draws. Other work ran beside it.",
        "",
        f"Goals: open under {GOAL_OPEN_SECONDS:g} s, at most {GOAL_MEGABYTES:g} MB for one more worker, {GOAL_DRAWS:,} addressed draws a "
        f"second and core, cost of a draw growing at most {GOAL_GROWTH:g} times.",
        "",
        "| videos | compile s (once) | its peak MB | open s | a reader adds to a worker, MB (pages of files) "
        "| draws/s, begin | at clip 10^9 |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results:
        draws, memory = one["draws"]["temperature"], one["workers"]
        lines.append(
            f"| {one['videos']:,} | {one['compile']['seconds']:.2f} | {one['compile']['peak_megabytes']:,.0f} | {one['open']:.3f} | "
            f"{memory['own']:.1f} ({memory['files']:.1f}) | {draws['begin']:,.0f} | {draws['end']:,.0f} |"
        )
    lines += [
        "",
        "Draws a second of other policies, and of peers (a video alone, not addressed, all weights in memory):",
        "",
    ]
    lines += ["| videos | hierarchical | capped | torch.multinomial | numpy choice(p=) |", "|---:|---:|---:|---:|---:|"]
    for one in results:
        row = [one["draws"]["hierarchical"]["begin"], one["draws"]["capped"]["begin"], *one["peers"].values()]
        lines.append(f"| {one['videos']:,} | " + " | ".join(f"{value:,.0f}" for value in row) + " |")
    told = ", ".join(f"{policy} {value:.2f}" for policy, value in growth.items())
    lines += [
        "",
        f"Cost of a draw, {last['videos']:,} videos over {first['videos']:,}, a batch of each in turn: {told}.",
        "",
        "`python benchmarks/sampler.py`",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results; none are written without it")
    parser.add_argument("--folder", type=Path, help="where manifests are generated (default: a temporary folder)")
    parser.add_argument("--videos", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--opens", type=int, default=REPEATS, help="of each manifest; the median is told (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="batches of draws of each (default %(default)s)")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, policy, *manifests = options.measure
        paths = [Path(manifest) for manifest in manifests]
        if name == "draw":
            print(json.dumps(drawn(paths, policy, options.rounds)))
        elif name == "compile":
            print(json.dumps([opened(path, policy) for path in paths]))
        else:
            print(json.dumps(MEASURES[name](paths[0], policy)))
        return 0
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        manifests = [Path(folder) / f"{number}" / "manifest.parquet" for number in sorted(options.videos)]
        for number, manifest in zip(sorted(options.videos), manifests, strict=True):
            manifest.parent.mkdir()
            write_manifest(manifest, number)
            one: dict[str, Any] = {"videos": number, "compile": measure("open", manifest), "draws": {}}
            one["open"] = statistics.median(measure("open", manifest)["seconds"] for _ in range(options.opens))
            one["workers"] = measure("workers", manifest)
            one["peers"] = measure("peers", manifest)
            results.append(one)
            print(json.dumps(one), flush=True)
        for number, policy in enumerate(POLICIES):
            if number > 0:  # the first has been compiled above
                _measured("compile", policy, manifests)  # so that the process that draws only opens
            drawn_by_all = _measured("draw", policy, manifests, options.rounds)
            for one, values in zip(results, drawn_by_all, strict=True):
                one["draws"][policy] = values
            print(json.dumps({policy: [one["draws"][policy] for one in results]}), flush=True)
    text = report(results)
    print(text)
    if options.out:
        write_result(options.out / f"sampler_{datetime.date.today()}", text, results)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
