"""Speed and memory of a whole training step, against the same step made of the layers of Hugging Face transformers.

    python benchmarks/speed.py --out benchmarks/results                                  # every row, about half an hour on 2 cores
    python benchmarks/speed.py --rows mae-base --precision bf16 --pairs 7                # some rows
    python benchmarks/speed.py --device cuda --batch 64 128 256 --profile --out benchmarks/results            # on a GPU, then the same
    python benchmarks/speed.py --device cuda --batch 64 128 256 --profile --out benchmarks/results --compile  # through torch.compile

A step is targets, forward, backward, AdamW and, for JEPA, the target encoder's average, on given clips and masks: no footage is read.
Both sides have the same weights (ours are the peer's, through `hub.from_transformers`), clips, masks, batch, optimiser (AdamW, fused)
and allocator, and before anything is timed their first losses must agree (but for the dual rows, whose masks differ on purpose). Each
side lives in a process of its own; they step in turn, A B B A, so that a drift of the machine meets both, and the ratio is taken pair by
pair. `surgrec train` has the C library keep freed memory (surgrec/core/memory.py); here both sides do, or, with `--allocator ours`,
only ours, which is what a user of either meets.

What either side is: benchmarks/speed_sides.py.

Columns: clips a second; useful operations (`surgrec/models/flops.py`: matrix products and attention of the tokens that are needed by
that side's masks, nothing that is computed twice); their rate over the rate of a large matrix product, measured between the
steps; and peak memory of one more step above what lies there before it (interpreter, parameters, optimiser), by the system's own count on
a CPU and by torch's on a GPU.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from report import cpu_name, write_result
from speed_sides import FRAMES, ROWS, SMALL, Row, ours, peer, useful_flops

from surgrec.core.memory import keep_freed_memory

# -- a side in its process


def work(spec: dict[str, Any]) -> None:
    """Build one side, then make a step for every line of standard input and answer with its time, loss and peak memory."""
    row, device = Row(**spec["row"]), spec["device"]
    is_ours, is_cuda, is_bf16 = spec["side"] == "ours", device == "cuda", spec["precision"] == "bf16"
    if not is_cuda and (is_ours or spec["allocator"] == "both"):
        keep_freed_memory()
    if is_cuda and not is_bf16:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    loss_of, parameters, follow = (ours if is_ours else peer)(row, device, spec["compile"])
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    masker, video = row.masker(spec["is_dual"]), torch.randn(row.batch, 3, FRAMES, row.side, row.side).to(device)
    first = 0
    for line in sys.stdin:
        profiler = kernel_profiler(is_cuda) if line.strip() == "profile" else nullcontext()
        masks = tuple(mask.to(torch.device(device)) for mask in masker.draw(range(first, first + row.batch)))
        first += row.batch
        floor = memory_floor(is_cuda) if line.strip() == "memory" else 0
        start = time.perf_counter()
        with profiler:
            with torch.autocast(device, torch.bfloat16, enabled=is_bf16):
                loss = loss_of(video, masks)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            follow()
            value = float(loss.detach())  # waits for a GPU
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "loss": value}
        if floor:
            answer["bytes"] = memory_peak(is_cuda) - floor
        if isinstance(profiler, torch.profiler.profile):
            answer["kernels"] = largest_kernels(profiler, is_cuda)
        print(json.dumps(answer), flush=True)


def kernel_profiler(is_cuda: bool) -> torch.profiler.profile:
    activity = torch.profiler.ProfilerActivity
    return torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if is_cuda else [])])


def largest_kernels(profiler: torch.profiler.profile, is_cuda: bool) -> dict[str, float]:
    """Shares of the step's time by operation, those above 1 %."""
    events = profiler.key_averages()
    times = {event.key: event.self_device_time_total if is_cuda else event.self_cpu_time_total for event in events}
    total = sum(times.values())
    return {
        name: time / total for name, time in sorted(times.items(), key=lambda item: -item[1]) if time > 0.01 * total
    }


def memory_floor(is_cuda: bool) -> int:
    """Bytes in use before a step; from here on the peak is counted."""
    if is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is resident now
    return _status("VmRSS")


def memory_peak(is_cuda: bool) -> int:
    return torch.cuda.max_memory_allocated() if is_cuda else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class SideError(Exception):
    """A side that did not live to answer."""


