"""Watching a run: its health as numbers, and the moment at which they mean a collapse.

In: what a step saw. Out: numbers for the log, the run's pulse, and once per episode a sentence that says what was seen, since when,
what it means and what to try; then the run goes on, ends, or goes back. It is its own file because the signs and their thresholds
must be read in one place; they are explained, with measured bands, in docs/healthy_runs.md.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Literal

import torch

from surgrec.objectives.diagnostics import HEALTH, health
from surgrec.objectives.ema import squared_distance
from surgrec.objectives.objective import Objective
from surgrec.training.checkpoint import Checkpoints
from surgrec.training.progress import Progress, Pulse
from surgrec.training.runtime import Runtime, SharedError
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


class CollapseError(SharedError):
    """The features of the run have collapsed, and it was told to stop then, or going back has not helped."""


@dataclass(frozen=True)
class Sign:
    """A number that must not be `below` so much; `what` it measures. It means nothing unless the number `given` was measured too, and is
    `at_least` so much.
    """

    number: str
    what: str
    below: float
    given: str | None = None
    at_least: float = 0.0

    def is_in(self, numbers: dict[str, float]) -> bool:
        """Whether the reading shows it; a number that was not measured shows nothing."""
        if self.given is not None and not (self.given in numbers and numbers[self.given] >= self.at_least):
            return False
        return numbers.get(self.number, self.below) < self.below

    def told(self, numbers: dict[str, float]) -> str:
        """`effective rank of the features 4.2 (below 8)`."""
        return f"{self.what} {numbers[self.number]:.3g} (below {self.below:g})"


SIGNS = (  # each means what it says whatever the model's width, and is far from what healthy runs show
    # of few tokens the rank is low whatever they are
    Sign("effective_rank", "effective rank of the features", below=8.0, given="num_tokens", at_least=64),
    Sign("feature_std", "standard deviation of the features", below=0.05),
    # without a target encoder targets are pixels, which are as they are
    Sign("target_std", "standard deviation of the targets", below=0.05, given="target_distance"),
)
MEANING = "the features no longer tell clips apart, so a lower loss means nothing"
REMEDIES = "a lower optim.lr, a longer optim.warmup_steps or a larger data.global_batch_size"
EMA_REMEDY = "objective.ema nearer to 1 (the target encoder follows at once: its distance is 0)"


def read_health(runtime: Runtime, objective: Objective, result: StepResult) -> dict[str, float]:
    """Health over the last micro-batch of all ranks; with a target encoder, also `target_distance`. Waits for the device. All ranks
    call it and get the same.

    A number that could not be measured is left out: the similarity of clips where there is one clip.
    """
    values = health(result.outcome, result.targets, runtime.sum)
    if "target_encoder" in objective.frozen:
        apart = squared_distance(objective.frozen["target_encoder"], objective.learner.encoder)  # type: ignore[arg-type]
        squared, size = runtime.sum(apart.double())  # of sharded weights
        values = torch.cat([values, (squared / size).sqrt()[None]])
    numbers = zip((*HEALTH, "target_distance"), values.tolist(), strict=False)
    return {name: value for name, value in numbers if math.isfinite(value)}


def signs_in(numbers: dict[str, float]) -> list[Sign]:
    """The signs that a reading shows."""
    return [sign for sign in SIGNS if sign.is_in(numbers)]


def felt(spec: WatchSpec, pulse: Pulse, step: int, numbers: dict[str, float]) -> Pulse:
    """The pulse after the reading of `step`. One with signs is neither good nor bad up to `grace_steps`.

    A collapse begins before it shows, so a good reading vouches for checkpoints that are older by the patience. What has once been
    trusted stays so.
    """
    if not signs_in(numbers):
        return Pulse(safe_until=max(pulse.safe_until, step - spec.patience_steps))
    return pulse if step <= spec.grace_steps else replace(pulse, bad_since=pulse.bad_since or step)


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
    checkpoints.wait()  # for the one that is being written, which may be the one to go back to
    healthy = checkpoints.healthy(progress)
    runtime.barrier()  # all ranks have looked before the first one changes the folder
    kept = f"the newest checkpoint from before is {healthy.name}" if healthy else "there is no checkpoint from before"
    if spec.on_collapse == "warn":
        warn(runtime, f"{sentence}; {kept}")
        return False
    if spec.on_collapse == "stop" or healthy is None:
        raise CollapseError(f"{sentence}; {kept}")
    if len(progress.rollbacks) == MAX_ROLLBACKS:
        raise CollapseError(f"{sentence}; going back {MAX_ROLLBACKS} times has not helped; {kept}")
    if runtime.is_first:
        checkpoints.go_back(healthy, progress)
    rate = RATE_FACTOR * rate_factor(progress)
    warn(runtime, f"{sentence}; back to {healthy.name}, from there with {rate:.2g} of the learning rate")
    runtime.barrier()
    return True


def warn(runtime: Runtime, sentence: str) -> None:
    """Print the sentence, once whatever the number of ranks."""
    if runtime.is_first:
        print(f"warning: {sentence}", file=sys.stderr, flush=True)
