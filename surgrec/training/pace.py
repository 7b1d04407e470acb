"""How the processes of a run keep pace: what a step takes, who makes the others wait, and with which video.

In: on every rank, what it waited for clips and took for its forward passes, and how long each clip took to read. Out: at a log line, the
numbers that `metrics.jsonl` has of it, and a sentence where one rank has held up the others for several lines. It is its own file because
all of this differs between equal runs, so it must stay apart from what they agree on.

Ranks meet in every step's reductions, so the time of a step is the same on all of them and does not tell who is slow. What tells is the
time that a rank takes for itself before it first waits for another: the wait for its clips, and its forward passes. `slowdown` is how much
longer a step takes than if the slowest rank were as fast as the median one: step / (step - (slowest - median)). Under FSDP the forward pass
itself waits for parts of the model that others hold, so there a rank's own time is its wait for clips alone.

What is counted as operations is surgrec/models/flops.py's. Utilisation (MFU: Chowdhery et al. 2022, arXiv 2204.02311, appendix B) is these
operations over the peak of the device; where the peak is not known (surgrec/training/peaks.py) there is only the rate.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from surgrec.core.spans import Spans
from surgrec.data.clips import Clip
from surgrec.training.peaks import peak_flops
from surgrec.training.runtime import Runtime

STRAGGLER_LINES = 3  # in a row
_LEAST_SECONDS = 1e-6


class ForwardClock:
    """Adds up the time of forward passes: the device's own where it has a clock, which is read without waiting in between."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Around a forward pass on `device`."""
        if device.type != "cuda":
            began = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - began
            return
        began_event, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began_event.record()
        yield
        ended.record()
        self._events.append((began_event, ended))

    def take(self) -> float:
        """Seconds since it was last asked. Waits for the device to have done these passes."""
        seconds, events, self._seconds, self._events = self._seconds, self._events, 0.0, []
        for began, ended in events:
            ended.synchronize()
            seconds += began.elapsed_time(ended) / 1e3
        return seconds


class RankPace(NamedTuple):
    """Of one rank since the line before: seconds of a step in which it waited for clips and, unless ranks hold parts of one model, was in
    its forward passes; the video that took longest to read, and how long; the most bytes of its device that were in use, and set aside.
    """

    host: str
    waiting_seconds: float
    forward_seconds: float
    slowest_video: str
    slowest_seconds: float
    allocated_bytes: int
    reserved_bytes: int

    @property
    def own_seconds(self) -> float:
        """Of a step, before it first waits for another rank."""
        return self.waiting_seconds + self.forward_seconds


class Costs(NamedTuple):
    """What is needed to tell a rate of operations: those of a clip in each phase, where phases lie, and the device's peak where known."""

    clip_flops: tuple[int, ...]
    spans: Spans
    peak_flops: float | None

    def flops(self, first_step: int, last_step: int) -> int:
        """Of the steps from `first_step` up to `last_step`, all ranks together."""
        return sum(
            cost * max(0, min(last_step, span.stop_step) - max(first_step, span.first_step)) * span.batch
            for cost, span in zip(self.clip_flops, self.spans.phases, strict=True)
        )


def costs_of(runtime: Runtime, clip_flops: tuple[int, ...], spans: Spans) -> Costs:
    """Those of a run on the device of this process."""
    peak = peak_flops(torch.cuda.get_device_name(runtime.device), runtime.precision) if runtime.has_cuda else None
    return Costs(clip_flops, spans, peak)


class Pace:
    """Counts between two log lines; one for a stretch of training, on every rank."""

    def __init__(
        self,
        runtime: Runtime,
        clock: ForwardClock,
        costs: Costs,
        video_ids: Sequence[str],
        straggler_factor: float,
        step: int,
    ) -> None:
        self.runtime, self.clock, self.costs, self.video_ids = runtime, clock, costs, video_ids
        self.stragglers = Stragglers(straggler_factor)
        self._host = socket.gethostname()
        self._slowest = (0.0, -1)  # seconds, manifest row
        self._last_step, self._last_time, self._last_waiting = step, time.monotonic(), 0.0
        clock.take()

    def note(self, clips: Sequence[Clip]) -> None:
        """Clips that this rank has read for a step."""
        self._slowest = max(self._slowest, *((clip.slowest_seconds, clip.slowest_row) for clip in clips))

    def line(self, step: int, seconds_waiting: float) -> dict[str, Any]:
        """The numbers of the steps since the line before, after the update `step`; `seconds_waiting` is the loader's running total. All
        ranks call it, when the device has done these steps."""
        now, num_steps = time.monotonic(), step - self._last_step
        seconds, row = self._slowest
        forward = self.clock.take()
        mine = RankPace(
            self._host,
            (seconds_waiting - self._last_waiting) / num_steps,
            0.0 if self.runtime.is_sharded else forward / num_steps,
            str(self.video_ids[row]) if row >= 0 else "",
            seconds,
            *_device_bytes(self.runtime),
        )
        elapsed = now - self._last_time
        rate = self.costs.flops(self._last_step, step) / max(elapsed, _LEAST_SECONDS) / self.runtime.fabric.world_size
        self._slowest, self._last_step, self._last_time, self._last_waiting = (0.0, -1), step, now, seconds_waiting
        ranks = self.runtime.gather(mine)
        numbers = {"step_seconds": elapsed / num_steps, "tflops_per_second": rate / 1e12, **_of_all(ranks)}
        if self.costs.peak_flops is not None:
            numbers["mfu"] = rate / self.costs.peak_flops
        if len(ranks) > 1:
            numbers["ranks"] = among(ranks, elapsed / num_steps)
            sentence = self.stragglers.judge(step, ranks, numbers["ranks"])
            numbers |= {"straggler": sentence} if sentence else {}
        return numbers


