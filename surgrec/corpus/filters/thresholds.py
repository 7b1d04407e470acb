"""Every threshold of the filters, typed, with its default; the same values with their reasons are in configs/filters/default.yaml.

In: a YAML file, or nothing. Out: `Thresholds`. It is its own file because people write these files by hand: a misspelt key is answered
with the nearest that exists, a wrong value with its place.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from surgrec.core.errors import UserError


@dataclass(frozen=True)
class Timing:
    """What is shorter than `min_seconds` is not found; two finds with less than `max_gap_seconds` between them are one."""

    min_seconds: float = 1.0
    max_gap_seconds: float = 0.5


@dataclass(frozen=True)
class Black:
    begin: float = 24.0
    hold: float = 32.0
    timing: Timing = field(default_factory=lambda: Timing(0.25, 0.25))


@dataclass(frozen=True)
class Frozen:
    begin: float = 1.5
    hold: float = 3.0
    min_frames_per_second: float = 1.5
    timing: Timing = field(default_factory=lambda: Timing(2.0, 0.5))


@dataclass(frozen=True)
class LowInformation:
    uniform_begin: float = 3.0
    uniform_hold: float = 6.0
    columns_begin: float = 0.95
    columns_hold: float = 0.9
    palette_begin: float = 0.85
    palette_hold: float = 0.75
    palette_bright: float = 100.0
    palette_blue: float = 0.55
    timing: Timing = field(default_factory=lambda: Timing(0.5, 0.5))


@dataclass(frozen=True)
class OutOfBody:
    cold_begin: float = 0.45
    cold_hold: float = 0.3
    departure: float = 0.035
    one_hue: float = 0.04
    neutral_warm: float = 0.05
    neutral_departure: float = 0.12
    model: str | None = None
    model_begin: float = 0.5
    model_hold: float = 0.3
    timing: Timing = field(default_factory=lambda: Timing(0.75, 0.75))


@dataclass(frozen=True)
class Blur:
    begin: float = 0.55
    hold: float = 0.5
    above_own: float = 0.15
    always: float = 0.75
    timing: Timing = field(default_factory=lambda: Timing(1.0, 0.5))


@dataclass(frozen=True)
class StillEdges:
    contrast: float = 8.0
    stillness: float = 0.85
    min_frames: int = 8
    max_still_share: float = 0.4
    rim: float = 0.06
    join_across: float = 0.1
    join_down: float = 0.02
    min_pixels: float = 0.0006
    min_side: float = 0.02
    density: float = 0.12
    max_area: float = 0.5


@dataclass(frozen=True)
class Text:
    strokes: float = 10.0
    overlay_strokes: float = 3.0


@dataclass(frozen=True)
class PictureInPicture:
    contrast: float = 5.0
    ratio: float = 1.8
    min_side: float = 0.12
    max_side: float = 0.7
    coverage: float = 0.88
    least_side: float = 0.6
    max_still_share: float = 0.7


@dataclass(frozen=True)
class Usable:
    margin_seconds: float = 0.25
    min_seconds: float = 1.0


@dataclass(frozen=True)
class Box:
    round_view: str = "circumscribed"

    def __post_init__(self) -> None:
        if self.round_view not in ("circumscribed", "inscribed"):
            raise UserError(
                f"content_box.round_view is {self.round_view!r}; choose circumscribed (all that is seen) or inscribed (no black corner)"
            )


@dataclass(frozen=True)
class Thresholds:
    """One entry a filter. docs/filters.md says what each number is compared with."""

    black: Black = field(default_factory=Black)
    frozen: Frozen = field(default_factory=Frozen)
    low_information: LowInformation = field(default_factory=LowInformation)
    out_of_body: OutOfBody = field(default_factory=OutOfBody)
    blur: Blur = field(default_factory=Blur)
    still_edges: StillEdges = field(default_factory=StillEdges)
    text: Text = field(default_factory=Text)
    picture_in_picture: PictureInPicture = field(default_factory=PictureInPicture)
    usable: Usable = field(default_factory=Usable)
    content_box: Box = field(default_factory=Box)


def load_thresholds(path: Path | None) -> Thresholds:
    """Read a YAML file that names what differs from the defaults; None: the defaults. Raises `UserError`."""
    if path is None:
        return Thresholds()
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"there is no file {path}; copy configs/filters/default.yaml and change what you need"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    return _typed(Thresholds, content if content is not None else {}, str(path), "")


def _typed(kind: Any, content: Any, path: str, place: str) -> Any:
    """`content` as the dataclass `kind`, keys checked."""
    if not isinstance(content, dict):
        raise UserError(f"{path}: {place or 'the file'} must be `key: value` lines, not {content!r}")
    types = get_type_hints(kind)
    defaults = {
        entry.name: entry.default_factory() if entry.default_factory is not MISSING else entry.default
        for entry in fields(kind)
    }
    for key, value in content.items():
        where = f"{place}.{key}" if place else str(key)
        if key not in types:
            near = get_close_matches(str(key), types, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(types)}"
            raise UserError(f"{path} has an unknown key {where!r}; {advice}")
        if is_dataclass(types[key]):
            defaults[key] = _merged(types[key], defaults[key], value, path, where)
        else:
            defaults[key] = _value(types[key], value, path, where)
    return kind(**defaults)


def _merged(kind: Any, default: Any, content: Any, path: str, place: str) -> Any:
    """`content` over the values of `default`, which need not be those of its class."""
    if not isinstance(content, dict):
        raise UserError(f"{path}: {place} must be `key: value` lines, not {content!r}")
    kept = {
        entry.name: getattr(default, entry.name)
        for entry in fields(kind)
        if not is_dataclass(getattr(default, entry.name))
    }
    return _typed(kind, {**kept, **content}, path, place)


def _value(kind: Any, value: Any, path: str, place: str) -> Any:
    if kind == str | None and (value is None or isinstance(value, str)):
        return value
    if kind is str and isinstance(value, str):
        return value
    if isinstance(value, bool) or kind not in (int, float) or not isinstance(value, (int, kind)):
        raise UserError(f"{path}: {place} must be {_NAMES.get(kind, 'text or null')}, not {value!r}")
    if not 0 <= value < float("inf"):
        raise UserError(f"{path}: {place} must be a finite number, 0 or more, not {value!r}")
    return kind(value)


_NAMES = {float: "a number", int: "a whole number", str: "text"}
