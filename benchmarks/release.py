"""What does it cost to have an encoder in memory: a release against the training state that peers share.

    python benchmarks/release.py --out benchmarks/results

In: nothing; ViT-B (or `--size`) with random weights. Out: a table, printed and written with date and hardware: seconds from the call to an
encoder that is ready, and how much memory the process holds more than before at its peak and at the end, each in a fresh process with all
imports done, medians of `--repeats`. Four ways take turns:

    release         `surgrec.load_model`: every file hashed and judged, weights read
    training state  `torch.load` of one pickle with model, optimiser and step, as peers save it, then the encoder's weights taken out
    the same, mapped    with `mmap=True`, which few know of
    encoder alone   `torch.load` of a pickle with nothing but the encoder's weights: the least that a pickle can cost

All files are read once before, so that the disk counts for none. The training state is what AdamW leaves after one step.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from report import write_result

from surgrec.config.build import build_objective, build_preprocess
from surgrec.config.compose import compose_config
from surgrec.core.console import progress, run_command
from surgrec.hub.head import head_of
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.hub.release import Release, write_release
from surgrec.optim.optimizer import build_adamw

WAYS = {
    "release": "encoder = load_model({folder!r} + '/release')[0]",
    "training state": "encoder = pickled({folder!r} + '/state.pt', False)",
    "training state, mapped": "encoder = pickled({folder!r} + '/state.pt', True)",
    "encoder alone, pickled": "encoder = pickled({folder!r} + '/encoder.pt', False)",
}
# A process of its own: imports, then one load. Memory is what the system counts for it: its peak since it began to load, and at the end.
PROGRAM = """
import gc, json, time
from pathlib import Path
import torch
from surgrec.hub.load import load_model
from surgrec.models.encoder import Encoder

def pickled(path, mapped):
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    prefix = "encoder." if "model" in state else ""
    weights = {{key.removeprefix(prefix): value for key, value in state.get("model", state).items() if key.startswith(prefix)}}
    with torch.device("meta"):
        encoder = Encoder(**json.loads(Path({folder!r} + "/release/config.json").read_text())["encoder"])
    encoder.load_state_dict(weights, strict=True, assign=True)
    return encoder.eval().requires_grad_(False)

def held(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024

Path("/proc/self/clear_refs").write_text("5")
before, began = held("VmRSS"), time.perf_counter()
{way}
total = sum(float(weight.sum()) for weight in encoder.parameters())  # every value is really there
seconds = time.perf_counter() - began
gc.collect()
print(json.dumps({{"seconds": seconds, "peak": held("VmHWM") - before, "end": held("VmRSS") - before, "sum": total}}))
"""


def write_files(variant: str, size: str, folder: Path) -> dict[str, int]:
    """A release, a training state after one update and the encoder alone, of the same weights; returns their bytes."""
    config = compose_config([f"+variant={variant}", f"backbone={size}", "mix.manifests=[none.parquet]"])
    objective = build_objective(config)
    optimizer = build_adamw(objective.learner, (0.9, 0.95), 1e-8, 0.05, fused=False)
    for parameter in objective.learner.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    encoder = objective.released_encoder
    preprocess = ClipPreprocess(config.data.num_frames, config.data.frame_interval_seconds, build_preprocess(config))
    write_release(Release(encoder, head_of(objective), preprocess, variant, variant, 1), folder / "release")
    frozen = (
        {f"target.{key}": value for key, value in objective.frozen.state_dict().items()} if objective.frozen else {}
    )
    weights = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    rest = {key: value for key, value in objective.learner.state_dict().items() if not key.startswith("encoder.")}
    online = {f"online.{key}": value for key, value in objective.learner.state_dict().items()} if frozen else {}
    torch.save({"model": weights | rest | online, "optimizer": optimizer.state_dict(), "step": 1}, folder / "state.pt")
    torch.save(encoder.state_dict(), folder / "encoder.pt")
    release = sum(path.stat().st_size for path in (folder / "release").iterdir())
    state = (folder / "state.pt").stat().st_size
    return dict(zip(WAYS, (release, state, state, (folder / "encoder.pt").stat().st_size), strict=True))


def measure(way: str, folder: Path) -> dict[str, Any]:
    """One load in a fresh process."""
    code = PROGRAM.format(way=WAYS[way].format(folder=str(folder)), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| way | file, MB | seconds (least to most) | peak, MB more | end, MB more |", "|---|---:|---:|---:|---:|"]
    for row in rows:
        lines.append(
            f"| {row['way']} | {row['bytes'] / 1e6:,.0f} | {row['seconds']:.2f} ({row['least']:.2f} to {row['most']:.2f}) "
            f"| {row['peak'] / 1e6:,.0f} | {row['end'] / 1e6:,.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=["mae", "jepa"], default="mae")
    parser.add_argument("--size", default="base", help="of the encoder: a name of surgrec/models/sizes.py")
    parser.add_argument("--repeats", type=int, default=7, help="fresh processes of each way")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's folder for temporary files)")
    parser.add_argument("--note", default="", help="a remark for the result, such as what else ran")
    parser.add_argument("--out", type=Path, help="folder for release_VARIANT_DATE.md and .json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        sizes = write_files(options.variant, options.size, Path(name))
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        with progress("loading", (options.repeats + 1) * len(WAYS)) as advance:
            for number in range(options.repeats + 1):
                for (
                    way,
                    found,
                ) in runs.items():  # in turns, so that a busy moment hits all; the first only warms the disk's cache
                    found += [measure(way, Path(name))] if number else (measure(way, Path(name)), [])[1]
                    advance()
    if len({round(run["sum"], 3) for found in runs.values() for run in found}) != 1:
        raise RuntimeError("the ways did not give the same weights")
    rows = []
    for way, found in runs.items():
        medians = {key: statistics.median(run[key] for run in found) for key in ("seconds", "peak", "end")}
        seconds = [run["seconds"] for run in found]
        rows.append(
            {"way": way, "bytes": sizes[way], **medians, "least": min(seconds), "most": max(seconds), "runs": found}
        )
    hardware = (
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}"
    )
    date = datetime.date.today().isoformat()
    head = f"`{options.variant}`, encoder of size {options.size}, medians of {options.repeats} fresh processes. {date}, {hardware}."
    head += f" {options.note}" if options.note else ""
    ours, theirs = rows[0], rows[1]
    verdict = (
        f"A release is there in {ours['seconds'] / theirs['seconds']:.2f} of the time and with {ours['peak'] / theirs['peak']:.2f} of the "
        "peak memory of the training state, verification included."
    )
    print(f"{head}\n\n{table(rows)}\n\n{verdict}")
    if options.out:
        stem = options.out / f"release_{options.variant}_{date}"
        command = f"`python benchmarks/release.py --variant {options.variant} --size {options.size} --repeats {options.repeats}`"
        text = (
            f"# Loading a release and loading a training state\n\n{head}\n\n{table(rows)}\n\n{verdict}\n\n{command}\n"
        )
        write_result(stem, text, {"about": head, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
