"""From YAML and command line to a typed `BenchmarkConfig`.

In: Hydra's composed configuration. Out: dataclasses, checked. It is its own file because a mistake must be told in a sentence before
anything is rendered, trained or read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from surgrec.config import benchmark_schema
from surgrec.config.application import run_hydra
from surgrec.config.benchmark_schema import BenchmarkConfig
from surgrec.config.compose import CONFIGS
from surgrec.config.explain import COMPOSITION_ERRORS, one_sentence
from surgrec.core.errors import UserError
from surgrec.core.shard import read_shard
from surgrec.evaluation.tasks.card import task_cards

FOLDER = CONFIGS / "benchmark"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
BASELINES = ("majority", "stratified_random", "colour_histogram")
VARIANTS = ("mae", "jepa")
VIEWS = ("middle_frame", "shuffled_frames")  # as surgrec/evaluation/running/entrant.py names them
_LAYOUTS, _PRECISIONS = ("pooled", "time", "all"), ("float32", "bfloat16", "float16")


def run_benchmark(command: Callable[[BenchmarkConfig], int], description: str | None) -> int:
    """Compose what the command line asks for, then run `command` with it; as `run_application` for a training."""
    benchmark_schema.register()
    return run_hydra(lambda composed: command(typed(composed)), FOLDER, description, _sentence)


def compose_benchmark(overrides: list[str]) -> BenchmarkConfig:
    """Compose `configs/benchmark/` with command-line overrides, outside a Hydra application."""
    benchmark_schema.register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(FOLDER.resolve()), version_base="1.3"):
            return typed(hydra_compose("config", overrides=overrides))
    except COMPOSITION_ERRORS as error:
        raise UserError(_sentence(error)) from error


def typed(composed: DictConfig) -> BenchmarkConfig:
    """Hydra's configuration as dataclasses. Raises `UserError` naming what is unknown or out of range."""
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise UserError(_sentence(error)) from error
    assert isinstance(config, BenchmarkConfig)
    _refuse_unknown(config)
    check(config)
    return config


