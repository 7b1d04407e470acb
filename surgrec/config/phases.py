"""A run of several phases as one configuration for each.

In: a configuration. Out: `Phase`s, each with the configuration that holds in it, and where it lies in the run. It is its own file so that
whatever is wired, estimated or released for a phase takes a configuration as ever and knows nothing of phases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from surgrec.config.schema import Config, PhaseConfig
from surgrec.core.spans import Span, Spans
from surgrec.optim.schedules import Schedule

T = TypeVar("T")


@dataclass(frozen=True)
class Phase:
    """One phase: `number` 0 is the run without `trainer.phases`, number k is entry k - 1 of that list.

    `config` holds in it: that of number 0 is the run's own, that of a later one is of a run which consists of this phase alone.
    """

    number: int
    span: Span
    config: Config


def phases_of(config: Config) -> tuple[Phase, ...]:
    """The phases of a run, in their order; one at least."""
    configs = [config]
    for node in config.trainer.phases:
        configs.append(_within(config, node, rate_of(configs[-1]).at(configs[-1].trainer.steps)))
    spans = Spans([(one.trainer.steps, one.data.global_batch_size) for one in configs])
    return tuple(Phase(number, span, one) for number, (span, one) in enumerate(zip(spans.phases, configs, strict=True)))


def spans_of(config: Config) -> Spans:
    """Where the phases lie."""
    return Spans([(phase.span.num_steps, phase.span.batch) for phase in phases_of(config)])


def phase_after(config: Config, num_steps: int) -> Phase:
    """The phase that made the last of `num_steps` updates; the first where there was none."""
    return phases_of(config)[spans_of(config).number_at(max(0, num_steps - 1))]


def rate_of(config: Config) -> Schedule:
    """The learning rate over one phase, its steps counted from 0."""
    node = config.optim
    return Schedule(node.lr, config.trainer.steps, node.lr_shape, node.lr_start, node.lr_end, node.warmup_steps)


def _within(config: Config, node: PhaseConfig, last_rate: float) -> Config:
    """The configuration in the phase `node`, before which the learning rate was `last_rate`."""
    data, augment = config.data, config.augment
    return replace(
        config,
        data=replace(
            data,
            num_frames=_or(node.num_frames, data.num_frames),
            frame_interval_seconds=_or(node.frame_interval_seconds, data.frame_interval_seconds),
            short_side_pixels=_or(node.short_side_pixels, data.short_side_pixels),
            global_batch_size=_or(node.global_batch_size, data.global_batch_size),
        ),
        augment=replace(augment, crop_pixels=_or(node.crop_pixels, augment.crop_pixels)),
        optim=replace(
            config.optim,
            lr=_or(node.lr, last_rate),
            lr_end=node.lr_end,
            lr_shape=node.lr_shape,
            warmup_steps=0,
        ),
        trainer=replace(config.trainer, steps=node.steps, phases=[]),
    )


def _or(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
