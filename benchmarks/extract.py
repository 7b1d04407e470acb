"""What does it cost to extract features of a whole operation: the plain loop against `surgrec extract`?

    python benchmarks/extract.py --folder FILES --out benchmarks/results                        # a synthesised scene, 20 minutes
    python benchmarks/extract.py --folder FILES --out benchmarks/results --video VIDEO.mp4      # other footage, looped

In: a video of 720p (or none: a scene of `surgrec synthesize` is rendered). Out: a table, printed and written with date and hardware.

The footage is looped at 1280 x 720 and 25 frames a second with a keyframe every 250 frames, which is what recorders write. Windows of 16
frames, 0.16 s apart (SurgRec-MAE), begin every second; the encoder is a VideoMAE of the given size with random weights, the same on both
sides, and both compute in the same precision.

The plain loop is what one writes first: decord's reader is opened once, each window's frames are asked for, brought to size with our
preprocessing, and go through `VideoMAEModel` of transformers, one window after the other. It is slow; so it is measured on some of the
windows, spread evenly over the video, and multiplied. Ours is `Extractor` with `run_work`, as the command runs it, over all windows.

Before anything is measured, the features of both are compared. Decoding alone is measured for both as well: all frames that all windows
need, for the plain loop window by window, for ours once, with their preparation and without.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from decode import FPS, write_original
from report import cpu_name, goal_lines, write_result

import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)
from surgrec.core.console import run_command
from surgrec.core.cores import usable_cores
from surgrec.core.errors import UserError
from surgrec.core.memory import keep_freed_memory
from surgrec.data.preprocess import PreprocessSpec
from surgrec.features.extraction import Outcome, origin_of, plan_work, run_work
from surgrec.features.extractor import Extractor
from surgrec.features.frames import FrameStream
from surgrec.features.layers import autocast
from surgrec.features.store import claim_store, open_store
from surgrec.features.videos import Video
from surgrec.hub.huggingface import from_transformers
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.sizes import SIZES
from surgrec.video.probe import probe

NUM_FRAMES, INTERVAL_SECONDS, PIXELS = 16, 0.16, 224
LOOPED_SECONDS = 20
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}


def main() -> int:
    options = _parser().parse_args()
    keep_freed_memory()
    torch.set_num_threads(usable_cores())
    path = options.folder / f"operation_{options.name.replace(' ', '_')}_{options.minutes:g}.mp4"
    if not path.exists():
        options.folder.mkdir(parents=True, exist_ok=True)
        make_operation(options.video, path, options.minutes)
    path.read_bytes()  # so that decoding is measured, not the disk
    facts = measure(path, options)
    _report(facts, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="What it costs to extract features of a whole operation.", epilog=(__doc__ or "").split("\n\n")[1]
    )
    add = parser.add_argument
    add("--video", type=Path, help="a video of 1280 x 720 to loop (default: a synthesised scene)")
    add("--name", default="synthesised", help="what the footage is called in the table")
    add("--minutes", type=float, default=20.0, help="of the footage (default: %(default)s)")
    add("--stride-seconds", type=float, default=1.0, help="from window to window (default: %(default)s)")
    add("--size", default="small", choices=sorted(SIZES), help="of the encoder (default: %(default)s)")
    add("--precision", default="bfloat16", choices=("float32", "bfloat16"), help="of both (default: %(default)s)")
    add("--device", default="cpu", help="where both encoders run (default: %(default)s)")
    add("--batch-size", type=int, default=8, help="windows at once, ours (default: %(default)s)")
    add(
        "--threads", type=int, default=min(4, usable_cores()), help="threads that decode, ours (default: the command's)"
    )
    add(
        "--loop-windows", type=int, default=40, help="windows that the plain loop is measured on (default: %(default)s)"
    )
    add("--folder", type=Path, required=True, help="for the footage, which is made once")
    add("--out", type=Path, default=Path("benchmarks/results"), help="folder of the tables")
    return parser


# -- footage


def make_operation(source: Path | None, path: Path, minutes: float) -> None:
    """`minutes` of 720p, of which 20 seconds are encoded and their packets repeated."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        short, whole = Path(folder) / "short.mp4", Path(folder) / "whole.mp4"
        write_original(source, short, LOOPED_SECONDS)
        with av.open(str(short)) as old, av.open(str(whole), "w") as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            packets = [packet for packet in old.demux(video=0) if packet.size]
            step = packets[0].duration
            raw = [(bytes(p), p.pts, p.dts, p.is_keyframe, p.time_base) for p in packets]
            for number in range(round(minutes * 60 * FPS)):
                data, pts, dts, is_keyframe, time_base = raw[number % len(raw)]
                packet, shift = av.Packet(data), number // len(raw) * len(raw) * step
                packet.pts, packet.dts, packet.time_base, packet.duration = pts + shift, dts + shift, time_base, step
                packet.stream, packet.is_keyframe = stream, is_keyframe
                new.mux(packet)
        whole.replace(path)


