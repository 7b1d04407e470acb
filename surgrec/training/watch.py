"""Watching a run: its health as numbers, and the moment at which they mean a collapse.

In: what a step saw. Out: numbers for the log, the run's pulse, and once per episode a sentence that says what was seen, since when,
what it means and what to try; then the run goes on, ends, or goes back. It is its own file because the signs and their thresholds
must be read in one place; they are explained, with measured bands, in docs/healthy_runs.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Literal

import torch

from surgrec.core.errors import UserError
from surgrec.objectives.diagnostics import HEALTH, health
from surgrec.objectives.ema import squared_distance
from surgrec.objectives.objective import Objective
from surgrec.training.checkpoint import Checkpoints, Progress, Pulse
from surgrec.training.runtime import Runtime
from surgrec.training.step import StepResult

MAX_ROLLBACKS = 3
RATE_FACTOR = 0.3  # of the learning rate from a rollback on; three of them leave 3 %


OnCollapse = Literal["warn", "stop", "rollback"]


@dataclass(frozen=True)
class WatchSpec:
    """Steps between readings; for how many steps all must be bad to be a collapse (`patience_steps`), none of the first `grace_steps`
    counting; and what follows: a sentence; that and the end of the run; or that and going back to a healthy checkpoint.
    """

    every: int
    patience_steps: int
    grace_steps: int
    on_collapse: OnCollapse


class CollapseError(UserError):
    """The features of the run have collapsed, and it was told to stop then, or going back has not helped."""


@dataclass(frozen=True)
class Sign:
    """A number that must not be `below` or `above`; `what` it measures."""

    number: str
    what: str
    below: float | None = None
    above: float | None = None

    def is_in(self, numbers: dict[str, float]) -> bool:
        """Whether the reading shows it; a number that was not measured shows nothing."""
        value = numbers.get(self.number)
        if value is None:
            return False
        return (self.below is not None and value < self.below) or (self.above is not None and value > self.above)

    def told(self, numbers: dict[str, float]) -> str:
        """`effective rank 4.2 (below 6)`."""
        bound = f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"
        return f"{self.what} {numbers[self.number]:.3g} ({bound})"


SIGNS = (
    Sign("effective_rank", "effective rank of the features", below=8.0),
    Sign("feature_std", "standard deviation of the features", below=0.25),
    Sign("clip_similarity", "cosine between features of different clips", above=0.9),
    Sign("target_std", "standard deviation of the targets", below=0.25),
)
NUM_SIGNS = 2  # at least, in a bad reading: each alone has harmless causes, such as a corpus of much the same pictures
MEANING = "the features no longer tell clips apart, so a lower loss means nothing"
REMEDIES = "a lower optim.lr, a longer optim.warmup_steps or a larger data.global_batch_size"
EMA_REMEDY = "objective.ema nearer to 1 (the target encoder follows at once: its distance is 0)"


def read_health(runtime: Runtime, objective: Objective, result: StepResult) -> dict[str, float]:
    """Health of the last micro-batch of every rank, averaged over ranks; with a target encoder, also `target_distance`. Waits for the
    device. All ranks call it and get the same.

    A number that could not be measured is left out: the similarity of clips where a rank has one clip in a micro-batch.
    """
    values = health(result.outcome, result.targets)
    if "target_encoder" in objective.frozen:
        apart = squared_distance(objective.frozen["target_encoder"], objective.learner.encoder)  # type: ignore[arg-type]
        values = torch.cat([values, apart.float()])
    measured = runtime.mean(values).tolist()
    numbers = dict(zip(HEALTH, measured, strict=False))
    if len(measured) > len(HEALTH):
        squared, size = measured[len(HEALTH) :]
        numbers["target_distance"] = (squared / size) ** 0.5 if size else 0.0
    return {name: value for name, value in numbers.items() if value == value}


def signs_in(numbers: dict[str, float]) -> list[Sign]:
    """The signs that a reading shows."""
    return [sign for sign in SIGNS if sign.is_in(numbers)]


def felt(spec: WatchSpec, pulse: Pulse, step: int, numbers: dict[str, float]) -> Pulse:
    """The pulse after the reading of `step`. No reading is bad before `grace_steps`."""
    if step <= spec.grace_steps or len(signs_in(numbers)) < NUM_SIGNS:
        return Pulse(last_good=step)
    return replace(pulse, bad_since=pulse.bad_since or step)


def is_collapsed(spec: WatchSpec, pulse: Pulse, step: int) -> bool:
    """Whether readings have been bad for long enough."""
    return 0 < pulse.bad_since <= step - spec.patience_steps


def describe_collapse(pulse: Pulse, step: int, numbers: dict[str, float]) -> str:
    """What was seen, since when, what it means, what to try: one sentence of several parts."""
    seen = ", ".join(sign.told(numbers) for sign in signs_in(numbers))
    remedies = f"{EMA_REMEDY}, {REMEDIES}" if numbers.get("target_distance") == 0 else REMEDIES
    return (
        f"step {step}: the features have collapsed, in every reading since step {pulse.bad_since}: {seen}; {MEANING}; "
        f"try {remedies}; docs/healthy_runs.md explains the numbers"
    )


def rate_factor(progress: Progress) -> float:
    """What the learning rate is multiplied with after the run's rollbacks."""
    return float(RATE_FACTOR ** len(progress.rollbacks))


def told_rollbacks(progress: Progress) -> list[str]:
    """How the run departs from its configuration, one line a rollback: what a release must tell."""
    return [
        f"optim.lr from step {each.to_step} on x {RATE_FACTOR**number:.2g} (rolled back at step {each.from_step})"
        for number, each in enumerate(progress.rollbacks, start=1)
    ]


def respond(spec: WatchSpec, runtime: Runtime, checkpoints: Checkpoints, progress: Progress, sentence: str) -> bool:
    """What follows a collapse: True where the run went back to a healthy checkpoint. All ranks call it. Raises `CollapseError`."""
    healthy = checkpoints.healthy(progress)
    runtime.barrier()  # all ranks have looked before the first one changes the folder
    kept = f"the newest checkpoint from before is {healthy.name}" if healthy else "there is no checkpoint from before"
    if spec.on_collapse == "warn":
        _say(runtime, f"{sentence}; {kept}")
        return False
    if spec.on_collapse == "stop" or healthy is None:
        raise CollapseError(f"{sentence}; {kept}")
    if len(progress.rollbacks) == MAX_ROLLBACKS:
        raise CollapseError(f"{sentence}; going back {MAX_ROLLBACKS} times has not helped; {kept}")
    if runtime.is_first:
        checkpoints.go_back(healthy, progress)
    rate = RATE_FACTOR * rate_factor(progress)
    _say(runtime, f"{sentence}; back to {healthy.name}, from there with {rate:.2g} of the learning rate")
    runtime.barrier()
    return True


def _say(runtime: Runtime, sentence: str) -> None:
    if runtime.is_first:
        print(f"warning: {sentence}", file=sys.stderr, flush=True)
