"""Training with the real loader against the same step on a batch in memory: what reading costs a run.

    python benchmarks/loader.py --out benchmarks/results                       # MAE ViT-S on a CPU
    python benchmarks/loader.py --device cuda --backbone base --batch 64 --workers 15 --out benchmarks/results
    python benchmarks/loader.py --clips FOLDER                                 # with videos of your own instead of rendered ones

In: footage (a folder of videos, else rendered surgery), which it indexes and prepares in both formats. Out: a table, and with --out a
Markdown and a JSON file. One round is: steps in memory, steps with our loader, steps with the peer's, in an order that changes; loading
processes are stopped (SIGSTOP) while another side is at work, so that nobody reads ahead in a time that is not counted as its own.
Rows: originals, training copies as video, training copies as frames.

The peer is torch's DataLoader over decord, one file opened for each clip, frames by index, random resized crop in the worker, as VideoMAE
and V-JEPA 2 do it; it reads the originals and the video copies with as many workers. Beside it: our augmentation of a clip on one core
against torchvision v2's RandomResizedCrop on uint8 and on float32.
"""

from __future__ import annotations

import argparse
import datetime
import io
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from report import cpu_name, write_result

from surgrec import index, prepare, synthesize
from surgrec.config.build import build_data, build_read_ahead, build_run, build_runtime
from surgrec.config.compose import compose_config
from surgrec.core.memory import keep_freed_memory
from surgrec.core.torchvision_guard import ensure_torchvision
from surgrec.corpus.manifest import Manifest
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.data.feed import DeviceFeed
from surgrec.data.loader import ClipBatch, ClipLoader, LoaderChain, PositionPlan
from surgrec.optim.optimizer import set_hyper_parameters
from surgrec.training.loop import Run
from surgrec.training.rates import Budget, measure_decoding
from surgrec.training.update import Update

FORMATS = ("original", "video", "frames")
PEER_READS = ("original", "video")  # decord knows no packs of frames


# -- footage


def manifests(folder: Path, clips: Path | None) -> dict[str, Path]:
    """The footage as it is and as training copies."""
    original = folder / "original.parquet"
    with redirect_stdout(io.StringIO()):
        if clips is None:
            synthesize.main(["--out", str(folder / "rendered"), "--scale", "quickstart"])
            original = folder / "rendered" / "manifest.parquet"
        else:
            flags = ["--root", str(clips), "--source", "clips", "--domain", "laparoscopy", "--out", str(original)]
            index.main(flags)
        for form in ("video", "frames"):
            prepare.main(["--manifest", str(original), "--out", str(folder / form), "--format", form])
    return {"original": original, **{form: folder / form / "manifest.parquet" for form in ("video", "frames")}}


# -- the three sides: each does so many steps and says how long they took


class Training:
    """The whole step of a run, on whatever batches it is given."""

    def __init__(self, run: Run) -> None:
        self.run, self.update = run, Update(run.runtime, run.trained, run.plan.clip_norm)

    def steps(self, batches: Iterator[ClipBatch], number: int) -> float:
        """Seconds of `number` steps."""
        began = time.perf_counter()
        for _ in range(number):
            set_hyper_parameters(self.run.optimizer, 0, self.run.plan.rate, self.run.plan.weight_decay)
            self.run.step.objective.before_update(0)
            result = self.run.step.run(batches)
            reading = self.update.apply(1, result.loss, False, [])
            self.run.step.objective.after_update(0)
        reading.read()
        return time.perf_counter() - began


class Stopped:
    """Processes that run only within `with`."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self._signal(signal.SIGSTOP)

    def __enter__(self) -> None:
        self._signal(signal.SIGCONT)

    def __exit__(self, *exception: object) -> None:
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def started(start: Callable[[], Iterator[Any]]) -> tuple[Iterator[Any], Stopped]:
    """An iterator whose processes have read as far ahead as they may, and these."""
    before = set(multiprocessing.active_children())
    batches = start()
    next(batches)
    time.sleep(3.0)  # to read ahead
    return batches, Stopped([int(child.pid or 0) for child in set(multiprocessing.active_children()) - before])


class Decord(torch.utils.data.Dataset[torch.Tensor]):
    """What the peers' data sets do with an index: a random file, a random start, frames by index, random resized crop."""

    def __init__(self, manifest: Path, run: Run, interval_seconds: float, num_frames: int) -> None:
        table = Manifest.read([manifest])
        self.paths = [table.path_of(row) for row in range(len(table))]
        self.strides = [max(1, round(fps * interval_seconds)) for fps in table.column("fps")]
        self.augment, self.num_frames = run.step.augment, num_frames

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, number: int) -> torch.Tensor:
        import decord

        chance = np.random.default_rng(number)
        chosen = int(chance.integers(len(self.paths)))
        reader = decord.VideoReader(str(self.paths[chosen]), num_threads=1)
        start = int(chance.integers(max(len(reader) - self.num_frames * self.strides[chosen], 0) + 1))
        wanted = np.minimum(start + np.arange(self.num_frames) * self.strides[chosen], len(reader) - 1)
        frames = torch.from_numpy(reader.get_batch(wanted).asnumpy())
        return self.augment([frames], [number])[0]


