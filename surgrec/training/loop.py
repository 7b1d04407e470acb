"""The whole run on one page: read this first.

In: a `Run` that `surgrec/config/build.py` wired. Out: a run folder with metrics and checkpoints. Everything that a step needs is a pure
function of (configuration, step), so to continue is to restore the weights and go on from the step that the checkpoint names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import NamedTuple

import numpy as np
from torch.optim import Optimizer

from surgrec.core.console import progress as progress_bar
from surgrec.core.spans import Spans
from surgrec.data.feed import DeviceFeed
from surgrec.data.loader import LoaderChain
from surgrec.data.sampler import Sampler
from surgrec.optim.optimizer import set_hyper_parameters
from surgrec.optim.schedules import Schedule
from surgrec.training.checkpoint import Checkpoints
from surgrec.training.folder import RunFolder
from surgrec.training.hang import HangWatch, watch_for_hangs
from surgrec.training.log import Log, Sink, describe, describe_device
from surgrec.training.pace import Pace, costs_of
from surgrec.training.preempt import StopFlag, listen
from surgrec.training.progress import Progress
from surgrec.training.runtime import Runtime, SharedError
from surgrec.training.sources import FailureCount, source_numbers
from surgrec.training.step import Step, StepResult
from surgrec.training.trained import Trained
from surgrec.training.update import Readings, Update
from surgrec.training.watch import (
    WatchSpec,
    describe_collapse,
    felt,
    is_collapsed,
    rate_factor,
    read_health,
    respond,
    warn,
)


class Due(NamedTuple):
    """What is done after a step. Only where something is, the device is waited for."""

    is_logged: bool
    is_examined: bool
    is_probed: bool
    is_saved: bool
    is_drawn: bool


@dataclass(frozen=True)
class Plan:
    """Length of the run and its rhythm, in steps; schedules of learning rate and weight decay; `clip_norm` may be absent, as may the
    probe (`probe_every`).

    `spans`: where the phases lie; `repeats`: samples of each clip; `clip_flops`: operations of a sample in each phase;
    `straggler_factor`: see surgrec/training/pace.py.
    """

    steps: int
    log_every: int
    checkpoint_every: int
    picture_every: int
    probe_every: int | None
    clip_norm: float | None
    rate: Schedule
    weight_decay: Schedule
    spans: Spans
    repeats: int
    clip_flops: tuple[int, ...]
    straggler_factor: float

    def due(self, step: int, health_every: int) -> Due:
        """What is done after the update number `step`; everything after the last, health also after the first."""

        def is_due(every: int | None) -> bool:
            return every is not None and (step % every == 0 or step == self.steps)

        is_examined, is_probed = is_due(health_every) or step == 1, is_due(self.probe_every)
        is_logged = is_due(self.log_every) or is_examined or is_probed
        return Due(is_logged, is_examined, is_probed, is_due(self.checkpoint_every), is_due(self.picture_every))


@dataclass(frozen=True)
class Run:
    """All parts of a run, wired."""

    runtime: Runtime
    folder: RunFolder
    plan: Plan
    watch: WatchSpec
    step: Step
    optimizer: Optimizer
    trained: Trained
    checkpoints: Checkpoints
    sampler: Sampler
    source_names: tuple[str, ...]
    source_hours: Mapping[str, float]  # usable
    clip_seconds: tuple[float, ...]  # that a clip of each phase shows
    video_ids: Sequence[str]  # of each manifest row
    make_loader: Callable[[int], LoaderChain | DeviceFeed]
    draw_pictures: Callable[[int], object]
    probe: Callable[[], dict[str, float]] | None  # one that gives no number raises a `SharedError`
    make_sink: Callable[[Progress], Sink | None]
    record_footage: Callable[[int], object]


class End(Enum):
    """How a stretch of training ended."""

    finished = auto()
    stopped = auto()
    rolled_back = auto()


def pretrain(run: Run, stop: StopFlag | None = None) -> str | None:
    """Train to the last step, or until a signal asks to stop; returns the signal's name then. All ranks call it. `stop`: the flag, where
    the caller listens already.

    Raises `NonFiniteLossError` and, where the run is to stop after a collapse, `CollapseError`.
    """
    if stop is None:
        with listen() as stop:
            return pretrain(run, stop)
    world, minutes = run.runtime.world, run.runtime.spec.hang_minutes
    try:
        with watch_for_hangs(run.folder.stacks, world.rank, world.size, minutes) as watch:
            end = train_stretch(run, stop, watch)
            while end is End.rolled_back:
                end = train_stretch(run, stop, watch)
    finally:  # also where the run breaks off: what it has begun to save is worth having, however long that takes
        run.checkpoints.wait()
    return (stop.reason or "a signal on another rank") if end is End.stopped else None


def train_stretch(run: Run, stop: StopFlag, watch: HangWatch) -> End:
    """Train from the newest checkpoint on, until the run is at its end, stopped or rolled back. Whatever may take long is followed by a
    beat, so that `watch` does not take it for a hang.
    """
    progress = begin(run)
    watch.beat()
    plan, loader = run.plan, run.make_loader(progress.step)
    update, readings = Update(run.runtime, run.trained, plan.clip_norm), Readings()
    sink = run.make_sink(progress) if run.runtime.is_first else None
    log = Log(run.folder, sink, plan.spans.positions_before, progress.step) if run.runtime.is_first else None
    costs = costs_of(run.runtime, plan.clip_flops, plan.spans)
    pace = Pace(run.runtime, run.step.clock, costs, run.video_ids, plan.straggler_factor, progress.step)
    failures, factor = FailureCount(run.folder.failures_file), rate_factor(progress)
    batches = watch.beating(iter(loader))
    with progress_bar("training", plan.steps if log else None, progress.step) as advance:
        try:
            while progress.step < plan.steps:
                lr, decay = set_hyper_parameters(run.optimizer, progress.step, plan.rate, plan.weight_decay, factor)
                run.step.objective.before_update(progress.step)
                result = run.step.run(batches)
                pace.note(result.clips)
                videos = [run.video_ids[clip.row] for clip in result.clips]
                # a save that has gone wrong beside the training ends it too: the next one raises why, on all ranks alike
                wants_stop = bool(stop) or run.checkpoints.has_failed
                reading = update.apply(progress.step + 1, result.loss, wants_stop, videos)
                run.step.objective.after_update(progress.step)
                progress.step += 1
                count_sources(run, progress)
                run.folder.add_failures(progress.step, [failure for clip in result.clips for failure in clip.failures])

                due = plan.due(progress.step, run.watch.every)
                seen = readings.newest(reading, wait=due.is_logged or due.is_saved)
                is_stopping = seen is not None and seen.is_stopping
                watch.beat()
                if seen is not None and due.is_logged:
                    numbers = {"loss": seen.loss, "lr": lr, "weight_decay": decay, "grad_norm": seen.grad_norm}
                    numbers["phase"] = plan.spans.number_at(progress.step - 1)
                    timings = pace.line(progress.step, loader.seconds_waiting)
                    numbers, sentence = examine(run, progress, due, result, numbers)
                    watch.beat()
                    if log:
                        more, waited = of_sources(run, progress, failures), loader.seconds_waiting
                        log.add(progress.step, numbers, progress.sources, waited, sentence, more, timings)
                        advance(0, f"{describe(numbers)}  {describe_device(timings)}")
                    if sentence and respond(run.watch, run.runtime, run.checkpoints, progress, sentence):
                        return End.rolled_back
                advance()
                if due.is_saved or is_stopping:
                    run.checkpoints.save(run.runtime, run.trained, progress)
                    watch.beat()
                if due.is_drawn:
                    run.draw_pictures(progress.step)
                    watch.beat()
                if is_stopping:
                    return End.stopped
        finally:
            loader.close()
            if log:
                log.close()
    return End.finished


def begin(run: Run) -> Progress:
    """Restore the newest checkpoint, drop what was logged after it, note what is drawn from here on. A run that may be rolled back first
    saves where it starts."""
    progress = run.checkpoints.restore(run.runtime, run.trained)
    if run.watch.on_collapse == "rollback" and run.checkpoints.resumed_from is None:
        run.checkpoints.save(run.runtime, run.trained, progress)
        progress = run.checkpoints.restore(run.runtime, run.trained)
    if run.runtime.is_first:
        run.folder.rewind(progress.step)
        run.checkpoints.retire(progress)  # which a kill may have prevented, and later verdicts depend on what is there
        run.record_footage(progress.step)
    run.runtime.barrier()
    return progress


def examine(
    run: Run, progress: Progress, due: Due, result: StepResult, numbers: dict[str, float]
) -> tuple[dict[str, float], str | None]:
    """`numbers` with what else is due after this step, and the sentence of an alarm. All ranks call it and get the same."""
    sentence = None
    if due.is_examined:
        numbers = numbers | read_health(run.runtime, run.step.objective, result)
        pulse = progress.pulse = felt(run.watch, progress.pulse, progress.step, numbers)
        if is_collapsed(run.watch, pulse, progress.step) and not (pulse.is_told and run.watch.on_collapse == "warn"):
            sentence = describe_collapse(pulse, progress.step, numbers)
            progress.pulse = replace(pulse, is_told=True)
    if due.is_probed and run.probe is not None:
        progress.probe = None
        try:
            numbers = numbers | run.probe()
            progress.probe = numbers.get("probe_knn")
        except SharedError as error:  # the training does not need it
            warn(run.runtime, f"step {progress.step}: {error}; the run goes on without these numbers")
    return numbers, sentence


def of_sources(run: Run, progress: Progress, failures: FailureCount) -> dict[str, dict[str, float]]:
    """What each source has given so far, and what the mixture means it to have given."""
    num_clips = run.plan.spans.positions_before(progress.step) // run.plan.repeats
    shares = dict(zip(run.source_names, run.sampler.intended_shares(num_clips).tolist(), strict=True))
    return source_numbers(progress.source_seconds, run.source_hours, failures.before(progress.step), shares)


def count_sources(run: Run, progress: Progress) -> None:
    """Add the step's clips, of all ranks, each once, to the count per source; computed from positions, so no rank need be asked."""
    first, stop = (
        run.plan.spans.positions_before(step) // run.plan.repeats for step in (progress.step - 1, progress.step)
    )
    drawn = run.sampler.sources(np.arange(first, stop))
    seconds = run.clip_seconds[run.plan.spans.number_at(progress.step - 1)]
    if not progress.source_seconds:  # of a version that counted clips alone, which were of the first phase
        progress.source_seconds = {name: count * run.clip_seconds[0] for name, count in progress.sources.items()}
    for index, count in enumerate(np.bincount(drawn, minlength=len(run.source_names))):
        name = run.source_names[index]
        progress.sources[name] = progress.sources.get(name, 0) + int(count)
        progress.source_seconds[name] = progress.source_seconds.get(name, 0.0) + int(count) * seconds
