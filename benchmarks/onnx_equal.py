"""Does the ONNX file of a large encoder give the features of its release, and can it be read?

    python benchmarks/onnx_equal.py --rows base:mae large:jepa huge:mae:4:112 --out benchmarks/results

In: nothing; encoders with random weights, a row each: SIZE:VARIANT, and FRAMES and PIXELS where they are not 16 and 224. Out: a table,
printed and written with date and hardware. For each row a release is written, converted as `surgrec convert` does (which refuses a
deviation above its tolerance), and the file is read again from its final folder, in a fresh process that has onnxruntime and never
imports torch. What it says of one clip of random values is compared with the release's own tokens in float32:

    of the largest   the largest difference, over the largest value of the release or 1: what `surgrec convert` limits to 1e-5
    absolute         the largest difference as it is
    typical          the root mean square of differences, over that of the release's values
    torch, onnx      the largest difference of either from the same encoder in float64, over its largest value or 1: what rounding costs

`--gains 1 3` measures each row with all matrices of blocks as they are, and times 3: random weights are small, and sharper attention and a
larger residual stream make more of a rounding error. It is no substitute for trained weights.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import machine, write_result

from surgrec.config.build import build_encoder, build_preprocess
from surgrec.config.compose import compose_config
from surgrec.core.console import progress, run_command
from surgrec.core.errors import UserError
from surgrec.hub.converted import FACTS_FILE, TOLERANCE, read_source, write_converted
from surgrec.hub.load import load_model
from surgrec.hub.onnx_file import ONNX, ONNX_FILE
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.hub.release import Release, write_release
from surgrec.models.encoder import Encoder

# A process of its own: what a user of the file has. Its peak memory is what the system counts.
PROGRAM = """
import json, sys, time
import numpy as np, onnxruntime
began = time.perf_counter()
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
loaded = time.perf_counter()
(tokens,) = session.run(None, {"video": np.load(sys.argv[2])})
done = time.perf_counter()
np.save(sys.argv[3], tokens)
assert "torch" not in sys.modules
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
print(json.dumps({"load_seconds": loaded - began, "run_seconds": done - loaded, "peak_bytes": peak}))
"""


@dataclass(frozen=True)
class Row:
    """What one line of the table is of."""

    size: str
    variant: str
    frames: int = 16
    pixels: int = 224

    @classmethod
    def parse(cls, text: str) -> Row:
        """SIZE:VARIANT or SIZE:VARIANT:FRAMES:PIXELS."""
        parts = text.split(":")
        if len(parts) not in (2, 4) or not all(part.isdigit() for part in parts[2:]):
            raise UserError(f"--rows {text} is not SIZE:VARIANT or SIZE:VARIANT:FRAMES:PIXELS, such as huge:mae:4:112")
        return cls(parts[0], parts[1], *map(int, parts[2:]))


def build(row: Row, gain: float) -> tuple[Encoder, ClipPreprocess]:
    """The variant's encoder at this size, drawn with a fixed seed, its blocks' matrices times `gain`."""
    clip = [f"data.num_frames={row.frames}", f"augment.crop_pixels={row.pixels}"]
    clip += [f"data.short_side_pixels={row.pixels}"]
    config = compose_config([f"+variant={row.variant}", f"backbone={row.size}", "mix.manifests=[none.parquet]", *clip])
    torch.manual_seed(0)
    encoder = build_encoder(config).eval().requires_grad_(False)
    for name, weight in encoder.named_parameters():
        if name.startswith("blocks.") and weight.ndim == 2:
            weight.mul_(gain)
    return encoder, ClipPreprocess(row.frames, config.data.frame_interval_seconds, build_preprocess(config))


def measure(row: Row, gain: float, folder: Path, has_reference: bool) -> dict[str, Any]:
    """Write, convert, read again, compare; see the module's docstring."""
    encoder, preprocess = build(row, gain)
    num_parameters = sum(weight.numel() for weight in encoder.parameters())
    write_release(Release(encoder, None, preprocess, row.variant, row.variant, 1), folder / "release")
    del encoder
    began = time.perf_counter()
    write_converted(ONNX, read_source(folder / "release"), folder / "onnx")
    seconds = time.perf_counter() - began
    files = {path.name: path.stat().st_size for path in sorted((folder / "onnx").glob("*.onnx*"))}
    video = torch.randn(1, 3, row.frames, row.pixels, row.pixels, generator=torch.Generator().manual_seed(1))
    np.save(folder / "video.npy", video.numpy())
    there = [folder / "onnx" / ONNX_FILE, folder / "video.npy", folder / "tokens.npy"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *map(str, there)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the file of {row} cannot be run: {done.stderr[-2000:]}")
    found = torch.from_numpy(np.load(folder / "tokens.npy"))
    with torch.inference_mode():
        encoder, _ = load_model(folder / "release")
        ours = encoder(video)
        exact = encoder.double()(video.double()) if has_reference else None
    largest = float(ours.abs().max().clamp(min=1))
    result = {
        "parameters": num_parameters,
        "files": files,
        "convert_seconds": seconds,
        "said_by_convert": json.loads((folder / "onnx" / FACTS_FILE).read_text())["largest_deviation"],
        "of_the_largest": float((found - ours).abs().max()) / largest,
        "absolute": float((found - ours).abs().max()),
        "typical": float((found - ours).square().mean().sqrt() / ours.square().mean().sqrt()),
        "largest_value": float(ours.abs().max()),
        "session": json.loads(done.stdout.splitlines()[-1]),
    }
    if exact is not None:
        result["torch"] = float((ours - exact).abs().max()) / largest
        result["onnx"] = float((found - exact).abs().max()) / largest
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| encoder | clip | parameters, M | files, MB | of the largest | absolute | typical | torch | onnx | load and run, s | peak, GB |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        files = ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in row["files"].items())
        rounding = [f"{row[name]:.1e}" if name in row else "" for name in ("torch", "onnx")]
        gain = f", matrices x {row['gain']:g}" if row["gain"] != 1 else ""
        session = row["session"]
        lines.append(
            f"| {row['size']} ({row['variant']}){gain} | {row['frames']} x {row['pixels']}² | {row['parameters'] / 1e6:,.0f} | {files} "
            f"| {row['of_the_largest']:.1e} | {row['absolute']:.1e} | {row['typical']:.1e} | {rounding[0]} | {rounding[1]} "
            f"| {session['load_seconds']:.1f} + {session['run_seconds']:.1f} | {session['peak_bytes'] / 1e9:.1f} |"
        )
    return "\n".join(lines)


