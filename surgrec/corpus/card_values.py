"""From what YAML gives to typed values, with an answer to every slip of the pen.

In: the type that a field of a card declares, and what stands in the file. Out: a value of that type, or a `CardError` that
names the key and what it may hold. It is its own file because it knows types only, and nothing of what a card means.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from surgrec.corpus.facts import UNKNOWN, CardError, Unknown


def read_record(record: type, content: Any, where: str) -> Any:
    """An instance of the dataclass `record` from a mapping of its fields; what it refuses itself is passed on.

    Keys with an empty value are left out. `where` names the key that holds the mapping, "" for the card itself.
    """
    if not isinstance(content, dict):
        raise CardError(f"{where or 'it'} must be a list of `key: value` lines")
    hints = get_type_hints(record)
    refuse_unknown_keys(content, tuple(hints), where)
    prefix = f"{where}." if where else ""
    values = {key: read(hints[key], value, f"{prefix}{key}") for key, value in content.items() if value is not None}
    required = [entry.name for entry in fields(record) if entry.default is MISSING and entry.default_factory is MISSING]
    if missing := [key for key in required if key not in values]:
        raise CardError(f"{where + ' ' if where else ''}lacks {' and '.join(missing)}")
    return record(**values)


def refuse_unknown_keys(content: dict[Any, Any], known: tuple[str, ...], where: str = "") -> None:
    """Raise `CardError` for a key that does not exist, with the nearest that does."""
    for key in content:
        if key not in known:
            place = f" in {where}" if where else ""
            raise CardError(f"has an unknown key {key!r}{place}; {advice(str(key), known)}")


def advice(word: str, known: tuple[str, ...]) -> str:
    """What to write instead of a `word` that is none of `known`."""
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"


def read(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`: text, whole number, number, one of a few words, a record, or a list or mapping of these."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _read_union(get_args(hint), value, where)
    if origin is tuple:
        return _read_list(get_args(hint)[0], value, where)
    if origin is Literal:
        return _read_word(get_args(hint), value, where)
    if origin is dict:
        return _read_mapping(get_args(hint)[1], value, where)
    if is_dataclass(hint):
        return read_record(hint, value, where)  # type: ignore[arg-type]
    return _read_scalar(hint, value, where)


def _read_union(members: tuple[Any, ...], value: Any, where: str) -> Any:
    if Unknown in members and value == str(UNKNOWN):
        return UNKNOWN
    (member,) = (member for member in members if member not in (Unknown, type(None)))
    return read(member, value, where)


def _read_list(member: Any, value: Any, where: str) -> tuple[Any, ...]:
    entries = value if isinstance(value, list) else [value]
    is_pattern = where == "file_pattern" or where.startswith("split.")
    if is_pattern and not all(isinstance(entry, str) for entry in entries):
        raise CardError(f"{where} must be a shell pattern or a list of them")
    if not entries:
        raise CardError(f"{where} is an empty list; leave the key out, or write unknown")
    place = where if not isinstance(value, list) else f"{where}[{{}}]"
    return tuple(read(member, entry, place.format(index)) for index, entry in enumerate(entries))


def _read_word(words: tuple[str, ...], value: Any, where: str) -> str:
    if value in words:
        return str(value)
    near = get_close_matches(str(value), words, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(words)}"
    raise CardError(f"{where} is {value!r}; {hint}")


def _read_mapping(member: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CardError(f"{where} must map names (train, val, test) to shell patterns")
    return {key: read(member, entry, f"{where}.{key}") for key, entry in value.items()}


def _read_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is str:
        if not isinstance(value, str):
            raise CardError(f"{where} must be text, not {value!r}; put it in quotes")
        if not value.strip():
            raise CardError(f"{where} is empty; leave the key out, or write unknown")
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int if hint is int else (int, float)):
        raise CardError(f"{where} must be a {'whole ' if hint is int else ''}number or unknown, not {value!r}")
    return value if hint is int else float(value)