def all_options(node: type = BenchmarkConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of every option."""
    for field in fields(node):
        kind = getattr(benchmark_schema, str(field.type), None)
        if isinstance(kind, type) and is_dataclass(kind):
            yield from all_options(kind, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def check(config: BenchmarkConfig) -> None:
    """Raise `UserError` for values that make no benchmark."""
    _choose("protocols.names", config.protocols.names, _protocol_keys())
    _choose("encoders.baselines", config.encoders.baselines, BASELINES)
    _choose("encoders.train", config.encoders.train, VARIANTS)
    _choose("features.layout", [config.features.layout], _LAYOUTS)
    _choose("features.precision", [config.features.precision], _PRECISIONS)
    _choose("metrics.clips", [config.metrics.clips], _metrics("clips"))
    _choose("metrics.dense", [config.metrics.dense], _metrics("dense"))
    _choose("protocols.limited", list(config.protocols.limited), _protocol_keys())
    _choose("tasks.archives", list(config.tasks.archives), tuple(task_cards()))
    shard_of(config)
    for name in (config.name, *config.encoders.models, *config.tasks.lists):
        if not NAME.fullmatch(name):
            raise UserError(f"{name!r} is to be the name of a folder; use a-z, 0-9, _, - and .")
    models = (*config.encoders.models, *config.encoders.train)
    for option in ("random", "views"):
        _choose(f"encoders.{option}", getattr(config.encoders, option), models)
    taken = {*config.encoders.train, *config.encoders.baselines, *(f"{name}_random" for name in config.encoders.random)}
    taken |= {f"{name}_{view}" for name in config.encoders.views for view in VIEWS}
    if twice := sorted(set(config.encoders.models) & taken):
        raise UserError(f"encoders.models.{twice[0]} has a name that is taken by another encoder; choose another")
    node = config.protocols
    numbers = {
        "num_seeds": config.num_seeds,
        "processes": config.processes,
        "features.batch_size": config.features.batch_size,
        "tasks.clip_seconds": config.tasks.clip_seconds,
        "tasks.stride_seconds": config.tasks.stride_seconds,
        "protocols.attentive.num_heads": node.attentive.num_heads,
        "protocols.attentive.num_steps": node.attentive.num_steps,
        "protocols.attentive.batch_size": node.attentive.batch_size,
        "protocols.finetune.num_epochs": node.finetune.num_epochs,
        "protocols.finetune.batch_size": node.finetune.batch_size,
        "protocols.finetune.layer_decay": node.finetune.layer_decay,
        "protocols.temporal.num_stages": node.temporal.num_stages,
        "protocols.temporal.num_layers": node.temporal.num_layers,
        "protocols.temporal.channels": node.temporal.channels,
        "protocols.temporal.num_epochs": node.temporal.num_epochs,
        "protocols.temporal.batch_size": node.temporal.batch_size,
    }
    for option, value in numbers.items():
        if not value > 0:
            raise UserError(f"{option}={value} must be above 0")
    if not node.knn_neighbours or min(node.knn_neighbours) < 1:
        raise UserError(f"protocols.knn_neighbours={node.knn_neighbours} must name at least one number, all above 0")
    if not 0 <= node.finetune.drop_path < 1:
        raise UserError(f"protocols.finetune.drop_path={node.finetune.drop_path} must be a share below 1")
    if config.features.precision == "float16" and "finetune" in node.names:
        raise UserError(
            "features.precision=float16 is for frozen features, gradients vanish in it; give bfloat16, or leave finetune out of "
            "protocols.names"
        )
    rates = {name: getattr(node, name).learning_rates for name in ("attentive", "finetune", "temporal")}
    for name, values in rates.items():
        if not values or min(values) <= 0:
            raise UserError(f"protocols.{name}.learning_rates={values} must name at least one rate, all above 0")
    if config.processes > 1 and shard_of(config)[1] > 1:
        raise UserError("processes and shard are two ways to divide the work; give one of them")
    if not (config.tasks.archives or config.tasks.lists or config.tasks.synthesised):
        raise UserError(
            "there is nothing to measure on; give +tasks.archives.NAME=FOLDER, or add +experiment=quickstart for the synthesised corpus"
        )


def shard_of(config: BenchmarkConfig) -> tuple[int, int]:
    """(part, number of parts)."""
    try:
        return read_shard(config.shard)
    except UserError as error:
        raise UserError(str(error).replace("--shard", "shard")) from None


def _metrics(form: str) -> tuple[str, ...]:
    from surgrec.evaluation.running.scoring import CHOICES

    return CHOICES[form]


def _protocol_keys() -> tuple[str, ...]:
    from surgrec.evaluation.running.protocols import KEYS  # which loads torch

    return KEYS


def _choose(option: str, given: list[str], known: tuple[str, ...]) -> None:
    if wrong := [name for name in given if name not in known]:
        raise UserError(f"{option} has {wrong[0]!r}; choose of {', '.join(known) or 'nothing, for there is none'}")
    if len(set(given)) < len(given):
        raise UserError(f"{option} names one twice: {', '.join(given)}")


def _refuse_unknown(config: Any, prefix: str = "") -> None:
    for name, value in vars(config).items():
        if name not in {field.name for field in fields(config)}:
            raise UserError(_unknown(f"{prefix}{name}"))
        if is_dataclass(value):
            _refuse_unknown(value, f"{prefix}{name}.")


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, [*all_options(), *(field.name for field in fields(BenchmarkConfig))], n=1)
    return f"there is no option {key}; {f'did you mean {close[0]}?' if close else 'surgrec benchmark --help lists them all'}"


def _sentence(error: Exception) -> str:
    said = one_sentence(error)
    if match := re.match(r"there is no option (\S+?);? ", f"{said} "):
        return _unknown(match[1].rstrip(";"))
    return said.replace("surgrec train --help", "surgrec benchmark --help")