def report(rows: list[dict[str, Any]], note: str, command: str, out: Path | None) -> str:
    """What is known after these rows, as Markdown; written too where `out` is a folder."""
    date = datetime.date.today().isoformat()
    version = importlib.metadata.version("onnxruntime")
    head = f"Random weights, one clip of random values, float32, onnxruntime {version}. {date}, {machine('cpu')}. {note}".strip()
    worst, absolute = (max(row[name] for row in rows) for name in ("of_the_largest", "absolute"))
    verdict = (
        f"The largest difference of a value, over the largest value of the release's features or 1, is {worst:.1e} at most; "
        f"`surgrec convert` refuses one above {TOLERANCE:g}. As it is, the largest difference is {absolute:.1e}."
    )
    text = f"{head}\n\n{table(rows)}\n\n{verdict}"
    if out:
        page = f"# ONNX files of large encoders\n\n{text}\n\n`{command}`\n"
        write_result(out / f"onnx_equal_{date}", page, {"about": head, "rows": rows})
    return text


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=["base:mae", "large:jepa", "huge:mae:4:112"], metavar="ROW")
    parser.add_argument("--gains", nargs="+", type=float, default=[1.0], help="factors of the matrices of blocks")
    parser.add_argument("--no-reference", action="store_true", help="without float64, which costs memory and time")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's folder for temporary files)")
    parser.add_argument("--note", default="", help="a remark for the result, such as what else ran")
    parser.add_argument("--out", type=Path, help="folder for onnx_equal_DATE.md and .json, written after each row")
    options = parser.parse_args()
    asked = [Row.parse(text) for text in options.rows]
    command = f"python benchmarks/onnx_equal.py --rows {' '.join(options.rows)}"
    command += f" --gains {' '.join(f'{gain:g}' for gain in options.gains)}" if options.gains != [1] else ""
    command += " --no-reference" if options.no_reference else ""
    rows: list[dict[str, Any]] = []
    text = ""
    with progress("encoders", len(asked) * len(options.gains)) as advance:
        for row, gain in itertools.product(asked, options.gains):
            with tempfile.TemporaryDirectory(dir=options.folder) as name:
                found = measure(row, gain, Path(name), not options.no_reference)
            rows.append(vars(row) | {"gain": gain} | found)
            text = report(rows, options.note, command, options.out)
            advance()
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
