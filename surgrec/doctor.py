"""Measure this machine for a run: how fast disk, cores, copy and training step are, which of them limits, and what would help.

    python -m surgrec.doctor +variant=mae mix.manifests=[corpus.parquet]
    python -m surgrec.doctor +variant=jepa +experiment=quickstart --quick
    python -m surgrec.doctor +variant=mae mix.manifests=[corpus.parquet] data.workers=12 --json

In: the options of `surgrec train`; --quick measures for seconds, --json prints numbers for programs. Out: a table and one sentence on the
console. Nothing is written but temporary files. It measures one process; where several share a machine, they share its disk and cores.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING

from surgrec.config.application import run_application
from surgrec.config.footage import provide_footage, resolve_footage
from surgrec.config.schema import Config, Strategy
from surgrec.core.console import progress
from surgrec.core.cores import usable_cores
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.config.build import DataPath
    from surgrec.training.bottleneck import Rates, Verdict
    from surgrec.training.rates import Budget

FLAGS = ("--quick", "--json")
_PREFIX = "surgrec-doctor-"
_NUM_FILES = 8  # of which the disk is read
_NUM_COPIES = 3  # excerpts that are prepared
_BATCH_ON_CPU, _BATCH_ON_GPU = 4, 64  # samples of the measured step, at most
_PREPARED = "original_sha256"  # the column of a manifest that training copies fill in
# seconds of a measurement and its repeats at least, by whether it is to be quick
_BUDGETS = {False: (5.0, 5), True: (1.0, 2)}
_APART = 2**20  # positions between those that two measurements read, so that neither finds the other's files warm


def doctor(config: Config, is_quick: bool = False, is_json: bool = False) -> int:
    """Measure, and print what was found."""
    _remove_leftovers()
    with _cleared_away(), TemporaryDirectory(prefix=_PREFIX) as temporary:
        _find_footage(config, Path(temporary))
        from surgrec.training.bottleneck import judge

        rates, sizes = measure(config, Path(temporary), is_quick)
    verdict = judge(rates)
    if is_json:
        print(json.dumps({"rates": asdict(rates), "sizes": sizes, "verdict": asdict(verdict)}, indent=1))
        return 0
    print("\n".join(lines_of(rates, verdict, sizes)))
    return 0


@contextmanager
def _cleared_away() -> Iterator[None]:
    """Let a request to end this process first clear away excerpts of footage, as Ctrl-C does."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP) if is_main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_leftovers() -> None:
    """What a doctor of this user left that was killed more than an hour ago."""
    for folder in Path(gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.stat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > 3600:
                shutil.rmtree(folder, ignore_errors=True)


def _find_footage(config: Config, temporary: Path) -> None:
    """As `train` would, but where the embedded corpus is not there yet, it is rendered for this one time."""
    resolve_footage(config)
    if config.mix.embedded and not all(Path(path).exists() for path in config.mix.manifests):
        config.paths.embedded, config.mix.manifests = str(temporary / "embedded"), []
        resolve_footage(config)
        provide_footage(config)


def measure(config: Config, temporary: Path, is_quick: bool) -> tuple[Rates, dict[str, float]]:
    """The rates of all parts, and sizes that explain them: bytes of a clip on disk and decoded, bytes a second, samples of a step."""
    from surgrec.config.build import build_augment, build_data, build_read_ahead, build_run, build_runtime
    from surgrec.core.memory import keep_freed_memory
    from surgrec.data.failures import FailureRates
    from surgrec.data.loader import PositionPlan
    from surgrec.training.bottleneck import Rates
    from surgrec.training.rates import (
        Budget,
        measure_augment,
        measure_copy,
        measure_decoding,
        measure_disk,
        measure_loader,
        measure_step,
    )  # fmt: skip

    budget = Budget(*_BUDGETS[is_quick])
    repeats, ahead = config.data.repeats, build_read_ahead(config)
    PositionPlan(config.data.global_batch_size, repeats=repeats)  # what cannot be is told before anything is measured
    FailureRates(config.data.max_failure_rate)
    config.runtime = replace(
        config.runtime, strategy=Strategy.single, shard_size=None, accumulation=None, device_batch_size=None
    )
    config.probe.every = None
    runtime = build_runtime(config)
    if not runtime.has_cuda:
        keep_freed_memory()
    largest = max(_BATCH_ON_GPU if runtime.has_cuda else _BATCH_ON_CPU, repeats)
    num_samples = min(config.data.global_batch_size, largest) // repeats * repeats
    with progress("measuring", 7) as advance:
        data = build_data(config)
        decoding = measure_decoding(data.reader, 0, num_samples // repeats, budget)
        advance(note="disk")
        block = max(int(decoding.bytes_per_clip), 4096)
        rows = decoding.moments[:_NUM_FILES]
        bytes_per_second = measure_disk([path for path, _ in rows], block, budget)
        advance(note="training copies")
        is_prepared = _is_prepared(data)
        prepared = {} if is_prepared else measure_prepared(data, rows[:_NUM_COPIES], temporary, budget)
        advance(note="loading processes")
        every = replace(ahead, max_failure_rate=1.0)  # whatever fails is told, and a run would end by it
        loader = measure_loader(data.reader, every, _APART, budget) if ahead.num_workers else decoding.clips_per_second
        advance(note="training step")
        run = build_run(_with_batch(config, num_samples), runtime)
        step = measure_step(run, decoding.clips, num_samples, budget)
        advance(note="augmentation")
        augment = measure_augment(build_augment(config), decoding.clips, repeats, runtime.device, budget)
        advance(note="copy")
        copy = measure_copy(decoding.clips, runtime.device, budget)
        advance()
        runtime.close()
    clip_bytes = sum(clip.pixels.nbytes for clip in decoding.clips) / len(decoding.clips)
    sizes = {
        "disk_bytes_per_second": bytes_per_second, "disk_bytes_per_clip": decoding.bytes_per_clip,
        "decoded_bytes_per_clip": clip_bytes, "samples_per_step": float(num_samples),
        "reads": float(decoding.num_reads), "failed_reads": float(sum(decoding.failures.values())),
    }  # fmt: skip
    if decoding.failures:
        reasons = ", ".join(f"{count} times {reason}" for reason, count in sorted(decoding.failures.items()))
        failed = f"{sum(decoding.failures.values())} of {counted(decoding.num_reads, 'read')} failed ({reasons})"
        print(f"{failed}; their time is in the rates, as it is in a run", file=sys.stderr)
    rates = Rates(
        disk=bytes_per_second / block, core=decoding.clips_per_second, loader=loader, augment=augment, copy=copy, step=step,
        cores=usable_cores(), workers=ahead.num_workers, repeats=repeats, has_device=runtime.has_cuda,
        is_prepared=is_prepared, prepared=prepared,
    )  # fmt: skip
    return rates, sizes


def _with_batch(config: Config, num_samples: int) -> Config:
    """The first phase alone, with a step of so many samples; what its numbers come to does not matter here."""
    trainer = replace(config.trainer, phases=[])
    return replace(config, trainer=trainer, data=replace(config.data, global_batch_size=num_samples), init=None)


def _is_prepared(data: DataPath) -> bool:
    return bool(data.manifest.table[_PREPARED].null_count == 0)


def measure_prepared(
    data: DataPath, rows: list[tuple[Path, float]], temporary: Path, budget: Budget
) -> dict[str, float]:
    """What one core would decode of training copies, clips a second by format: a few seconds of a few videos are copied and read."""
    from surgrec.video.errors import VideoError
    from surgrec.video.excerpt import write_excerpt
    from surgrec.video.probe import probe
    from surgrec.video.transcode import CopySpec, write_frames, write_video

    spec = data.reader.spec
    seconds = max(2 * spec.span_seconds, 6.0)
    copies: dict[str, list[Path]] = {"video": [], "frames": []}
    for number, (path, start) in enumerate(rows):
        excerpt = temporary / f"{number}.mkv"
        with suppress(VideoError):  # which `prepare` would refuse, or Matroska cannot hold: it tells nothing of copies
            write_excerpt(path, excerpt, start, seconds)
            info = probe(excerpt)
            for name, write, suffix in (("video", write_video, ".mp4"), ("frames", write_frames, ".frames")):
                target = temporary / f"{number}{suffix}"
                write(excerpt, target, info, CopySpec(name), None)
                copies[name].append(target)
    return {name: _decode_rate(data, paths, budget) for name, paths in copies.items() if paths}


def _decode_rate(data: DataPath, paths: list[Path], budget: Budget) -> float:
    """Clips a second of one core, from the middle of each of these files in turn."""
    from surgrec.training.rates import rate_of
    from surgrec.video.decode import open_video

    spec = data.reader.spec

    def read() -> None:
        for path in paths:
            with open_video(path, data.reader.decoder, spec.short_side_pixels, num_threads=1) as video:
                video.read(spec.span_seconds / 2 + spec.offsets_seconds)

    return rate_of(read, len(paths), budget)


# -- in words


def lines_of(rates: Rates, verdict: Verdict, sizes: dict[str, float]) -> list[str]:
    """The table and the sentence."""
    disk = f"{sizes['disk_bytes_per_second'] / 1e6:,.0f} MB/s, {sizes['disk_bytes_per_clip'] / 1e6:.2f} MB a clip"
    rows = [
        ("disk, one reader", rates.disk, f"{disk}; an upper bound, since the system may have kept the files in memory"),
        ("decoding, one core", rates.core, f"{sizes['decoded_bytes_per_clip'] / 1e6:.1f} MB a clip"),
        (f"decoding, all {rates.cores} cores", rates.all_cores, "computed, were there nothing else to do"),
        (f"loader, data.workers={rates.workers}", rates.loader, "while nobody else works"),
        ("augmentation", rates.augment / rates.repeats, "a part of the step"),
        ("copy to the device", rates.copy, "" if rates.copy else "not needed on a CPU"),
        ("training step", rates.needed, f"{sizes['samples_per_step']:.0f} samples in memory"),
        *((f"copies ({name}), one core", rate, "measured on excerpts") for name, rate in rates.prepared.items()),
        ("this run, expected", verdict.clips_per_second, f"{verdict.share_of_step:.0%} of the step alone"),
    ]
    return [
        f"{'':<28}{'clips/s':>10}",
        *(f"{name:<28}{'-' if rate is None else f'{rate:,.4g}':>10}  {note}".rstrip() for name, rate, note in rows),
        f"{'recommended':<28}{f'data.workers={verdict.workers}':>10}",
        "",
        verdict.sentence,
    ]


def _number(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def main() -> int:
    """Entry point of `surgrec doctor` and `python -m surgrec.doctor`."""
    chosen = {flag for flag in FLAGS if flag in sys.argv[1:]}
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in FLAGS]
    return run_application(lambda config: doctor(config, "--quick" in chosen, "--json" in chosen), __doc__)


if __name__ == "__main__":
    sys.exit(main())
