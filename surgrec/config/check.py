"""What types cannot say: ranges of options that would otherwise fail late, or be obeyed in silence.

In: a typed configuration. Out: nothing, or a `UserError` that names the option. It is its own file because everything else checks its
own arguments when it is built; these are read in the middle of a run.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from surgrec.config.schema import Config
from surgrec.core.errors import UserError

_AT_LEAST_ONE = (
    "data.global_batch_size",
    "data.max_attempts",
    "trainer.steps",
    "trainer.log_every",
    "trainer.checkpoint_every",
    "trainer.keep_checkpoints",
    "trainer.picture_every",
    "trainer.health_every",
    "trainer.collapse_patience_steps",
    "probe.windows",
    "runtime.accumulation",
)
_NOT_NEGATIVE = (
    "optim.lr",
    "optim.lr_start",
    "optim.lr_end",
    "optim.warmup_steps",
    "optim.weight_decay",
    "optim.weight_decay_end",
    "optim.clip_norm",
)


def check(config: Config) -> None:
    """Raise `UserError` for the first option that is out of its range or has too many or too few values."""
    for group in ("augment", "mask", "optim"):
        _check_lengths(group, getattr(config, group))
    for option in _AT_LEAST_ONE:
        _require(option, value := _value(config, option), value >= 1, "at least 1")
    for option in _NOT_NEGATIVE:
        value = _value(config, option)
        _require(option, value, value is None or (math.isfinite(value) and value >= 0), "a number of at least 0")
    if (every := config.probe.every) is not None:
        _require("probe.every", every, every >= 1, "at least 1")
        for option in ("probe.manifest", "probe.labels"):
            _require(option, _value(config, option), _value(config, option) is not None, "given with probe.every")
    for option in ("objective.ema", "objective.ema_end"):
        value = _value(config, option)
        _require(option, value, value is None or 0 <= value <= 1, "between 0 and 1")


def _check_lengths(group: str, node: Any) -> None:
    """OmegaConf checks the type of a tuple's values, not their number."""
    for field in fields(node):
        if str(field.type).startswith("tuple"):
            value, wanted = getattr(node, field.name), str(field.type).count("float")
            _require(f"{group}.{field.name}", list(value), len(value) == wanted, f"a list of {wanted} numbers")


def _value(config: Config, option: str) -> Any:
    """The option's value; None where this objective does not have it."""
    group, name = option.split(".")
    return getattr(getattr(config, group), name, None)


def _require(option: str, value: object, is_right: bool, wanted: str) -> None:
    if not is_right:
        raise UserError(f"{option}={value} must be {wanted}")
