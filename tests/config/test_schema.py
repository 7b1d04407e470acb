"""No dead options: every field of the schema is read by the code that wires and runs a configuration."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from surgrec.config import build, build_run
from surgrec.config.compose import compose_config, distance_from_variant
from surgrec.config.explain import all_options
from surgrec.config.footage import judge_footage, provide_footage, resolve_footage
from surgrec.config.schema import Config, LoggerKind
from surgrec.training.checkpoint import Progress
from surgrec.training.folder import RunFolder
from tests.footage import write_corpus, write_labels
from tests.training.tiny import overrides


def watch(node: Any, seen: set[str], prefix: str = "") -> Any:
    """Make a dataclass, and those in it, note which of their fields are read."""
    own = type(node)
    names = {field.name for field in fields(node)}

    def read(self: Any, name: str) -> Any:
        if name in names:
            seen.add(prefix + name)
        elif name == "__dict__":  # `vars(node)` reads all
            seen.update(prefix + each for each in names)
        return object.__getattribute__(self, name)

    for name in names:
        value = getattr(node, name)
        for child in value if isinstance(value, list) else [value]:
            if is_dataclass(child):
                watch(child, seen, f"{prefix}{name}.")
    node.__class__ = type(own.__name__, (own,), {"__getattribute__": read})
    return node


def test_watching_sees_what_is_read_and_nothing_else() -> None:
    seen: set[str] = set()
    config = watch(compose_config(["+variant=jepa"]), seen)
    assert config.optim.lr > 0 and vars(config.mask.groups[0])["num_blocks"] == 8
    assert seen == {"optim", "optim.lr", "mask", "mask.groups"} | {
        f"mask.groups.{name}" for name in ("num_blocks", "block_share", "context_share", "target_share")
    }


def test_every_option_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variant's run is wired, its footage provided, its loggers made; what none of this reads is a dead option."""
    seen: set[str] = set()
    given: list[Any] = []
    monkeypatch.setattr(build_run, "WandbSink", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(build_run, "TensorBoardSink", lambda *arguments: given.append(arguments))
    # which a logger is given of a whole run; that counts as reading nothing
    monkeypatch.setattr(build_run, "asdict", lambda config: {})
    manifest = write_corpus(tmp_path / "corpus")
    probe = ("probe.every=1", f"probe.manifest={manifest}", f"probe.labels={write_labels(manifest)}")
    runs = [("mae",), ("jepa",), ("jepa", "objective.dense=true")]
    for variant, *more in runs:
        options = overrides(variant, manifest, tmp_path / "runs", "dead", "mix.embedded=quickstart", *probe, *more)
        wire(watch(compose_config(options), seen), RunFolder(tmp_path / "runs"))
    assert len(given) == 2 * len(runs)
    other = (
        "objective.ema=null",
        "objective.ema_half_life_samples=1e5",
        "mix.rehearsal_share=0.5",
        "mix.schedule.alpha=1.0",
    )
    options = overrides("jepa", manifest, tmp_path / "runs", "other", *other, "mix.rehearsal_sources=[large]")
    otherwise = watch(compose_config(options), seen)  # what takes the place of what was read above
    build.build_objective(otherwise)
    build.build_data(otherwise)
    assert set(all_options()) - seen == {"variant"}
    assert "config.variant" in inspect.getsource(distance_from_variant)  # with which a whole run is compared


def wire(config: Config, folder: RunFolder) -> None:
    """All that reads a configuration to run it."""
    resolve_footage(config)
    provide_footage(config)
    judge_footage(config)
    runtime = build.build_runtime(config)
    build.build_run(config, runtime).make_loader(0).close()
    runtime.close()
    for kind in (LoggerKind.wandb, LoggerKind.tensorboard):
        config.logger.kind = kind
        build.build_sink(config, folder, Progress())
