"""The card of a source: the facts about a collection of videos that no file of it tells.

In: a YAML file. Out: a typed `Card`. It is its own file because people write cards by hand: every key is checked, and
a misspelt one is answered with the nearest that exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import DOMAINS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CardError(UserError):
    """A card that cannot be read or says something impossible."""


@dataclass(frozen=True)
class Card:
    """Facts about one source.

    `group_pattern`: a regular expression searched in each video's path below the root; its first group (or the one named
    `group`, or the whole match) tells which videos belong together: a patient, a case, a lesion. Empty: the videos of one
    folder belong together, and a video directly in the root stands alone.
    `file_pattern`: shell patterns of the paths to take, `*` crossing folders; empty: every file with a video's suffix.
    `split`: official splits, each with shell patterns of its paths. The other fields are text for people.
    """

    name: str
    domain: str
    procedure: str | None = None
    licence: str | None = None
    group_pattern: str | None = None
    file_pattern: tuple[str, ...] = ()
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)
    citation: str | None = None
    home: str | None = None
    notes: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise CardError(f"the source name {self.name!r} must consist of letters, digits, dot, dash and underscore")
        if self.domain not in DOMAINS:
            raise CardError(f"the domain of source {self.name} is {self.domain!r}; choose one of {', '.join(DOMAINS)}")
        if self.group_pattern is not None:
            try:
                re.compile(self.group_pattern)
            except re.error as error:
                raise CardError(f"the group_pattern of source {self.name} is no regular expression: {error}") from None

    def group_of(self, path: str) -> str | None:
        """What the videos of a patient or case share in their `path` (relative, with slashes); None where nothing matches."""
        if self.group_pattern is None:
            return path.rpartition("/")[0] or path
        match = re.search(self.group_pattern, path)
        if match is None:
            return None
        named = match.groupdict().get("group")
        return named if named is not None else match[1 if match.re.groups else 0]

    def split_of(self, path: str) -> str | None:
        """The official split that `path` belongs to, the first that matches; None where the source has none for it."""
        for name, patterns in self.split.items():
            if any(fnmatchcase(path, pattern) for pattern in patterns):
                return name
        return None


def load_card(path: Path) -> Card:
    """Read a card. Raises `CardError` for a missing file, wrong YAML, a misspelt key or a value of the wrong type."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(f"there is no card at {path}; see corpora/README.md for how to write one") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise CardError(f"the card {path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise CardError(f"the card {path} must be a list of `key: value` lines, with at least name and domain")
    _refuse_unknown_keys(path, content)
    values = {key: _typed(path, key, value) for key, value in content.items() if value is not None}
    if missing := [key for key in ("name", "domain") if key not in values]:
        raise CardError(f"the card {path} lacks {' and '.join(missing)}")
    try:
        return Card(**values)
    except CardError as error:
        raise CardError(f"the card {path}: {error}") from None


def _refuse_unknown_keys(path: Path, content: dict[Any, Any]) -> None:
    known = [entry.name for entry in fields(Card)]
    for key in content:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise CardError(f"the card {path} has an unknown key {key!r}; {advice}")


def _typed(path: Path, key: str, value: Any) -> Any:
    if key == "file_pattern":
        return _patterns(path, key, value)
    if key == "split":
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise CardError(f"the card {path}: split must map names (train, val, test) to shell patterns")
        return {name: _patterns(path, f"split.{name}", patterns) for name, patterns in value.items()}
    if not isinstance(value, str):
        raise CardError(f"the card {path}: {key} must be text, not {value!r}; put it in quotes")
    return value.strip()


def _patterns(path: Path, key: str, value: Any) -> tuple[str, ...]:
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise CardError(f"the card {path}: {key} must be a shell pattern or a list of them")
    return tuple(patterns)