def _device_bytes(runtime: Runtime) -> tuple[int, int]:
    if not runtime.has_cuda:
        return 0, 0
    return torch.cuda.max_memory_allocated(runtime.device), torch.cuda.max_memory_reserved(runtime.device)


def _of_all(ranks: Sequence[RankPace]) -> dict[str, Any]:
    """The slowest video of all ranks, and the memory of the one that took most."""
    slowest = max(ranks, key=lambda rank: rank.slowest_seconds)
    numbers: dict[str, Any] = {}
    if slowest.slowest_video:
        numbers["slowest_clip"] = {"video": slowest.slowest_video, "seconds": slowest.slowest_seconds}
    if max(rank.reserved_bytes for rank in ranks):
        numbers["gpu_allocated_bytes"] = max(rank.allocated_bytes for rank in ranks)
        numbers["gpu_reserved_bytes"] = max(rank.reserved_bytes for rank in ranks)
    return numbers


def among(ranks: Sequence[RankPace], step_seconds: float) -> dict[str, Any]:
    """How ranks differ, in as many numbers whatever their count: least, median and most of their own seconds and of their waits for clips,
    the slowest rank with its host and slowest video, and the slowdown that it causes to steps of `step_seconds`.
    """
    own = [rank.own_seconds for rank in ranks]
    number = max(range(len(ranks)), key=lambda rank: own[rank])
    slowest, median = ranks[number], statistics.median_low(own)
    without = max(step_seconds - (own[number] - median), median, _LEAST_SECONDS)
    return {
        "own_seconds": _spread(own),
        "waiting_seconds": _spread([rank.waiting_seconds for rank in ranks]),
        "slowest": number,
        "host": slowest.host,
        "video": slowest.slowest_video,
        "video_seconds": slowest.slowest_seconds,
        "slowdown": max(1.0, step_seconds / without),
    }


def _spread(values: Sequence[float]) -> list[float]:
    """Least, median (the lower of two: of two ranks one is the fast one) and most."""
    return [round(value, 6) for value in (min(values), statistics.median_low(values), max(values))]


class Stragglers:
    """Tells of a rank that has slowed all down by more than `factor` for `STRAGGLER_LINES` lines in a row: once, until it was faster."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self._rank, self._num_lines = -1, 0

    def judge(self, step: int, ranks: Sequence[RankPace], numbers: dict[str, Any]) -> str | None:
        """The sentence to tell after the line of `step`, whose `numbers` are those of `among`; None where there is nothing new."""
        rank = numbers["slowest"] if numbers["slowdown"] > self.factor else -1
        self._num_lines = self._num_lines + 1 if rank == self._rank else 1
        self._rank = rank
        if rank < 0 or self._num_lines != STRAGGLER_LINES:
            return None
        slow, (_, median_wait, _) = ranks[rank], numbers["waiting_seconds"]
        clips = f"waits {slow.waiting_seconds:.2f} s a step for clips (median {median_wait:.2f} s)"
        if slow.slowest_video:
            clips += f", the slowest of video {slow.slowest_video}, which took {slow.slowest_seconds:.2f} s to read"
        is_data = slow.waiting_seconds - median_wait > (slow.own_seconds - numbers["own_seconds"][1]) / 2
        own = f"takes {slow.own_seconds:.2f} s a step for itself (median {numbers['own_seconds'][1]:.2f} s)"
        return (
            f"step {step}: rank {rank} on {slow.host} holds the others up, in each of the last {STRAGGLER_LINES} lines: it "
            f"{clips if is_data else own}; steps take {numbers['slowdown']:.2g} times as long as without it; "
            "docs/healthy_runs.md says what to look at"
        )