class Side:
    """A process that steps when told to."""

    def __init__(self, side: str, row: Row, options: argparse.Namespace, precision: str) -> None:
        is_dual = row.is_dual and side == "ours"
        spec = {
            "side": side, "row": asdict(row), "device": options.device, "precision": precision, "compile": options.compile,
            "is_dual": is_dual, "allocator": options.allocator,
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", __file__, "--worker", json.dumps(spec)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.steps: list[dict[str, Any]] = []

    def step(self, kind: str = "step") -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SideError(f"a side ended with status {self.process.wait()}, most likely for want of memory")
        self.steps.append(json.loads(answer))
        return self.steps[-1]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def matrix_rate(device: str, precision: str, side: int | None) -> float:
    """Operations a second of one product of square matrices: 4096 x 4096 x 4096 (8192 on a GPU) where no `side` is given."""
    side = side or (8192 if device == "cuda" else 4096)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    a @ b
    repeats = 20 if device == "cuda" else 1
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    if device == "cuda":
        torch.cuda.synchronize()
    return repeats * 2 * side**3 / (time.perf_counter() - start)


def measure(row: Row, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: medians of both sides over the pairs that follow a warm-up pair, and of the pairs' ratios."""
    sides = {name: Side(name, row, options, precision) for name in ("peer", "ours")}
    rates = []
    for pair in range(options.pairs + options.warmup):
        for name in ("peer", "ours") if pair % 2 else ("ours", "peer"):
            sides[name].step()
        rates.append(matrix_rate(options.device, precision, options.matrix_side))
    # by itself, since counting from a floor gives all kept memory back to the system first
    memory = {name: side.step("memory")["bytes"] / 1e9 for name, side in sides.items()}
    kernels = {name: side.step("profile")["kernels"] for name, side in sides.items()} if options.profile else {}
    for side in sides.values():
        side.close()
    first = [side.steps[0]["loss"] for side in sides.values()]
    if not row.is_dual and abs(first[0] - first[1]) > (2e-2 if precision == "bf16" else 1e-4) * abs(first[0]):
        raise SystemExit(
            f"{row.name} {precision}: the first losses differ, {first[0]} and {first[1]}; nothing is compared"
        )
    timed = {name: side.steps[options.warmup : options.warmup + options.pairs] for name, side in sides.items()}
    rate, flops = statistics.median(rates), {"ours": useful_flops(row, row.is_dual), "peer": useful_flops(row, False)}
    result: dict[str, Any] = {
        "row": row.name, "precision": precision, "batch": row.batch, "pairs": options.pairs, "compile": options.compile,
        "first_losses": first, "allocator": options.allocator, "useful_gflops_per_clip": flops["ours"] / 1e9,
        "matrix_gflops_per_second": rate / 1e9,
        "speedup": statistics.median(
            theirs["seconds"] / mine["seconds"] for theirs, mine in zip(timed["peer"], timed["ours"], strict=True)
        ),
    }  # fmt: skip
    for name, steps in timed.items():
        seconds = statistics.median(step["seconds"] for step in steps)
        result[name] = {
            "seconds": [step["seconds"] for step in steps],
            "clips_per_second": row.batch / seconds,
            "share_of_matrix_rate": flops[name] * row.batch / seconds / rate,
            "peak_gigabytes": memory[name],
        }
        if kernels:
            result[name]["kernels"] = kernels[name]
    result["memory_ratio"] = result["ours"]["peak_gigabytes"] / result["peer"]["peak_gigabytes"]
    return result


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| row | precision | batch | useful GFLOP a clip | clips/s ours | clips/s peer | speed-up | share of matrix rate ours | peer "
        "| peak GB ours | peer | memory ratio |",
        "|" + "---|" * 12,
    ]
    lines += [
        f"| {r['row']} | {r['precision']} | {r['batch']} | {r['useful_gflops_per_clip']:.0f} | {r['ours']['clips_per_second']:.3f} "
        f"| {r['peer']['clips_per_second']:.3f} | {r['speedup']:.2f} | {r['ours']['share_of_matrix_rate']:.0%} "
        f"| {r['peer']['share_of_matrix_rate']:.0%} | {r['ours']['peak_gigabytes']:.2f} | {r['peer']['peak_gigabytes']:.2f} "
        f"| {r['memory_ratio']:.2f} |"
        for r in results
    ]
    rates = {(r["row"], r["batch"], r["precision"]): r["ours"]["clips_per_second"] for r in results}
    notes = [
        f"- {name}, batch {batch}: bf16 is {rates[name, batch, 'bf16'] / rates[name, batch, 'fp32']:.2f} times our fp32"
        for name, batch, precision in rates
        if precision == "fp32" and (name, batch, "bf16") in rates
    ]
    notes += [
        f"- {r['row']} {r['precision']}, batch {r['batch']}, where our step's time goes: "
        + ", ".join(f"{kernel} {share:.0%}" for kernel, share in r["ours"]["kernels"].items())
        for r in results
        if "kernels" in r["ours"]
    ]
    return "\n".join([*lines, "", *notes]) + "\n"


def hardware(device: str) -> str:
    """The processor or GPU, its threads, and the versions that matter."""
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    import transformers

    return (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=[row.name for row in ROWS + SMALL], default=[row.name for row in ROWS]
    )
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--pairs", type=int, default=5, help="timed pairs of steps (default 5)")
    parser.add_argument("--warmup", type=int, default=1, help="pairs before them (default 1)")
    parser.add_argument("--batch", type=int, nargs="+", help="clips a step, one row for each, instead of the row's own")
    parser.add_argument("--matrix-side", type=int, help="of the matrix product (default 4096, on a GPU 8192)")
    parser.add_argument("--profile", action="store_true", help="after the timed pairs, where a step's time goes")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--allocator", choices=["both", "ours"], default="both", help="which side keeps freed memory, on a CPU"
    )
    parser.add_argument("--compile", action="store_true", help="both sides through torch.compile")
    parser.add_argument("--out", type=Path, help="folder for speed_DEVICE_DATE.json and .md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    results, load = [], os.getloadavg()[0]
    rows = [row for row in ROWS + SMALL if row.name in options.rows]
    for row, precision in itertools.product(rows, options.precision):
        for batch in options.batch or [row.batch]:
            try:
                results.append(measure(replace(row, batch=batch), precision, options))
            except SideError as error:
                print(f"{row.name} {precision}, batch {batch}: {error}; left out\n", flush=True)
                continue
            print(table(results[-1:]), flush=True)
    report = f"{datetime.date.today()}, {hardware(options.device)}, load before {load:.1f}, freed memory kept by {options.allocator}"
    print(f"{report}\n\n{table(results)}")
    if options.out:
        marks = ["speed", options.device, *(["compiled"] if options.compile else [])]
        marks += ["default_peer"] if options.allocator == "ours" else []
        stem = options.out / "_".join([*marks, str(datetime.date.today())])
        text = f"# Training steps against transformers\n\n{report}\n\n{table(results)}"
        write_result(stem, text, {"run": report, "rows": results})


if __name__ == "__main__":
    main()
