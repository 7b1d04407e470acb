"""From a reader of single clips to batches in the order of the run, read ahead by worker processes.

In: a `ClipReader` and a `PositionPlan`. Out: `ClipBatch`es, one for every (step, micro-batch) of this rank. It is its own file
because order is its whole matter: which rank reads what, and when; the processes are `pool`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from surgrec.core.errors import UserError
from surgrec.core.spans import Span
from surgrec.data.clips import Clip, ClipReader, Failure, Place
from surgrec.data.errors import DataError
from surgrec.data.failures import FailureRates
from surgrec.data.mixture import Integers
from surgrec.data.pool import CLOSED, PoolLimits, ReaderPool, prepare_fork_server

MAX_CLIPS_PER_CHUNK = 8  # of a worker's unit of work: more makes the first batch late, fewer makes more hand-overs


class PositionPlan:
    """Which positions of the run's sequence this rank reads, and when.

    A position is that of a sample: one augmented and masked view of a clip. The sample at position p shows the clip at p // repeats
    (repeated augmentation: Hoffer et al. 2020, arXiv 1901.09335). Step s owns the slots [s * G, (s + 1) * G), G the global batch. Its
    micro-batch a on rank r is the b = G / (world * A) slots from s * G + (a * world + r) * b. So the sequence of a run depends on G
    and the repeats alone. All samples of a clip lie in one micro-batch, so that a clip is decoded once.

    Args:
        global_batch_size: samples of a step, over all ranks and micro-batches.
        world_size, rank: of this process.
        accumulation: micro-batches of a step.
        repeats: samples of each clip.
        span: the phase of the run that is read; the batch is its own. None for a run of one phase.

    Raises:
        UserError: world size times accumulation times repeats does not divide the global batch.
    """

    def __init__(
        self,
        global_batch_size: int,
        world_size: int = 1,
        rank: int = 0,
        accumulation: int = 1,
        repeats: int = 1,
        span: Span | None = None,
    ) -> None:
        if min(global_batch_size, world_size, accumulation, repeats) < 1 or not 0 <= rank < world_size:
            raise UserError(
                f"a global batch of {global_batch_size}, {accumulation} micro-batches, {repeats} samples of a clip, rank {rank} of "
                f"{world_size} processes: each must be at least 1 and the rank below the number of processes"
            )
        if global_batch_size % (world_size * accumulation * repeats):
            raise UserError(_sizes_that_divide(global_batch_size, world_size, accumulation, repeats))
        self.global_batch_size = global_batch_size
        self.world_size = world_size
        self.rank = rank
        self.accumulation = accumulation
        self.repeats = repeats
        self.micro_batch_size = global_batch_size // (world_size * accumulation)
        self.num_clips = self.micro_batch_size // repeats
        self._span = span or Span(0, 0, 0, global_batch_size)

    def positions(self, step: int, micro: int) -> Integers:
        """The sample positions (b,) of micro-batch `micro` of step `step` on this rank."""
        first = self._span.positions_before(step) + (micro * self.world_size + self.rank) * self.micro_batch_size
        return np.arange(first, first + self.micro_batch_size, dtype=np.int64)

    def clips(self, step: int, micro: int) -> Integers:
        """The clip positions (b / repeats,) that these samples show."""
        return self.positions(step, micro)[:: self.repeats] // self.repeats


def fewest_micro_batches(global_batch_size: int, world_size: int, most: int, repeats: int = 1) -> int:
    """The accumulation with the fewest micro-batches of at most `most` samples a process.

    So the global batch and its order stay whatever the number of processes. Raises `UserError` where no accumulation can keep them, with
    what can.
    """
    if most < repeats:
        raise UserError(
            f"runtime.device_batch_size={most} is below data.repeats={repeats}, and all samples of a clip lie in one micro-batch; "
            f"set it to {repeats} or more"
        )
    if global_batch_size % (world_size * repeats):
        raise UserError(_sizes_that_divide(global_batch_size, world_size, 1, repeats))
    clips = global_batch_size // (world_size * repeats)
    return next(count for count in range(1, clips + 1) if clips % count == 0 and clips // count * repeats <= most)


def _sizes_that_divide(batch: int, world: int, accumulation: int, repeats: int) -> str:
    """The sentence for a global batch that cannot be split evenly, with what can."""
    part = world * accumulation * repeats
    below, above = batch // part * part, -(-batch // part) * part
    sizes = " or ".join(str(size) for size in (below, above) if size)
    of_clips = f" of clips with data.repeats={repeats} samples" if repeats > 1 else ""
    message = (
        f"data.global_batch_size={batch} cannot be split over {world} processes with {accumulation} micro-batches each{of_clips}; "
        f"use a global batch of {sizes}"
    )
    if batch % repeats:
        return message
    clips = batch // repeats
    allowed = [str(number) for number in range(1, clips // world + 1) if clips % (world * number) == 0]
    if allowed:
        return f"{message}, or keep it and accumulate {', '.join(allowed)}"
    worlds = ", ".join(str(number) for number in range(1, clips + 1) if clips % number == 0)
    return f"{message}, or keep it and start {worlds} processes"


@dataclass(frozen=True)
class ClipBatch:
    """The clips of one micro-batch; heights and widths differ between videos, so the pixels are a list.

    `clips`, each once, in the order of the samples that show them; sample `positions` int64 (b,); the `step` and `micro` they are for;
    `repeats` samples of each clip; `num_micro` micro-batches of the step.
    """

    clips: list[Clip]
    positions: Integers
    step: int
    micro: int
    repeats: int = 1
    num_micro: int = 1

    @property
    def pixels(self) -> list[torch.Tensor]:
        """uint8 (T, H, W, 3) of every sample, b of them; those of one clip are the same tensor."""
        return [clip.pixels for clip in self.clips for _ in range(self.repeats)]

    @property
    def places(self) -> list[Place]:
        """Where the pixels of every sample lie in the frames of their video."""
        return [clip.place for clip in self.clips for _ in range(self.repeats)]

    @property
    def source_index(self) -> Integers:
        """(b / repeats,) index of every clip's source in the mixture's table."""
        return np.array([clip.source_index for clip in self.clips], dtype=np.int64)

    @property
    def rows(self) -> Integers:
        """(b / repeats,) manifest row of every clip."""
        return np.array([clip.row for clip in self.clips], dtype=np.int64)

    @property
    def failures(self) -> list[Failure]:
        """The videos that failed and were replaced in this batch."""
        return [failure for clip in self.clips for failure in clip.failures]


def _unsaid(sentence: str) -> None:
    """Where nobody listens."""


@dataclass(frozen=True)
class ReadAhead:
    """How clips are read ahead, and what a bad video may cost.

    `num_workers`: loading processes; 0 reads in this process, which nothing then protects against a decoder that crashes or hangs.
    `batches`, `num_bytes`: so much is read ahead at most, in micro-batches and in bytes of pixels (what is waited for excepted).
    `timeout_seconds`: a video that takes longer at one position counts as failed. `max_failure_rate`: the run ends where a larger share
    of a source's reads fail; see surgrec/data/failures.py.
    """

    num_workers: int = 0
    batches: int = 2
    num_bytes: int = 2**30
    timeout_seconds: float = 120.0
    max_failure_rate: float = 0.5

    def __post_init__(self) -> None:
        if self.num_workers < 0 or self.batches < 1 or self.num_bytes < 1:
            raise UserError(
                f"data.workers={self.num_workers} with a prefetch of {self.batches} batches and {self.num_bytes} bytes: give 0 workers "
                "or more, a prefetch of 1 or more"
            )
        if not self.timeout_seconds > 0:
            raise UserError(f"data.clip_timeout_seconds={self.timeout_seconds:g} must be above 0")


class ClipLoader:
    """Iterates the `ClipBatch`es of steps `first_step` <= s < `last_step` in (step, micro) order.

    Clips are the same with any number of workers, also where workers die. One iteration at a time: a new one ends the one before. Use
    it as a context manager or call `close`, so that the workers end when the run does.

    Args:
        reader: reads the clip at a position; its class must be importable (not defined in a script).
        plan: positions of this rank.
        first_step, last_step: half-open range of steps; a resumed run starts at any step.
        ahead: processes, limits.
        say: is told what befell processes and videos, a sentence each; by another thread.

    Attributes:
        seconds_waiting: total time the caller has waited for clips; it only grows.

    Raises, while iterating:
        DataError: a source whose videos all fail, or too many of them, or processes that die whatever they read.
    """

    def __init__(
        self,
        reader: ClipReader,
        plan: PositionPlan,
        first_step: int,
        last_step: int,
        ahead: ReadAhead | None = None,
        say: Callable[[str], object] = _unsaid,
    ) -> None:
        self.reader = reader
        self.plan = plan
        self.first_step = first_step
        self.num_steps = max(last_step - first_step, 0)
        self.ahead = ahead or ReadAhead()
        self.rates = FailureRates(self.ahead.max_failure_rate)
        self.seconds_waiting = 0.0
        self._say = say
        self._pool: ReaderPool | None = None
        self._is_closed = threading.Event()
        if self.ahead.num_workers:
            prepare_fork_server()  # it imports torch while the caller builds its model

    def __len__(self) -> int:
        return self.num_steps * self.plan.accumulation

    def __enter__(self) -> ClipLoader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[ClipBatch]:
        self.close()
        self._is_closed = is_closed = threading.Event()
        began = time.perf_counter()
        chunks = self._chunks()
        read = self._start_pool(chunks) if self.ahead.num_workers else partial(next, self._read_here(chunks, is_closed))
        pool = self._pool
        if pool is not None and is_closed.is_set():  # by another thread, which could not see the pool yet
            pool.close()
        try:
            for batch in range(len(self)):
                step, micro = divmod(batch, self.plan.accumulation)
                step += self.first_step
                clips = [clip for _ in range(chunks.per_batch) for clip in read()]
                self.rates.add(clips)
                self.seconds_waiting += time.perf_counter() - began
                positions = self.plan.positions(step, micro)
                yield ClipBatch(clips, positions, step, micro, self.plan.repeats, self.plan.accumulation)
                began = time.perf_counter()
        finally:
            if pool is not None:
                pool.close()

    def close(self) -> None:
        """End the workers, at once; also from another thread than the one that iterates."""
        self._is_closed.set()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _chunks(self) -> _Chunks:
        size = min(MAX_CLIPS_PER_CHUNK, -(-self.plan.num_clips // max(self.ahead.num_workers, 1)))
        return _Chunks(self.plan, self.first_step, len(self), size)

    def _start_pool(self, chunks: _Chunks) -> Callable[[], Sequence[Clip]]:
        limits = PoolLimits(self.ahead.batches * chunks.per_batch, self.ahead.num_bytes, self.ahead.timeout_seconds)
        self._pool = ReaderPool(self.reader, chunks, self.ahead.num_workers, limits, self._say)
        return self._pool.next

    def _read_here(self, chunks: _Chunks, is_closed: threading.Event) -> Iterator[Sequence[Clip]]:
        for index in range(len(chunks)):
            clips = []
            for position in chunks[index].tolist():
                if is_closed.is_set():
                    raise DataError(CLOSED)
                clips.append(self.reader.read(position))
            yield clips


class LoaderChain:
    """Loaders one after another, as one: each phase of a run reads clips of its own geometry."""

    def __init__(self, loaders: Sequence[ClipLoader]) -> None:
        self.loaders = tuple(loaders)

    @property
    def seconds_waiting(self) -> float:
        """Total time the caller has waited for clips; it only grows."""
        return sum(loader.seconds_waiting for loader in self.loaders)

    def __iter__(self) -> Iterator[ClipBatch]:
        for loader in self.loaders:
            if len(loader):  # a phase that is over has nothing to read
                yield from loader

    def close(self) -> None:
        """End the workers of whichever is reading."""
        for loader in self.loaders:
            loader.close()


class _Chunks:
    """The clip positions of chunk i; each of `num_batches` micro-batches from `first_step` on is cut into `per_batch` chunks of `size`
    positions or fewer."""

    def __init__(self, plan: PositionPlan, first_step: int, num_batches: int, size: int) -> None:
        self.plan = plan
        self.first_step = first_step
        self.size = size
        self.per_batch = -(-plan.num_clips // size)
        self.length = num_batches * self.per_batch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Integers:
        batch, chunk = divmod(index, self.per_batch)
        step, micro = divmod(batch, self.plan.accumulation)
        return self.plan.clips(self.first_step + step, micro)[chunk * self.size : (chunk + 1) * self.size]
