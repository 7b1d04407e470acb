"""The lists of clips that make up a benchmark: train, validation, test.

In: CSV files. Out: `Splits`. It is its own file because such lists come in a form that common CSV readers misread.

Two forms are read, told apart by the first line:

- SurgRec's: no header; a clip a line; path, one space, whole-number label. A path may hold spaces and parentheses, may stand in
  double quotes, and may begin with the placeholder `__DATA_ROOT__/`. It can only be read from the right.
- An ordinary CSV whose header has the columns `path` and `label`, and perhaps `group` (patient or case); others are ignored.

Errors name the line, not its text, which may hold what identifies a patient.
"""

from __future__ import annotations

import csv
import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgrec.core.errors import UserError

PLACEHOLDER = "__DATA_ROOT__/"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_WHOLE_AS_FLOAT = re.compile(r"([+-]?[0-9]{1,18})\.0*")
_LINE_END = re.compile(r"\r\n|\n|\r")  # str.splitlines would also cut a path at rarer characters


@dataclass(frozen=True, order=True)
class Clip:
    """A line: `path` without placeholder, with slashes; `label` as text ('3', 'bleeding'); `group` where the file has one."""

    path: str
    label: str
    group: str | None = None


@dataclass(frozen=True)
class Splits:
    """The clips of each split in the order of their file. `val` is empty where there is none; the others are not."""

    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    test: tuple[Clip, ...]

    def by_name(self) -> dict[str, tuple[Clip, ...]]:
        """The splits that have clips, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: clips for name, clips in named.items() if clips}

    def all_clips(self) -> tuple[Clip, ...]:
        return (*self.train, *self.val, *self.test)

    def labels(self) -> list[str]:
        """All labels, in order."""
        return sorted({clip.label for clip in self.all_clips()}, key=label_order)


def is_number(label: str) -> bool:
    """Whether a label is a whole number, as an index of a classifier's output is."""
    return _WHOLE_NUMBER.fullmatch(label) is not None


def label_order(label: str) -> tuple[int, int, str]:
    """Sorts labels: whole numbers by value, then text."""
    return (0, int(label), "") if is_number(label) else (1, 0, label)


def by_label(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """The clips of each label that occurs, labels in order."""
    found: dict[str, list[Clip]] = {}
    for clip in clips:
        found.setdefault(clip.label, []).append(clip)
    return {label: found[label] for label in sorted(found, key=label_order)}


def read_splits(train: Path, val: Path | None, test: Path) -> Splits:
    """Read two or three files. Raises `UserError` for a file that is missing, empty or of neither form, and where only some of
    them have a column `group`."""
    splits = Splits(read_split(train), () if val is None else read_split(val), read_split(test))
    has_groups = {clip.group is not None for clip in splits.all_clips()}
    if len(has_groups) == 2:
        raise UserError("some of the split files have a column group and others have not; give it to all or to none")
    return splits


def read_split(path: Path) -> tuple[Clip, ...]:
    """Read one file of either form. Raises `UserError`."""
    lines = _lines(path)
    if not lines:
        raise UserError(f"{path} lists no clips")
    header = [name.lower() for name in _cells(path, *lines[0])]
    if "path" in header and "label" in header:
        return _read_table(path, header, lines[1:])
    return tuple(_read_line(path, number, line) for number, line in lines)


def read_label_names(path: Path) -> dict[str, str]:
    """Names of labels, from JSON: `index_to_label`, `label_to_index`, or one flat object that maps either to the other.

    Where several names have one index, `index_to_label` decides, else the first. Raises `UserError`.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; --labels takes JSON that maps indices to names") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    except RecursionError:
        raise UserError(f"{path} cannot be read as JSON: it is nested too deeply") from None
    names = _label_names(content)
    if not names:
        raise UserError(
            f'{path} maps no indices to names; it should look like {{"0": "bleeding"}}, or have label_to_index'
        )
    return names


# -- the two forms


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    if Path(path).exists() and not Path(path).is_file():
        raise UserError(f"{path} cannot be read: it is no file but a folder, a pipe or a device")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; give the CSV of the split") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return [(number, line.strip()) for number, line in enumerate(_LINE_END.split(text), 1) if line.strip()]


def _read_line(file: Path, number: int, line: str) -> Clip:
    written, _, label = line.rpartition(" ")
    path = _unquoted(written.strip())
    if not path or not is_number(label):
        raise UserError(
            f"line {number} of {file} is not a path, a space and a whole-number label; "
            f"files of another form need a header with the columns path and label"
        )
    return Clip(_normal(path), str(int(label)))


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text.startswith('"') and text.endswith('"')
    return text[1:-1].replace('""', '"') if is_quoted else text


def _read_table(file: Path, header: list[str], lines: Iterable[tuple[int, str]]) -> tuple[Clip, ...]:
    at_path, at_label = header.index("path"), header.index("label")
    at_group = header.index("group") if "group" in header else None
    clips = []
    for number, line in lines:
        cells = _cells(file, number, line)
        if len(cells) != len(header) and line.count('"') % 2:
            raise UserError(
                f"line {number} of {file} begins a quotation that ends on another line; a path or label cannot hold a line break"
            )
        if len(cells) != len(header):
            raise UserError(f"line {number} of {file} has {len(cells)} cells, its header {len(header)}")
        path, label, group = cells[at_path], cells[at_label], None if at_group is None else cells[at_group]
        if not path or not label or group == "":
            raise UserError(f"line {number} of {file} has an empty cell; each clip needs what the header names")
        clips.append(Clip(_normal(path), _label(label), group))
    if not clips:
        raise UserError(f"{file} lists no clips")
    return tuple(clips)


def _cells(file: Path, number: int, line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]))]
    except csv.Error as error:
        raise UserError(f"line {number} of {file} cannot be read as CSV: {error}") from None


def _label(text: str) -> str:
    """One spelling of each number: `03` is 3, and so is `3.0`, which tables with a gap make of it."""
    whole = _WHOLE_AS_FLOAT.fullmatch(text)
    number = whole[1] if whole else text
    return str(int(number)) if is_number(number) else text


def _normal(path: str) -> str:
    r"""One spelling of each path, so that `a//b`, `./a/b` and `a\b` are seen to be the same."""
    return posixpath.normpath(path.replace("\\", "/").removeprefix(PLACEHOLDER))


# -- names of labels


def _label_names(content: Any) -> dict[str, str]:
    """Index to name; empty for what is of no known form."""
    if not isinstance(content, dict):
        return {}
    if isinstance(content.get("label_to_index"), dict) or isinstance(content.get("index_to_label"), dict):
        names = _index_to_name(content.get("label_to_index") or {}, is_inverse=True)
        return {**names, **_index_to_name(content.get("index_to_label") or {}, is_inverse=False)}
    is_inverse = all(isinstance(value, int) for value in content.values())
    return _index_to_name(content, is_inverse)


def _index_to_name(content: dict[str, Any], is_inverse: bool) -> dict[str, str]:
    names: dict[str, str] = {}
    for key, value in content.items():
        index, name = (value, key) if is_inverse else (key, value)
        if isinstance(name, str) and is_number(str(index)):
            names.setdefault(str(int(index)), name)
    return names