# -- both sides


class PlainLoop:
    """Each window by itself, as one writes it first."""

    def __init__(self, path: Path, model: torch.nn.Module, preprocess: ClipPreprocess, precision: str) -> None:
        from decord import VideoReader

        self._reader = VideoReader(str(path))
        self._times = self._reader.get_frame_timestamp(np.arange(len(self._reader)))[:, 0]
        self._model, self._preprocess, self._precision = model, preprocess, precision

    def frames(self, start: float) -> npt.NDArray[np.uint8]:
        times = start + np.arange(NUM_FRAMES) * INTERVAL_SECONDS + 1e-4
        indices = np.maximum(np.searchsorted(self._times, times, side="right") - 1, 0)
        pixels: npt.NDArray[np.uint8] = self._reader.get_batch(indices).asnumpy()
        return pixels

    @torch.inference_mode()
    def features(self, clip: torch.Tensor) -> npt.NDArray[np.float32]:
        with autocast(self._precision, self._preprocess.device):
            tokens = self._model(clip.transpose(1, 2)).last_hidden_state
        features: npt.NDArray[np.float32] = tokens.float().mean(1)[0].cpu().numpy()
        return features

    def run(self, starts: npt.NDArray[np.float64]) -> tuple[list[npt.NDArray[np.float32]], dict[str, float]]:
        """Features of windows that begin at `starts`, and seconds that each stage took of all of them."""
        seconds, kept = {"decoding": 0.0, "preparing": 0.0, "encoding": 0.0}, []
        for start in starts.tolist():
            moments = [time.perf_counter()]
            pixels = self.frames(start)
            moments.append(time.perf_counter())
            clip = self._preprocess(pixels)
            moments.append(time.perf_counter())
            kept.append(self.features(clip))
            moments.append(time.perf_counter())
            for stage, taken in zip(seconds, np.diff(moments).tolist(), strict=True):
                seconds[stage] += taken
        return kept, seconds


def _extract(extractor: Extractor, video: Video) -> tuple[Outcome, npt.NDArray[np.float32]]:
    """What the command does, and all features."""
    with tempfile.TemporaryDirectory() as folder:
        store = claim_store(Path(folder) / "features", "zarr", origin_of(extractor, "0" * 64))
        outcome = run_work(extractor, store, plan_work(extractor, store, [video]), lambda count=1, note="": None)
        return outcome, open_store(store.path).read(video.video_id).features


