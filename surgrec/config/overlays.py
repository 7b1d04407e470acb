"""The law of a command line: overlays apply from left to right, then what the user named on it.

In: overrides as the user wrote them. Out: overrides with which Hydra keeps that law. It is its own file because Hydra by itself breaks it
twice: an overlay cannot say what follows it for one variant only, and a chosen option (`backbone=small`) applies where the defaults list
has its group, before the overlays that then undo it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf

from surgrec.core.errors import UserError

_OVERLAYS = ("variant", "experiment")


def completed(overrides: list[str], configs: Path) -> list[str]:
    """The overrides, every `+experiment=NAME` with its part for the variant, and the values of every `GROUP=OPTION` once more.

    Objectives share few options and an unknown one is an error, so an overlay for several variants keeps apart what only one of them
    has, in `experiment/NAME/VARIANT.yaml`, which applies right after it. The values of a named option come before the user's own
    `key=value`, which therefore win. Several `+experiment=` become one list. What is no override, such as `--help`, stays as it is.

    Raises `UserError` for a name that is none, for several variants, and for an overlay that stands before the variant, which would
    undo it, or has parts, but none for this variant.
    """
    parsed = [_parsed(text) for text in overrides]
    groups = {folder.name for folder in configs.iterdir() if folder.is_dir()}
    named = {place: _names(one) for place, one in enumerate(parsed) if one is not None and _group(one) in groups}
    variants = [(place, names) for place, names in named.items() if _group(parsed[place]) == "variant"]
    if not variants or not variants[-1][1]:
        return overrides  # which `typed` tells
    place, (variant, *others) = variants[-1]
    if others:
        raise UserError(f"{overrides[place]}: a run has one variant; write +variant={variant}")
    values = [
        value
        for place, names in named.items()
        if (group := str(_group(parsed[place]))) not in _OVERLAYS
        for name in names
        for value in _values(configs, group, name)
    ]
    overlays = {place: names for place, names in named.items() if _group(parsed[place]) == "experiment"}
    for place, names in overlays.items():
        _check_order(overrides[:place], names, variant)
    first = next(place for place, one in enumerate(parsed) if one is not None)
    rest = _with_parts(overrides, overlays, variant, configs)
    return [*rest[:first], *values, *rest[first:]]


def _with_parts(overrides: list[str], overlays: dict[int, list[str]], variant: str, configs: Path) -> list[str]:
    """The overrides, all that `overlays` (place to names) adds as one list with the parts that belong to it."""
    every = {
        place: [part for name in names for part in _with_its_part(name, variant, configs)]
        for place, names in overlays.items()
    }
    added = [place for place in overlays if overrides[place].startswith("+experiment")]
    if not added or (every == overlays and len(added) == 1):
        return overrides  # so that Hydra tells of what the user wrote
    result = list(overrides)
    for place in set(every) - set(added):  # experiment=NAME, which Hydra puts in the place of what was added
        result[place] = f"{_left(overrides[place])}={_written(every[place])}"
    result[added[0]] = f"{_left(overrides[added[0]])}={_written([part for place in added for part in every[place]])}"
    return [text for place, text in enumerate(result) if place not in added[1:]]


def _parsed(text: str) -> Override | None:
    """The override, or None for what is none: Hydra tells."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def _group(one: Override | None) -> str | None:
    """The group of which an override chooses options."""
    if (
        one is None
        or one.type not in (OverrideType.ADD, OverrideType.CHANGE)
        or (one.package and one.key_or_group not in _OVERLAYS)
    ):
        return None
    group = str(one.key_or_group)
    if group.startswith("experiment/"):
        raise UserError(
            f"{one.input_line} is a part of an overlay; write +{group.replace('/', '=', 1)}, which applies it"
        )
    return group


def _names(one: Override) -> list[str]:
    """The options that it names."""
    given = None if one.is_sweep_override() else one.value()
    names = given if isinstance(given, list) else [given]
    if not all(isinstance(name, str) and name and "$" not in name for name in names):
        several = ", several as +experiment=[ONE,OTHER]" if one.key_or_group == "experiment" else ""
        raise UserError(f"{one.input_line} names no option of {one.key_or_group}; write its name as it is{several}")
    return [str(name) for name in names]


def _check_order(before: list[str], names: list[str], variant: str) -> None:
    if not any(_left(text).partition("@")[0] == "+variant" for text in before):
        written = names[0] if len(names) == 1 else f"[{','.join(names)}]"
        raise UserError(f"overlays apply from left to right; write +variant={variant} before +experiment={written}")


def _with_its_part(name: str, variant: str, configs: Path) -> list[str]:
    """The overlay and, where it has one, its part for the variant."""
    whole = name.partition("/")[0]
    if whole != name:
        raise UserError(f"{name} is a part of an overlay; write +experiment={whole}, which applies it")
    parts = sorted(path.stem for path in (configs / "experiment" / name).glob("*.yaml"))
    if parts and variant not in parts and (configs / "variant" / f"{variant}.yaml").is_file():
        raise UserError(f"there is no +experiment={name} for variant {variant}, only for {', '.join(parts)}")
    return [name, f"{name}/{variant}"] if variant in parts else [name]


def _values(configs: Path, group: str, name: str) -> list[str]:
    """What the option sets, as overrides; nothing for one that is not there, which Hydra tells."""
    file = configs / group / f"{name}.yaml"
    if not file.is_file():
        return []
    values = OmegaConf.to_container(OmegaConf.load(file))
    return [f"{group}.{key}={_written(value)}" for key, value in _leaves(values) if key != "defaults"]


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _left(text: str) -> str:
    return text.partition("=")[0]


def _written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return json.dumps(value, ensure_ascii=False)
