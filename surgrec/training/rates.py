"""How fast each part of a run is on this machine.

In: the parts of a run, wired. Out: clips (or bytes) a second of each. It is its own file because it measures, and says nothing of what the
numbers mean (`bottleneck`). Every rate is a median over repeats of the same work, which go on until a time is over.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from surgrec.data.augment import ClipAugment
from surgrec.data.clips import Clip, ClipReader
from surgrec.data.loader import ClipBatch, ClipLoader, PositionPlan, ReadAhead
from surgrec.optim.optimizer import set_hyper_parameters
from surgrec.training.loop import Run
from surgrec.training.phases import PhasedAugment
from surgrec.training.update import Update

_BATCH = 8  # clips of a loading process's chunk, and of a batch of the measured loader


@dataclass(frozen=True)
class Budget:
    """Of one measurement: `seconds` in all, and repeats at least, whatever they take."""

    seconds: float
    repeats: int


def rate_of(action: Callable[[], object], things: float, budget: Budget) -> float:
    """How many `things` a second, of which one call of `action` does so many; after one call that does not count."""
    action()
    return things / statistics.median(seconds for seconds in _timed(action, budget))


def _timed(action: Callable[[], object], budget: Budget) -> Iterator[float]:
    end, repeats = time.perf_counter() + budget.seconds, 0
    while repeats < budget.repeats or time.perf_counter() < end:
        began = time.perf_counter()
        action()
        yield time.perf_counter() - began
        repeats += 1


@dataclass(frozen=True)
class Decoding:
    """`clips_per_second` of one core; `bytes_per_clip` that it asked of the files; `clips`: some of those read; `moments`: videos that were
    read, each once, with a time in each; `num_reads`, those included that failed, and `failures` by reason."""

    clips_per_second: float
    bytes_per_clip: float
    clips: list[Clip]
    moments: list[tuple[Path, float]]
    num_reads: int
    failures: Counter[str]


def measure_decoding(reader: ClipReader, first_position: int, keep: int, budget: Budget) -> Decoding:
    """Read clip after clip in this process, from `first_position` on. The first, which also loads the decoder, does not count."""
    clips: list[Clip] = []
    moments: dict[Path, float] = {}
    failures: Counter[str] = Counter()
    position, num_reads = first_position, 0
    reader.read(first_position)

    def read() -> None:
        nonlocal position, num_reads
        position += 1
        clip = reader.read(position)
        num_reads += 1 + len(clip.failures)
        failures.update(failure.reason for failure in clip.failures)
        moments.setdefault(reader.manifest.path_of(clip.row), clip.start_seconds)
        if len(clips) < keep:
            clips.append(clip)

    before = _bytes_asked_for()
    # a mean: clips differ in what they cost, and a run pays for all of them
    seconds = list(_timed(read, replace(budget, repeats=max(keep, budget.repeats))))
    num_bytes = _bytes_asked_for() - before
    per_clip = num_bytes / len(seconds)
    return Decoding(len(seconds) / sum(seconds), per_clip, clips, list(moments.items()), num_reads, failures)


def _bytes_asked_for() -> int:
    """Bytes that this process has asked files for, in memory or not: `rchar` of /proc/self/io."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def measure_disk(paths: Sequence[Path], block_bytes: int, budget: Budget) -> float:
    """Bytes a second of one reader that reads blocks of `block_bytes` at places all over the files.

    The kernel is asked to forget its copy of the files first. It need not (other users of a file, network file systems, virtual disks
    with a cache of their own), so this is an upper bound of what a cold disk does.
    """
    chance, done, end = np.random.default_rng(0), 0, time.perf_counter() + budget.seconds
    began, descriptors = time.perf_counter(), [os.open(path, os.O_RDONLY) for path in paths]
    try:
        for descriptor in descriptors:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        repeats = 0
        while repeats < budget.repeats or time.perf_counter() < end:
            descriptor = descriptors[repeats % len(descriptors)]
            size = os.fstat(descriptor).st_size
            done += len(os.pread(descriptor, block_bytes, int(chance.integers(max(size - block_bytes, 0) + 1))))
            repeats += 1
        return done / (time.perf_counter() - began)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def measure_loader(reader: ClipReader, ahead: ReadAhead, first_position: int, budget: Budget) -> float:
    """Clips a second of the configured loader while nobody else works; what it has read before the clock starts does not count."""
    plan = PositionPlan(_BATCH)
    with ClipLoader(reader, plan, first_position // _BATCH + 1, 2**40, ahead) as loader:
        batches = iter(loader)
        for _ in range(1 + ahead.batches):
            next(batches)
        seconds = list(_timed(lambda: next(batches), budget))
        return _BATCH * len(seconds) / sum(seconds)


def measure_augment(
    augment: ClipAugment | PhasedAugment, clips: Sequence[Clip], repeats: int, device: torch.device, budget: Budget
) -> float:
    """Clips a second, from uint8 frames on the device to a normalised video there."""
    pixels = [clip.pixels.to(device) for clip in clips]
    positions, places = np.array([clip.position for clip in clips]) * repeats, [clip.place for clip in clips]

    def run() -> None:
        augment(pixels, positions, device, places)
        _wait_for(device)

    return rate_of(run, len(pixels), budget)


def measure_copy(clips: Sequence[Clip], device: torch.device, budget: Budget) -> float | None:
    """Clips a second from page-locked memory to the device; None where there is no way to go."""
    if device.type != "cuda":
        return None
    pixels = [clip.pixels.pin_memory() for clip in clips]

    def run() -> None:
        for part in pixels:
            part.to(device, non_blocking=True)
        _wait_for(device)

    return rate_of(run, len(pixels), budget)


def measure_step(run: Run, clips: Sequence[Clip], num_samples: int, budget: Budget) -> float:
    """Samples a second of the whole training step, augmentation included, on one batch that lies on the device."""
    device, repeats = run.runtime.device, run.plan.repeats
    on_device = [replace(clip, pixels=clip.pixels.to(device)) for clip in clips]
    update = Update(run.runtime, run.trained, run.plan.clip_norm)
    chosen = [on_device[number % len(on_device)] for number in range(num_samples // repeats)]
    # of the boxes that were decoded
    positions = np.concatenate([clip.position * repeats + np.arange(repeats) for clip in chosen])
    batch = ClipBatch(chosen, positions, 0, 0, repeats)

    def step() -> None:
        set_hyper_parameters(run.optimizer, 0, run.plan.rate, run.plan.weight_decay)
        run.step.objective.before_update(0)
        result = run.step.run(iter([batch]))
        update.apply(1, result.loss, False, []).read()
        run.step.objective.after_update(0)

    return rate_of(step, num_samples, budget)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