class InMemoryAugment:
    """In place of the augmentation: what the peer's worker has made already."""

    def __call__(self, video: torch.Tensor, positions: object, device: torch.device, places: object) -> torch.Tensor:
        return video.to(device, non_blocking=True)


def peer_batches(dataset: Decord, batch: int, workers: int, device: str) -> Iterator[Any]:
    loader = torch.utils.data.DataLoader(
        dataset, batch, num_workers=workers, pin_memory=device == "cuda", multiprocessing_context="forkserver"
    )
    for number, video in enumerate(loader):
        yield PeerBatch(video, np.arange(number * batch, (number + 1) * batch))


class PeerBatch:
    """What the step asks of a batch."""

    def __init__(self, video: torch.Tensor, positions: Any) -> None:
        self.pixels, self.positions, self.places, self.clips = video, positions, [], []
        self.num_micro = 1


# -- a row


def measure(form: str, manifest: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Clips a second of all sides on one form of the footage: medians over rounds, and of the rounds' ratios."""
    config = compose_config([
        "+variant=mae", f"mix.manifests=[{manifest}]", f"backbone={options.backbone}", f"data.workers={options.workers}",
        f"data.global_batch_size={options.batch}", f"runtime.accelerator={options.device}", *options.override,
    ])  # fmt: skip
    runtime = build_runtime(config)
    run, data = build_run(config, runtime), build_data(config)
    decoding = measure_decoding(data.reader, 2**30, options.batch, Budget(4.0, 8))
    memory = [replace(clip, pixels=clip.pixels.to(runtime.device)) for clip in decoding.clips]
    training, batch = Training(run), ClipBatch(memory, np.array([clip.position for clip in memory]), 0, 0)
    training.steps(iter([batch] * 2), 2)

    loader = LoaderChain([ClipLoader(data.reader, PositionPlan(options.batch), 0, 2**40, build_read_ahead(config))])
    feed = DeviceFeed(loader, runtime.device) if runtime.has_cuda else loader
    ours, our_processes = started(lambda: iter(feed))
    peer, peer_processes, peer_training = None, Stopped([]), training
    if form in PEER_READS and options.peer:
        clip = data.reader.spec
        dataset = Decord(manifest, run, clip.frame_interval_seconds, clip.num_frames)
        peer, peer_processes = started(lambda: peer_batches(dataset, options.batch, options.workers, options.device))
        peer_training = Training(replace(run, step=replace(run.step, augment=InMemoryAugment())))  # type: ignore[arg-type]

    def with_loader(side: Training, batches: Iterator[Any], processes: Stopped) -> Callable[[], float]:
        def steps() -> float:
            with processes:
                return side.steps(batches, options.steps)

        return steps

    sides = {"memory": lambda: training.steps(iter([batch] * options.steps), options.steps)}
    sides["ours"] = with_loader(training, ours, our_processes)
    if peer is not None:
        sides["peer"] = with_loader(peer_training, peer, peer_processes)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    try:
        for number in range(options.rounds):
            names = list(sides)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds[name].append(sides[name]())
    finally:  # a stopped process would keep this one from its end
        feed.close()
        for pid in peer_processes.pids:
            os.kill(pid, signal.SIGKILL)
    return row_of(form, seconds, decoding.clips_per_second, options)


def row_of(form: str, seconds: dict[str, list[float]], core: float, options: argparse.Namespace) -> dict[str, Any]:
    num_clips, cores = options.batch * options.steps, len(os.sched_getaffinity(0))
    rates = {name: num_clips / statistics.median(times) for name, times in seconds.items()}
    shares = {
        name: statistics.median(memory / other for memory, other in zip(seconds["memory"], times, strict=True))
        for name, times in seconds.items()
    }
    row: dict[str, Any] = {"form": form, "seconds": seconds, "clips_per_second": rates, "share_of_memory": shares}
    row["decoding_clips_per_second_of_a_core"] = core
    if options.device == "cpu":  # reading and training share the cores: with nothing else lost, this share is left
        row["share_that_decoding_leaves"] = (1 / rates["memory"]) / (1 / rates["memory"] + 1 / (core * cores))
    return row


# -- augmentation against torchvision's


def measure_augmentation(repeats: int) -> dict[str, float]:
    """Clips a second on one core, 16 frames of 320 x 568 to 224 x 224, normalised float32; medians of interleaved repeats."""
    ensure_torchvision()
    from torchvision.transforms import v2

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    clip = torch.randint(0, 256, (16, 320, 568, 3), dtype=torch.uint8)
    spec = AugmentSpec(224)
    ours = ClipAugment(spec, 0)
    crop = v2.RandomResizedCrop(224, spec.scale, spec.aspect, antialias=True)
    rest = [v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    on_uint8, on_float = v2.Compose([crop, *rest]), v2.Compose([v2.ToDtype(torch.float32, scale=True), crop, *rest])
    sides: dict[str, Callable[[int], object]] = {
        "ours": lambda number: ours([clip], [number]),
        "torchvision float32": lambda number: on_float(clip.permute(0, 3, 1, 2)),
        "torchvision uint8": lambda number: on_uint8(clip.permute(0, 3, 1, 2)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            side(number)
            seconds[name].append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return {name: 1 / statistics.median(times[1:]) for name, times in seconds.items()}


# -- the report


def table(rows: list[dict[str, Any]], augmentation: dict[str, float]) -> str:
    lines = [
        "| footage | in memory, clips/s | with our loader | share | left by decoding on the same cores | torch DataLoader + decord "
        "| share | decoding by one core, clips/s |",
        "|" + "---|" * 8,
    ]
    for row in rows:
        rates, shares = row["clips_per_second"], row["share_of_memory"]
        bound = f"{row['share_that_decoding_leaves']:.1%}" if "share_that_decoding_leaves" in row else "-"
        peer = f"{rates['peer']:.2f} | {shares['peer']:.1%}" if "peer" in rates else "- | -"
        lines.append(
            f"| {row['form']} | {rates['memory']:.2f} | {rates['ours']:.2f} | {shares['ours']:.1%} | {bound} | {peer} "
            f"| {row['decoding_clips_per_second_of_a_core']:.1f} |"
        )
    told = ", ".join(f"{name} {rate:.1f}" for name, rate in augmentation.items())
    return "\n".join([*lines, "", f"Augmentation of a clip on one core, clips/s: {told}."]) + "\n"


def hardware(device: str) -> str:
    """Processor or GPU, cores, version."""
    name = f"{torch.cuda.get_device_name()}, {cpu_name()}" if device == "cuda" else cpu_name()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--batch", type=int, default=2, help="clips of a step (default 2)")
    parser.add_argument("--steps", type=int, default=1, help="of a side in a round (default 1)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="loading processes of either side (default 1)")
    parser.add_argument("--clips", type=Path, help="a folder of videos, in place of rendered ones")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="where decord is not installed")
    parser.add_argument("--override", nargs="*", default=[], help="options of `surgrec train`")
    parser.add_argument("--out", type=Path, help="folder for loader_DEVICE_DATE.json and .md")
    options = parser.parse_args()
    if options.device == "cpu":
        keep_freed_memory()
    load, rows = os.getloadavg()[0], []
    with TemporaryDirectory() as folder:
        for form, manifest in manifests(Path(folder), options.clips).items():
            if form in options.forms:
                rows.append(measure(form, manifest, options))
                print(rows[-1]["share_of_memory"], flush=True)
    augmentation = measure_augmentation(max(options.rounds, 5))
    footage = "rendered surgery" if options.clips is None else "real clips"
    report = (
        f"{datetime.date.today()}, {hardware(options.device)}, load before {load:.1f}. MAE {options.backbone}, {options.batch} clips "
        f"a step, {options.rounds} rounds of {options.steps} steps, {options.workers} loading processes, {footage}."
    )
    print(f"{report}\n\n{table(rows, augmentation)}")
    if options.out:
        stem = f"loader_{options.device}_{datetime.date.today()}"
        content = {"run": report, "rows": rows, "augmentation": augmentation}
        text = f"# Training with the real loader\n\n{report}\n\n{table(rows, augmentation)}"
        write_result(options.out / stem, text, content)


if __name__ == "__main__":
    main()
