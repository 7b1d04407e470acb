"""From YAML and command line to a typed `Config`, and back to the run folder.

In: Hydra's composed configuration, or a run's `config.yaml`. Out: a `Config` of real dataclasses, or the difference between two. It is
its own file because a run is compared twice: with what stands in its folder, before it continues, and with its variant, for the record.
"""

from __future__ import annotations

import functools
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from surgrec.config import schema
from surgrec.config.check import check
from surgrec.config.explain import COMPOSITION_ERRORS, one_sentence, refuse_unknown
from surgrec.config.overlays import completed
from surgrec.config.schema import Config, JEPAConfig, MAEConfig, MultiBlockMaskConfig, TubeMaskConfig
from surgrec.core.atomic import write_text
from surgrec.core.errors import UserError

_INSTALLED = Path(__file__).parent.parent / "_configs"  # inside a wheel
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parent.parent.parent / "configs"

_KINDS = {"mae": (MAEConfig, TubeMaskConfig), "jepa": (JEPAConfig, MultiBlockMaskConfig)}  # what variants consist of

# These change how fast a run goes, where it lies and what is said of it, never what it learns; they may differ when it continues.
_FREE_WHEN_CONTINUING = (
    "runtime",
    "logger",
    "paths",
    "data.workers",
    "data.prefetch_batches",
    "data.open_readers_bytes",
    "data.prefetch_bytes",
    "data.clip_timeout_seconds",
    "data.max_attempts",
    "data.max_failure_rate",
    "trainer.keep_checkpoints",
    "trainer.keep_every",
    "trainer.keep_best",
    "trainer.on_collapse",
    "trainer.straggler_factor",
    "probe",
    "allow_contamination",
    "mix.held_out",
    "mix.held_out_splits",
)
_NOT_THE_RECIPE = (
    *_FREE_WHEN_CONTINUING,
    "name",
    "seed",
    "mix.manifests",
    "mix.embedded",
    "data.decoder",
    "trainer.log_every",
    "trainer.checkpoint_every",
    "trainer.picture_every",
    "trainer.health_every",
    "trainer.collapse_patience_steps",
)


def typed(composed: DictConfig) -> Config:
    """Hydra's configuration as dataclasses. Raises `UserError` naming what is missing, unknown or out of range."""
    if OmegaConf.is_missing(composed, "variant"):
        raise UserError("no variant is chosen; add +variant=mae or +variant=jepa (with the plus)")
    try:
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            raise UserError(f"the configuration leaves open: {', '.join(missing)}; set it on the command line")
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:  # of an interpolation, which nothing has followed so far
        raise UserError(one_sentence(error)) from error
    assert isinstance(config, Config)
    refuse_unknown(config)
    check(config)
    return _with_tuples(config)


def compose_config(overrides: list[str]) -> Config:
    """Compose `configs/` with command-line overrides, outside a Hydra application."""
    schema.register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS.resolve()), version_base="1.3"):
            return typed(compose("config", overrides=completed_overrides(overrides)))
    except COMPOSITION_ERRORS as error:
        raise UserError(one_sentence(error)) from error


def completed_overrides(overrides: list[str]) -> list[str]:
    """The overrides with which Hydra applies overlays from left to right, then what the command line names; see overlays.py."""
    return completed(overrides, CONFIGS)


def save_config(config: Config, file: Path) -> None:
    """Write the resolved configuration, whole or not at all."""
    write_text(file, OmegaConf.to_yaml(OmegaConf.create(_plain(config))))


def read_config(file: Path) -> Config:
    """Read a run's `config.yaml`."""
    if not file.is_file():
        raise UserError(f"{file} is not there; give a run folder that `surgrec train` wrote")
    try:
        values = OmegaConf.load(file)
        kinds = _KINDS.get(values.get("variant")) if isinstance(values, DictConfig) else None
        if kinds is None:
            raise UserError(f"{file} is not a run's configuration: it names no variant ({', '.join(_KINDS)})")
        base = OmegaConf.structured(Config)
        base.objective, base.mask = (OmegaConf.structured(kind) for kind in kinds)
        merged = OmegaConf.merge(base, values)
        assert isinstance(merged, DictConfig)
        return typed(merged)
    except COMPOSITION_ERRORS as error:
        raise UserError(f"{file} is not a run's configuration: {one_sentence(error)}") from error