def _decoding(video: Video, extractor: Extractor) -> tuple[float, float]:
    """Seconds to decode all frames that the windows need, once; and with their preparation, from the first tenth of the windows."""
    times = np.unique(extractor.plan.over(video.duration_seconds).times_seconds)
    begun = time.perf_counter()
    with FrameStream(video.path, num_threads=extractor.reader.num_threads) as stream:
        for block in stream.blocks(times):
            assert all(frame is not None for frame in block)
    decoded = time.perf_counter()
    windows = extractor.plan.over(video.duration_seconds)
    some = range(max(1, len(windows) // 10))
    for _ in extractor.reader.clips(video.path, windows, some):
        pass
    return decoded - begun, (time.perf_counter() - decoded) * len(windows) / len(some)


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both sides, over the whole video."""
    try:
        from transformers import VideoMAEConfig, VideoMAEModel
    except ImportError:
        raise UserError("the peer is transformers: pip install 'surgrec[parity]'") from None
    size = SIZES[options.size]
    torch.manual_seed(0)
    sizes = {"hidden_size": size.width, "num_hidden_layers": size.depth, "num_attention_heads": size.num_heads}
    theirs = VideoMAEModel(VideoMAEConfig(**sizes, intermediate_size=4 * size.width, image_size=PIXELS))
    theirs = theirs.eval().requires_grad_(False).to(options.device)
    preprocess = ClipPreprocess(NUM_FRAMES, INTERVAL_SECONDS, PreprocessSpec(PIXELS, PIXELS), options.device)
    extractor = Extractor(
        from_transformers(theirs).eval().requires_grad_(False),
        preprocess,
        stride_seconds=options.stride_seconds,
        precision=options.precision,
        batch_size=options.batch_size,
        num_threads=options.threads,
    )
    video = Video("operation", path, probe(path).duration_seconds)
    windows = extractor.plan.over(video.duration_seconds)
    inner = np.flatnonzero(~windows.is_padded)
    chosen = inner[np.linspace(0, len(inner) - 1, min(options.loop_windows, len(inner))).astype(int)]
    loop = PlainLoop(path, theirs, preprocess, options.precision)
    loop.run(windows.start_seconds[chosen[:1]])  # once, so that nothing is measured that happens once
    expected, seconds = loop.run(windows.start_seconds[chosen])
    share = len(chosen) / len(windows)
    plain = {stage: taken / share for stage, taken in seconds.items()}
    decoding, preparing = _decoding(video, extractor)
    warm = next(extractor.extract(path, 3.0))
    assert len(warm)
    outcome, features = _extract(extractor, video)
    difference = float(np.abs(features[chosen] - np.stack(expected)).max())
    if difference > TOLERANCE[options.precision]:
        raise RuntimeError(f"both sides should compute the same, but differ by {difference}")
    in_memory = _in_memory(extractor, options)
    return {
        "windows": len(windows),
        "windows_of_the_loop": len(chosen),
        "plain": plain,
        "ours": {
            "decoding": decoding,
            "decoding_and_preparing": preparing,
            "whole": outcome.seconds,
            "encoder": outcome.encoder_seconds,
        },
        "windows_per_second_in_memory": in_memory,
        "largest_difference": difference,
        "load": os.getloadavg()[0],
    }


def _in_memory(extractor: Extractor, options: argparse.Namespace) -> float:
    """Windows a second where they lie in memory already."""
    clips = torch.zeros(options.batch_size, 3, NUM_FRAMES, PIXELS, PIXELS, device=options.device)
    rates = []
    for _ in range(4):
        begun = time.perf_counter()
        extractor.features(clips).cpu()
        rates.append(options.batch_size / (time.perf_counter() - begun))
    return max(rates[1:])


# -- report


def _report(facts: dict[str, Any], options: argparse.Namespace) -> None:
    plain, ours, today = facts["plain"], facts["ours"], datetime.date.today().isoformat()
    total = sum(plain.values())
    rate = facts["windows"] / ours["whole"]
    goals = {
        "decoding, times less": (">= 6", plain["decoding"] / ours["decoding"]),
        "time outside the encoder, of the whole": ("<= 0.10", 1 - ours["encoder"] / ours["whole"]),
        "in total, times faster": (">= 2.5", total / ours["whole"]),
    }
    if options.device != "cpu":  # there decoding takes from the encoder's cores
        goals["of the rate on windows in memory"] = (">= 0.90", rate / facts["windows_per_second_in_memory"])
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else cpu_name()
    hardware = (
        f"{usable_cores()} cores of {platform.machine()}, {device}, torch {torch.__version__}, PyAV {av.__version__}"
    )
    lines = [
        f"# Extraction of {options.minutes:g} minutes: {options.name} footage, ViT-{options.size} in {options.precision}",
        "",
        f"{today}, {hardware}; load of the machine at the end {facts['load']:.1f}. {facts['windows']} windows of {NUM_FRAMES} frames, "
        f"{INTERVAL_SECONDS} s apart, every {options.stride_seconds:g} s, of 1280 x 720 at {FPS} frames a second. The plain loop was "
        f"measured on {facts['windows_of_the_loop']} of them, and multiplied.",
        "",
        "| seconds | plain loop | ours |",
        "|---|---|---|",
        f"| decoding alone | {plain['decoding']:.1f} | {ours['decoding']:.1f} |",
        f"| decoding and preparing alone | {plain['decoding'] + plain['preparing']:.1f} | {ours['decoding_and_preparing']:.1f} |",
        f"| encoder, while at work | {plain['encoding']:.1f} | {ours['encoder']:.1f} |",
        f"| in total | {total:.1f} | {ours['whole']:.1f} |",
        f"| windows a second | {facts['windows'] / total:.2f} | {rate:.2f} |",
        "",
        f"The features differ by {facts['largest_difference']:.1e} at most. Our encoder on windows in memory: "
        f"{facts['windows_per_second_in_memory']:.2f} a second.",
        "",
        *goal_lines(goals),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    stem = f"extract_{options.name.replace(' ', '_')}_{options.size}_{options.precision}_{options.device.split(':')[0]}_{today}"
    content = {
        "date": today,
        "hardware": hardware,
        "options": {
            name: str(value) for name, value in vars(options).items() if name not in ("folder", "out", "video")
        },
    }
    write_result(options.out / stem, text, content | facts | {"goals": goals})


if __name__ == "__main__":
    sys.exit(run_command(main))
