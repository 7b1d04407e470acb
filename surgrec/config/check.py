"""What types cannot say: ranges of options that would otherwise fail late, or be obeyed in silence.

In: a typed configuration. Out: nothing, or a `UserError` that names the option. It is its own file because everything else checks its
own arguments when it is built; these are read in the middle of a run.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from surgrec.config.schema import (
    Config,
    JEPAConfig,
    MixConfig,
    MixScheduleConfig,
    PhaseConfig,
    Policy,
    RuntimeConfig,
    Strategy,
)
from surgrec.core.errors import UserError
from surgrec.optim.schedules import Shape

_AT_LEAST_ONE = (
    "data.global_batch_size",
    "data.repeats",
    "data.clips_per_open",
    "data.max_attempts",
    "data.prefetch_batches",
    "data.prefetch_bytes",
    "trainer.steps",
    "trainer.log_every",
    "trainer.checkpoint_every",
    "trainer.keep_checkpoints",
    "trainer.picture_every",
    "trainer.health_every",
    "trainer.collapse_patience_steps",
    "probe.windows",
)
_AT_LEAST_ONE_OR_NULL = (
    "objective.head_width",
    "objective.head_depth",
    "objective.head_heads",
    "runtime.accumulation",
    "runtime.device_batch_size",
    "runtime.shard_size",
)
_NOT_NEGATIVE = (
    "trainer.keep_best",
    "data.open_readers_bytes",
    "optim.lr",
    "optim.lr_start",
    "optim.lr_end",
    "optim.warmup_steps",
    "optim.weight_decay",
    "optim.weight_decay_end",
    "optim.clip_norm",
    "objective.context_weight",
    "runtime.hang_minutes",
)


def check(config: Config) -> None:
    """Raise `UserError` for the first option that is out of its range or has too many or too few values."""
    for group in ("augment", "mask", "optim", "objective"):
        _check_lengths(group, getattr(config, group))
    for option in _AT_LEAST_ONE:
        _require(option, value := _value(config, option), value >= 1, "at least 1")
    for option in _NOT_NEGATIVE:
        value = _value(config, option)
        _require(option, value, value is None or (math.isfinite(value) and value >= 0), "a number of at least 0")
    factor = config.trainer.straggler_factor
    _require("trainer.straggler_factor", factor, factor > 1, "above 1")  # inf: nobody is named
    ramp = _value(config, "objective.context_ramp_steps")
    _require("objective.context_ramp_steps", ramp, ramp is None or 0 <= ramp[0] <= ramp[1], "two ascending steps")
    if isinstance(config.objective, JEPAConfig):
        _check_momentum(config.objective)
        _check_dense(config.objective)
    for option in _AT_LEAST_ONE_OR_NULL:
        _require(option, value := _value(config, option), value is None or value >= 1, "at least 1, or null")
    _check_runtime(config.runtime)
    _check_mix(config)
    for number, phase in enumerate(config.trainer.phases):
        _check_phase(f"trainer.phases[{number}]", phase)
    keep_every = config.trainer.keep_every
    _require("trainer.keep_every", keep_every, keep_every is None or keep_every >= 1, "at least 1, or null")
    if config.trainer.keep_best and config.probe.every is None:
        raise UserError(
            f"trainer.keep_best={config.trainer.keep_best} does nothing without a probe; give probe.every, probe.manifest and "
            "probe.labels, or leave it out"
        )
    if (every := config.probe.every) is not None:
        _require("probe.every", every, every >= 1, "at least 1")
        for option in ("probe.manifest", "probe.labels"):
            _require(option, _value(config, option), _value(config, option) is not None, "given with probe.every")


def _check_runtime(node: RuntimeConfig) -> None:
    """What one strategy alone reads is not given with another; whether sizes fit the processes is known once these are counted."""
    join = node.join_minutes
    _require("runtime.join_minutes", join, 0 < join < math.inf, "above 0")
    if node.shard_size is not None and node.strategy is not Strategy.fsdp:
        raise UserError(
            f"runtime.shard_size={node.shard_size} does nothing under runtime.strategy={node.strategy.value}; "
            "add runtime=fsdp, or leave it out"
        )


def _check_mix(config: Config) -> None:
    """What the names in a manifest need not be known for; the mixture checks the rest."""
    node = config.mix
    share = node.rehearsal_share
    _require(
        "mix.rehearsal_share", share, share is None or 0 <= share < 1, "null, or a share of at least 0 and below 1"
    )
    if node.rehearsal_sources and share is None:
        raise UserError(
            f"mix.rehearsal_sources={node.rehearsal_sources} does nothing without mix.rehearsal_share; "
            "give the share, or leave the sources out"
        )
    _require(
        "mix.max_passes", node.max_passes, node.max_passes is None or 0 < node.max_passes < math.inf, "null, or above 0"
    )
    _check_alphas(config)
    schedule = node.schedule
    if not schedule.is_given:
        usual = MixScheduleConfig()
        for option in ("first_step", "last_step", "shape"):
            if getattr(schedule, option) != getattr(usual, option):
                raise UserError(
                    f"mix.schedule.{option} does nothing, since nothing changes; give mix.schedule an alpha, alphas or weights"
                )
        return
    last = config.trainer.steps if schedule.last_step is None else schedule.last_step
    if not 0 <= schedule.first_step < last:
        raise UserError(
            f"mix.schedule goes from step {schedule.first_step} to step {last}; first_step must be at least 0 and below last_step"
        )
    if schedule.first_step >= (steps := config.trainer.steps + sum(phase.steps for phase in config.trainer.phases)):
        raise UserError(f"mix.schedule.first_step={schedule.first_step} is not reached by a run of {steps} steps")
    if schedule.shape is Shape.constant:
        raise UserError("mix.schedule.shape=constant changes nothing; set linear or cosine")
    if schedule.alphas.video is not None:
        raise UserError("mix.schedule.alphas.video cannot change within a run; set mix.alphas.video")


def _check_alphas(config: Config) -> None:
    """Each is a number that something is made of."""
    node, end = config.mix, config.mix.schedule
    own, later = (
        {f"{key}.{level}": alpha for level, alpha in vars(alphas).items()}
        for key, alphas in (("alphas", node.alphas), ("schedule.alphas", end.alphas))
    )
    given = {name: alpha for name, alpha in {**own, **later, "schedule.alpha": end.alpha}.items() if alpha is not None}
    for option, alpha in {**given, "alpha": node.alpha}.items():
        _require(f"mix.{option}", alpha, math.isfinite(alpha) and alpha >= 0, "a number of at least 0")
    of_levels = {option: alpha for option, alpha in given.items() if not option.endswith(".video")}
    if node.alpha != MixConfig().alpha:
        of_levels["alpha"] = node.alpha
    for option in of_levels:
        if node.policy is not Policy.temperature:
            raise UserError(
                f"mix.{option} does nothing under mix.policy={node.policy.value}; set mix.policy=temperature, or leave it out"
            )
    levels = {*node.levels, "source"}
    has_own = {level for level in levels if own.get(f"alphas.{level}") is not None}
    # where all levels have their own, the alpha of all is none's: at the beginning, and at the end
    ends = {level for level in levels if later.get(f"schedule.alphas.{level}") is not None}
    for option, covered in (("schedule.alpha", has_own | ends), ("alpha", has_own)):
        if option in of_levels and covered == levels:
            raise UserError(
                f"mix.{option} does nothing, since each of mix.levels has its own in mix.alphas; change these, or leave it out"
            )


def _check_momentum(node: JEPAConfig) -> None:
    """It is said in one way, not in two or in none."""
    for option, value in (("ema", node.ema), ("ema_end", node.ema_end)):
        _require(f"objective.{option}", value, value is None or 0 <= value <= 1, "between 0 and 1")
    samples = node.ema_half_life_samples
    _require("objective.ema_half_life_samples", samples, samples is None or 0 < samples < math.inf, "above 0")
    if (node.ema is None) == (samples is None):
        raise UserError(
            f"objective.ema={node.ema} and objective.ema_half_life_samples={samples} both say how slowly the target encoder follows; "
            "give exactly one and set the other to null"
        )
    if samples is not None and node.ema_end is not None:
        raise UserError(
            f"objective.ema_end={node.ema_end} is where objective.ema moves to; with objective.ema_half_life_samples set it to null"
        )


def _check_dense(node: JEPAConfig) -> None:
    """What only dense prediction reads is its default without it, which a run's `config.yaml` has."""
    usual = JEPAConfig(head_width=None, head_depth=None, head_heads=None)
    for option in ("levels", "context_weight", "context_ramp_steps"):
        value, default = (getattr(one, option) for one in (node, usual))
        # a list while composing
        is_default = value == default or (isinstance(default, tuple) and tuple(value) == default)
        if not (node.dense or is_default):
            raise UserError(
                f"objective.{option}={value} does nothing without objective.dense=true; add that, or leave {option} out"
            )