def difference(before: Config, after: Config, ignored: tuple[str, ...] = ()) -> list[str]:
    """One line per value that differs: `optim.lr 0.000525 -> 0.0001`."""
    return _changes(flat(before, ignored), flat(after, ignored))


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [f"{key} {old.get(key)} -> {new.get(key)}" for key in new | old if old.get(key) != new.get(key)]


def recipe_of(config: Config) -> dict[str, Any]:
    """Dotted names to values of all that decides what a run learns: what `distance_from_variant` compares."""
    return flat(config, _NOT_THE_RECIPE)


def distance_from_variant(config: Config) -> list[str]:
    """How the recipe departs from the published variant; paths, hardware, seed and reporting do not count."""
    return _changes(_published_recipe(config.variant, CONFIGS), recipe_of(config))


@functools.cache
def _published_recipe(variant: str, configs: Path) -> dict[str, Any]:
    """Of a variant as it stands in `configs`, which is `CONFIGS`. Remembered: a process may describe many runs, and composing is slow."""
    return recipe_of(compose_config([f"+variant={variant}"]))


def headline(config: Config) -> str:
    """The run in one line: its variant, and how it departs from it."""
    name = {"mae": "SurgRec-MAE", "jepa": "SurgRec-JEPA"}.get(config.variant, config.variant)
    distance = distance_from_variant(config)
    return f"{name} " + (f"except {', '.join(distance)}" if distance else "as published")


def claim_folder(config: Config, file: Path) -> None:
    """Write `config.yaml`, or check that the run that stands there is this one, perhaps with further phases after its last."""
    if file.exists():
        before = read_config(file)
        done = before.trainer.phases
        # Which changes nothing of what has been trained, unless shares follow from the length of the run.
        is_prolonged = done == config.trainer.phases[: len(done)] and config.mix.max_passes is None
        changes = difference(before, config, (*_FREE_WHEN_CONTINUING, *(["trainer.phases"] if is_prolonged else [])))
        if changes:
            raise UserError(
                f"{file.parent} holds a run with another configuration ({'; '.join(changes)}); "
                "undo that, or choose another name= for this run"
            )
    save_config(config, file)


def _plain(config: Config) -> dict[str, Any]:
    """Nested dictionaries of plain values."""
    container = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def flat(config: Config, ignored: tuple[str, ...] = ()) -> dict[str, Any]:
    """Dotted names to plain values, without the options and groups in `ignored`."""
    values = _flat(_plain(config), config)
    return {
        key: value
        for key, value in values.items()
        if not any(key == name or key.startswith(f"{name}.") for name in ignored)
    }


def _flat(values: dict[str, Any], node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries of a dataclass `node` to dotted names; an option that is a dictionary itself stays one."""
    named: dict[str, Any] = {}
    for key, value in values.items():
        if is_dataclass(child := getattr(node, key)):
            named |= _flat(value, child, f"{prefix}{key}.")
        elif isinstance(value, list):
            named[f"{prefix}{key}"] = [_given(item) for item in value]
        else:
            named[f"{prefix}{key}"] = value
    return named


def _given(item: Any) -> Any:
    """An entry of a list without the options that it leaves alone."""
    return {key: value for key, value in item.items() if value is not None} if isinstance(item, dict) else item


def _with_tuples(config: Config) -> Config:
    """OmegaConf returns lists where the schema says tuple."""
    for node in (config.augment, config.optim, config.mask, config.objective):
        for key, value in vars(node).items():
            if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
                setattr(node, key, tuple(value))
    return config
