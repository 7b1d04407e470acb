"""What Hydra and OmegaConf complain about, told in one sentence that says what to do.

In: their exceptions, or a composed configuration. Out: a sentence, or a `UserError`. It is its own file because their own words run
over several lines, name classes and search paths, and for a misspelt option advise to add it with a plus, which would hide the mistake.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from surgrec.config import schema
from surgrec.core.errors import UserError

# What composing a configuration may raise.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)

# Dataclasses of the schema by the names that its annotations use.
_NODES = {name: node for name, node in vars(schema).items() if isinstance(node, type) and is_dataclass(node)}
_BASES = {"MaskConfig": schema.MaskConfig, "ObjectiveConfig": schema.ObjectiveConfig}
_OVERLAYS = ("variant", "experiment")
_NOISE = ("object_type", "reference_type", "full_key", "Set the env", "Config search path", "provider=", "To append")


def one_sentence(error: Exception) -> str:
    """The complaint, with the offending option and what to write instead."""
    said = "\n".join(str(one) for one in _chain(error))
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/launcher" and name.startswith("submitit"):
            return f"{group}={name} needs a package: pip install 'surgrec[slurm]'"
        plus = "+" if group in _OVERLAYS else ""
        return f"there is no {group} {name!r}; choose one of {', '.join(f'{plus}{group}={option}' for option in error.options)}"
    if overlay := re.search(rf"To append to your default list use (\+({'|'.join(_OVERLAYS)})=\S+)", said):
        return f"{overlay[2]} is an overlay and is added with a plus; write {overlay[1]}"
    if twice := re.search(r"Multiple values for (\w+)", said):
        plus = "" if twice[1] in _OVERLAYS else ", without a plus"
        return f"{twice[1]} is given more than once; give it once{plus}"
    if nowhere := re.search(r"Could not load '([\w/]+)/([^'/]+)'", said):
        return f"there is no {nowhere[1]} {nowhere[2]!r}; surgrec train --help lists them all"
    if bare := re.search(r"Error merging override (\S+?)=(.*)\n.*is not a ListConfig", said):
        return f"{bare[1]} is a list; write '{bare[1]}=[{bare[2]}]'"
    if asked := re.search(rf"{schema.Asked.__name__} raised while resolving interpolation: (.*)", said):
        return asked[1]
    if "is not in struct" in said and (new := re.search(r"To append to your config use (\+([^=\s]+)=\S*)", said)):
        return f"{new[2]} is not there yet and is added with a plus; write '{new[1]}'"
    place = match[1] if (match := re.search(r"^In '([^']+)'", said, re.MULTILINE)) else ""
    if unknown := re.search(r"[Kk]ey '([^']+)' (?:is )?not in '([^']+)'", said):
        return unknown_option(_full_key(error) or unknown[1], place)
    if place and (wrong := re.search(r"^In .*\n(.+)\n\s*full_key: (\S+)", said, re.MULTILINE)):
        return f"{wrong[2]} in configs/{place}.yaml: {wrong[1]}"
    kept = [line.strip() for line in said.splitlines() if line.strip() and not line.strip().startswith(_NOISE)]
    return "; ".join(dict.fromkeys(line.removeprefix("Error merging override ").rstrip(".;:") for line in kept))


def unknown_option(key: str, place: str = "") -> str:
    """The sentence for an option that does not exist, with the closest that does; `place` names a file of `configs/`."""
    where = f" (configs/{place}.yaml has it)" if place and place != "config" else ""
    options = list(all_options())
    if key in options and place.startswith("variant/"):  # whose own objective or mask was replaced
        group = key.partition(".")[0]
        return f"{group}= belongs to another mask or objective than {place.replace('/', ' ')} has; leave {group}= out"
    if key in options:
        return f"this variant has no option {key}{where}; it belongs to another mask or objective"
    close = difflib.get_close_matches(key, options, n=1)
    advice = f"did you mean {close[0]}?" if close else "surgrec train --help lists them all"
    return f"there is no option {key}{where}; {advice}"


def refuse_unknown(config: Any, prefix: str = "") -> None:
    """Raise `UserError` for an option that `+key=value` added beside the schema: Hydra lets those through."""
    for name, value in vars(config).items():
        if name not in {field.name for field in fields(config)}:
            raise UserError(unknown_option(f"{prefix}{name}"))
        for node in value if isinstance(value, list) else [value]:
            if is_dataclass(node):
                refuse_unknown(node, f"{prefix}{name}.")


def all_options(node: type = schema.Config, prefix: str = "") -> Iterator[str]:
    """Dotted names of every option of the schema, of all masks and objectives."""
    for field in fields(node):
        base = _BASES.get(str(field.type))
        kinds: list[type] = (
            base.__subclasses__() if base else [_NODES[str(field.type)]] if str(field.type) in _NODES else []
        )
        for kind in kinds:
            yield from all_options(kind, f"{prefix}{field.name}.")
        if not kinds:
            yield f"{prefix}{field.name}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _full_key(error: Exception) -> str | None:
    """The dotted name that OmegaConf's part of the complaint is about."""
    for one in _chain(error):
        if key := getattr(one, "full_key", None):
            return str(key)
    if match := re.search(r"Could not override '([^']+)'|full_key: (\S+)", "\n".join(map(str, _chain(error)))):
        return match[1] or match[2]
    return None
