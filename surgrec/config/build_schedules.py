"""What grows or shrinks over the whole run: the target encoder's momentum, the weight of the loss on context tokens.

In: a configuration, all phases of it. Out: schedules. It is its own file because a schedule knows every phase, and what else is built
knows one.
"""

from __future__ import annotations

from dataclasses import replace

from surgrec.config.phases import phases_of
from surgrec.config.schema import Config, JEPAConfig
from surgrec.optim.schedules import Ramp, Schedule, Shape


def build_momentum(config: Config, node: JEPAConfig) -> Schedule:
    """The target encoder's momentum over the run, all phases of it."""
    if node.ema is not None:
        end = node.ema if node.ema_end is None else node.ema_end
        return Schedule(node.ema, config.trainer.steps, Shape.linear, end=end)
    assert node.ema_half_life_samples is not None
    half_life = node.ema_half_life_samples
    return one_after_another(
        [Schedule(0.5 ** (phase.span.batch / half_life), phase.span.num_steps) for phase in phases_of(config)]
    )


def build_context_weight(node: JEPAConfig) -> Ramp | None:
    """The weight of the loss on context tokens over the run, where there is such a loss."""
    return Ramp(node.context_weight, *node.context_ramp_steps) if node.dense else None


def one_after_another(schedules: list[Schedule]) -> Schedule:
    """The schedules of all phases as one."""
    *before, whole = schedules
    for schedule in reversed(before):
        whole = replace(schedule, then=whole)
    return whole