def _check_phase(option: str, phase: PhaseConfig) -> None:
    """The ranges of the options that it replaces."""
    for name in ("steps", "num_frames", "short_side_pixels", "crop_pixels", "global_batch_size"):
        value = getattr(phase, name)
        _require(f"{option}.{name}", value, value is None or value >= 1, "at least 1")
    interval = phase.frame_interval_seconds
    _require(f"{option}.frame_interval_seconds", interval, interval is None or 0 < interval < math.inf, "above 0")
    for name in ("lr", "lr_end"):
        value = getattr(phase, name)
        is_right = value is None or (math.isfinite(value) and value >= 0)
        _require(f"{option}.{name}", value, is_right, "a number of at least 0")


def _check_lengths(group: str, node: Any) -> None:
    """OmegaConf checks the type of a tuple's values, not their number."""
    for field in fields(node):
        if str(field.type).startswith("tuple"):
            value, wanted = getattr(node, field.name), str(field.type).count(",") + 1
            _require(f"{group}.{field.name}", list(value), len(value) == wanted, f"a list of {wanted} numbers")


def _value(config: Config, option: str) -> Any:
    """The option's value; None where this objective does not have it."""
    group, name = option.split(".")
    return getattr(getattr(config, group), name, None)


def _require(option: str, value: object, is_right: bool, wanted: str) -> None:
    if not is_right:
        raise UserError(f"{option}={value} must be {wanted}")
