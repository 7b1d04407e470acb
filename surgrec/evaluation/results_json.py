"""Results to and from JSON.

In: records of `surgrec.evaluation.results`, or a file. Out: plain values, or checked records. It is its own file because a file may come
from another house: whatever is wrong in it is refused with its key, before a report is made of it.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from surgrec.core.atomic import write_json
from surgrec.core.errors import UserError
from surgrec.evaluation.results import FORMAT, Results

Record = TypeVar("Record")
_WORDS = {str: "text", int: "a whole number", float: "a finite number"}
_DEEPEST = 20
_LARGEST = 1e15  # what is counted here is less, and whole numbers are exact up to there


def plain(value: Any) -> Any:
    """A record, and whatever is in it, as what JSON knows."""
    if is_dataclass(value):
        return {field.name.rstrip("_"): plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    return value


def record_of(kind: type[Record], content: Any, where: str) -> Record:
    """An instance of the dataclass `kind` from plain values. Raises `UserError` that names the key below `where`."""
    if not isinstance(content, dict):
        _refuse(where, "must be an object", content)
    known = {field.name.rstrip("_"): field for field in fields(kind)}  # type: ignore[arg-type]
    if strange := sorted(set(content) - set(known)):
        raise UserError(f"{where} has the unknown key {strange[0]!r}; it knows {', '.join(known)}")
    needed = [key for key, field in known.items() if field.default is MISSING and field.default_factory is MISSING]
    if missing := [key for key in needed if key not in content]:
        raise UserError(f"{where} lacks {' and '.join(missing)}")
    hints = get_type_hints(kind)
    return kind(
        **{known[key].name: _read(hints[known[key].name], entry, f"{where}.{key}") for key, entry in content.items()}
    )


def write_results(results: Results, path: Path) -> None:
    """Write all of it to a JSON file, whole or not at all."""
    write_json(path, plain(results))


def read_results(path: Path) -> Results:
    """What `write_results` wrote. Raises `UserError` for what is not there, is no JSON, or is not in this form."""
    content = read_json(path, "are no results", "`surgrec benchmark` writes them")
    if isinstance(content, dict) and content.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {content.get('format')!r}, and this version of surgrec reads format {FORMAT}; use the one that wrote it"
        )
    return record_of(Results, content, f"{path}: results")


def read_json(path: Path, absence: str, cure: str) -> Any:
    """Plain values, where each key stands once and text can be written. Raises `UserError` for all else."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"there {absence} at {path}; {cure}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a JSON file ({error}); {cure}") from error
    try:
        content = json.loads(text, object_pairs_hook=_each_once)
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path} has text that is half a character ({error.object[error.start]!r}); mend it") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a JSON file ({error}); {cure}") from error
    return content


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (member,) = (each for each in of if each is not type(None))
        return None if value is None else _read(member, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            _refuse(where, "must be a list", value)
        return tuple(_read(of[0], entry, f"{where}[{number}]") for number, entry in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            _refuse(where, "must be an object", value)
        return {key: _read(of[1], entry, f"{where}.{key}") for key, entry in value.items()}
    if is_dataclass(hint):
        return record_of(hint, value, where)  # type: ignore[arg-type]
    return _anything(value, where) if hint is Any else _scalar(hint, value, where)


def _anything(value: Any, where: str, depth: int = 0) -> Any:
    """Values that nobody computes with, but which a report must be able to show and JSON to hold."""
    if depth > _DEEPEST:
        raise UserError(f"{where} is nested deeper than {_DEEPEST} levels")
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(where, f"must be {_WORDS[float]}", value)
    if isinstance(value, dict):
        return {key: _anything(entry, f"{where}.{key}", depth + 1) for key, entry in value.items()}
    if isinstance(value, list):
        return [_anything(entry, f"{where}[{number}]", depth + 1) for number, entry in enumerate(value)]
    return value


def _scalar(hint: Any, value: Any, where: str) -> Any:
    allowed = (int, float) if hint is float else hint
    if not isinstance(value, allowed) or isinstance(value, bool):
        _refuse(where, f"must be {_WORDS[hint]}", value)
    if isinstance(value, (int, float)) and not -_LARGEST <= value <= _LARGEST:
        _refuse(where, f"must be {_WORDS[hint]} of at most {_LARGEST:.0e}", value)
    return float(value) if hint is float else value


def _refuse(where: str, what: str, value: Any) -> NoReturn:
    raise UserError(f"{where} {what}, not {str(value)[:80]!r}")
