"""What does one process hold under ddp, fsdp and hybrid sharding?

    python benchmarks/memory_per_rank.py --processes 4 --out benchmarks/results

In: nothing; a model with random weights and random clips. Out: a table, printed and written with date and hardware: for both objectives and
every strategy, of the process that holds most, the bytes of parameters, gradients, AdamW's moments and target encoder after a step,
counted over the tensors that it holds; what `surgrec train` estimates of them at its start; and the most memory that it had in use
during a step (on a GPU that torch allocated; on a CPU resident, above what it had before the model was built). Each world is started
with torchrun, each strategy in processes of its own. `--device cuda` needs a GPU for every process.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import write_result

from surgrec.config.build import build_masker, build_objective, build_runtime
from surgrec.config.compose import compose_config
from surgrec.config.device import device_memory
from surgrec.config.estimate import estimate
from surgrec.core.console import run_command
from surgrec.optim.optimizer import build_adamw

STEPS = 2  # the first makes the moments
PARTS = ("parameters", "gradients", "optimiser", "target_encoder")


def strategies(processes: int) -> dict[str, list[str]]:
    """Names to options; hybrid sharding in pairs."""
    named = {"ddp": ["runtime=ddp"], "fsdp": ["runtime=fsdp"]}
    if processes > 2:
        named[f"fsdp {processes // 2} x 2"] = ["runtime=fsdp", "runtime.shard_size=2"]
    return named


def held(tensors: Any) -> int:
    """Bytes of this process's parts."""
    parts = [getattr(tensor, "to_local", lambda tensor=tensor: tensor)() for tensor in tensors]
    return sum(part.numel() * part.element_size() for part in parts)


def resident(name: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most since the last `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def forget_peak(device: torch.device) -> None:
    """Start to look for the most memory in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def measure(arguments: list[str], batch: int, file: Path) -> None:
    """In one process of a world: build, step, count; the first one writes what the fullest of them holds."""
    before = resident("VmRSS")
    config = compose_config(arguments)
    runtime = build_runtime(config)
    objective = build_objective(config)
    learner = runtime.wrap_learner(objective.learner)
    runtime.place_frozen(objective.frozen)
    optimizer = build_adamw(objective.learner, (0.9, 0.95), 1e-8, 0.05, fused=True)
    masks = tuple(mask.to(runtime.device) for mask in build_masker(config).draw(np.arange(batch)))
    crop = config.augment.crop_pixels
    video = torch.randn(batch, 3, config.data.num_frames, crop, crop).to(runtime.device)
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        forget_peak(runtime.device)
        with runtime.fabric.autocast():
            targets = objective.targets(video, masks)
        outcome = learner(video, masks, targets)
        runtime.fabric.backward(outcome.loss)
        optimizer.step()
        objective.after_update(0)
    weights = list(objective.learner.parameters())
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    counted = [weights, [weight.grad for weight in weights], moments, list(objective.frozen.parameters())]
    row = dict(zip(PARTS, map(held, counted), strict=True))
    is_gpu = runtime.device.type == "cuda"
    row["peak"] = torch.cuda.max_memory_allocated(runtime.device) if is_gpu else resident("VmHWM") - before
    rows = runtime.gather(row)
    if runtime.is_first:
        expected = device_memory(config, estimate(config), runtime.world.size)
        fullest = {name: max(row[name] for row in rows) for name in row}
        file.write_text(json.dumps(fullest | {"estimated": sum(getattr(expected, name) for name in PARTS)}))
    runtime.close()


def start(options: argparse.Namespace, arguments: list[str], file: Path) -> dict[str, int]:
    """A world that measures."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.processes)]
    own = [str(Path(__file__).resolve()), "--batch", str(options.batch), "--in-world", str(file), *arguments]
    done = subprocess.run([sys.executable, *launcher, *own], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(file.read_text()))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; megabytes."""
    names = {
        "parameters": "parameters",
        "gradients": "gradients",
        "optimiser": "moments",
        "target_encoder": "target encoder",
    }
    head = ["objective", "strategy", *names.values(), "these four", "estimated", "most in use"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        numbers = [*(row[name] for name in names), sum(row[name] for name in names), row["estimated"], row["peak"]]
        lines.append(
            f"| {row['objective']} | {row['strategy']} | {' | '.join(f'{number / 1e6:,.1f}' for number in numbers)} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--processes", type=int, default=2, help="of a world")
    parser.add_argument("--batch", type=int, default=1, help="clips of a process")
    parser.add_argument("--out", type=Path, help="folder for memory_per_rank_DEVICE_DATE.md and .json")
    parser.add_argument("--note", default="", help="a remark for the result, such as what else ran")
    parser.add_argument("--in-world", type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "overrides", nargs="*", help="of the configuration, such as backbone=large; backbone=base where not given"
    )
    options = parser.parse_args()
    if options.in_world:
        measure(options.overrides, options.batch, options.in_world)
        return 0
    size = options.overrides or ["backbone=base", "augment.crop_pixels=112"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for objective in ("mae", "jepa"):
            for name, runtime in strategies(options.processes).items():
                batch = f"data.global_batch_size={options.batch * options.processes}"
                arguments = [f"+variant={objective}", "mix.manifests=[none.parquet]", batch, *runtime, *size]
                found = start(options, [*arguments, f"runtime.accelerator={options.device}"], Path(folder) / "row.json")
                rows.append({"objective": objective, "strategy": name, **found})
                print(f"{objective} {name}: measured", file=sys.stderr, flush=True)
    kind = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    date = datetime.date.today().isoformat()
    about = (
        f"Megabytes (10^6 bytes) of the fullest of {options.processes} processes, {options.batch} clips each, {' '.join(size)}. "
        f"{date}, {os.cpu_count()} cores, {kind}, torch {torch.__version__}. {options.note}"
    ).strip()
    print(f"{about}\n\n{table(rows)}")
    if options.out:
        stem = options.out / f"memory_per_rank_{options.device}_{date}"
        command = f"python benchmarks/memory_per_rank.py --device {options.device} --processes {options.processes} --batch {options.batch}"
        text = (
            f"# Memory of one process\n\n{about}\n\n{table(rows)}\n\n`{command} {' '.join(options.overrides)}`".rstrip()
            + "\n"
        )
        write_result(stem, text, {"about": about, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
