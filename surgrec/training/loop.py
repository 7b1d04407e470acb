"""The whole run on one page: read this first.

In: a `Run` that `surgrec/config/build.py` wired. Out: a run folder with metrics and checkpoints. Everything that a step needs is a pure
function of (configuration, step), so to continue is to restore the weights and go on from the step that the checkpoint names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.optim import Optimizer

from surgrec.core.console import progress as progress_bar
from surgrec.core.errors import UserError
from surgrec.core.spans import Spans
from surgrec.data.loader import LoaderChain
from surgrec.data.sampler import Sampler
from surgrec.objectives.diagnostics import health
from surgrec.optim.optimizer import set_hyper_parameters
from surgrec.optim.schedules import Schedule
from surgrec.training.checkpoint import Checkpoints, Progress, Trained
from surgrec.training.folder import RunFolder
from surgrec.training.log import Log, Sink, describe
from surgrec.training.preempt import listen
from surgrec.training.runtime import Runtime
from surgrec.training.step import Step, StepResult


class NonFiniteLossError(UserError):
    """The loss or its gradient is no longer a number; the weights are still those of the step before."""


@dataclass(frozen=True)
class Plan:
    """Length of the run and its rhythm, in steps; schedules of learning rate and weight decay; `clip_norm` may be absent.

    `spans`: where the phases lie; `repeats`: samples of each clip.
    """

    steps: int
    log_every: int
    checkpoint_every: int
    picture_every: int
    clip_norm: float | None
    rate: Schedule
    weight_decay: Schedule
    spans: Spans
    repeats: int


@dataclass(frozen=True)
class Run:
    """All parts of a run, wired."""

    runtime: Runtime
    folder: RunFolder
    plan: Plan
    step: Step
    optimizer: Optimizer
    trained: Trained
    checkpoints: Checkpoints
    sampler: Sampler
    source_names: tuple[str, ...]
    video_ids: npt.NDArray[np.str_]
    make_loader: Callable[[int], LoaderChain]
    draw_pictures: Callable[[int], object]
    make_sink: Callable[[], Sink | None]


def pretrain(run: Run) -> str | None:
    """Train to the last step, or until a signal asks to stop; returns the signal's name then. All ranks call it."""
    progress = run.checkpoints.restore(run.trained)
    if run.runtime.is_first:
        run.folder.rewind(progress.step)
    run.runtime.barrier()
    plan, loader = run.plan, run.make_loader(progress.step)
    log = Log(run.folder, run.make_sink(), plan.spans.positions_before, progress.step) if run.runtime.is_first else None
    batches = iter(loader)
    with listen() as stop, progress_bar("training", plan.steps if log else None, progress.step) as advance:
        try:
            while progress.step < plan.steps:
                lr, weight_decay = set_hyper_parameters(run.optimizer, progress.step, plan.rate, plan.weight_decay)
                run.step.objective.before_update(progress.step)
                result = run.step.run(batches)
                loss, is_stopping = agree(run, result, bool(stop))
                grad_norm = clip_gradients(run)
                check_finite(run, result, loss, grad_norm, progress.step)
                run.optimizer.step()
                run.optimizer.zero_grad(set_to_none=True)
                run.step.objective.after_update(progress.step)
                progress.step += 1
                count_sources(run, progress)
                run.folder.add_failures(progress.step, [failure for clip in result.clips for failure in clip.failures])

                is_last = progress.step == plan.steps or is_stopping
                if log and (progress.step % plan.log_every == 0 or progress.step == 1 or progress.step == plan.steps):
                    numbers = {"loss": loss, "lr": lr, "weight_decay": weight_decay, "grad_norm": grad_norm}
                    numbers["phase"] = plan.spans.number_at(progress.step - 1)
                    numbers |= health(result.outcome, result.targets)
                    log.add(progress.step, numbers, progress.sources, loader.seconds_waiting)
                    advance(0, describe(numbers))
                advance()
                if progress.step % plan.checkpoint_every == 0 or is_last:
                    run.checkpoints.save(run.runtime, run.trained, progress)
                if progress.step % plan.picture_every == 0 or progress.step == plan.steps:
                    run.draw_pictures(progress.step)
                if is_stopping:
                    return stop.reason or "a signal on another rank"
        finally:
            loader.close()
            if log:
                log.close()
    return None


def agree(run: Run, result: StepResult, wants_stop: bool) -> tuple[float, bool]:
    """The mean loss over ranks and whether any was asked to stop, in one reduction."""
    own = torch.stack([result.loss.float(), torch.tensor(float(wants_stop), device=result.loss.device)])
    loss, stopping = run.runtime.mean(own).tolist()
    return loss, stopping > 0


def check_finite(run: Run, result: StepResult, loss: float, grad_norm: float, step: int) -> None:
    """End the run, on all ranks alike, before an update that would spoil the weights; half precision may break the gradient alone."""
    if np.isfinite(loss) and np.isfinite(grad_norm):
        return
    what = f"gradient's norm at step {step + 1} is {grad_norm}"
    if not np.isfinite(loss):
        what = f"loss of step {step + 1} is {loss}"
    where = "of this rank" if torch.isfinite(result.loss) else "whose loss it is"
    videos = ", ".join(sorted({str(run.video_ids[clip.row]) for clip in result.clips}))
    raise NonFiniteLossError(f"the {what}; nothing was updated. Lower optim.lr or look at the videos {where}: {videos}")


def clip_gradients(run: Run) -> float:
    """Scale gradients down to the plan's norm where there is one; returns the norm before, over all ranks' shards."""
    gradients = [p.grad for p in run.trained.learner.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    norm = getattr(norm, "full_tensor", lambda: norm)()
    if run.plan.clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(run.trained.learner.parameters(), run.plan.clip_norm, norm)
    return float(norm)


def count_sources(run: Run, progress: Progress) -> None:
    """Add the step's clips, of all ranks, each once, to the count per source; computed from positions, so no rank need be asked."""
    first, stop = (
        run.plan.spans.positions_before(step) // run.plan.repeats for step in (progress.step - 1, progress.step)
    )
    drawn = run.sampler.draw(np.arange(first, stop)).source_index
    for index, count in enumerate(np.bincount(drawn, minlength=len(run.source_names))):
        name = run.source_names[index]
        progress.sources[name] = progress.sources.get(name, 0) + int(count)
