"""What the sections of a report are made of, before it is decided whether they become a page or Markdown.

In: nothing. Out: records. It is its own file because page and Markdown must say the same: both are written from these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surgrec.core.html import Html

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Mark:
    """A word that leads to an entry elsewhere on the page."""

    word: str
    anchor: str
    severity: Severity = "note"


@dataclass(frozen=True)
class Code:
    """Text to be copied: a hash, an id."""

    text: str


@dataclass(frozen=True)
class Number:
    """A number as it is to be read; `is_shaded`: how dark it stands on the page, 0 to 1."""

    text: str
    shade: float = 0.0
    said: str = ""


@dataclass(frozen=True)
class Measured:
    """An estimate, its interval, and what to know of it."""

    estimate: str
    interval: str
    marks: tuple[Mark, ...] = ()
    is_best: bool = False


@dataclass(frozen=True)
class Absent:
    """Why there is no number."""

    word: str
    mark: Mark | None = None


@dataclass(frozen=True)
class Name:
    """Of a row or column: a title, what stands small below it, and marks."""

    title: str
    below: str = ""
    marks: tuple[Mark, ...] = ()
    anchor: str = ""


Entry = str | Code | Number | Measured | Absent | Name | Html


@dataclass(frozen=True)
class Grid:
    """A table whose first column names its rows. `is_wide`: its first column and its head stay in sight. `floor`: rows that stand last and
    stay in sight."""

    caption: str
    header: tuple[Entry, ...]
    rows: tuple[tuple[Entry, ...], ...]
    floor: tuple[tuple[Entry, ...], ...] = ()
    is_wide: bool = False

    def of_numbers(self) -> list[bool]:
        """Of each column, whether all that stands in it is numbers."""
        rows = (*self.rows, *self.floor)
        return [
            bool(rows) and all(isinstance(row[place], (Number, Measured, Absent)) for row in rows)
            for place in range(len(self.header))
        ]


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str
    is_faint: bool = False


@dataclass(frozen=True)
class Points:
    """A list; an entry with an anchor can be led to."""

    entries: tuple[tuple[str, str], ...]
    """(anchor or "", text)"""
    anchor: str = ""


@dataclass(frozen=True)
class Panel:
    """What must not be overlooked."""

    severity: Severity
    title: str
    entries: tuple[str, ...]
    anchor: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing, which Markdown does not have; the numbers in it stand in a table too."""

    drawing: Html


@dataclass(frozen=True)
class Fold:
    """What is shown when asked for."""

    summary: str
    blocks: tuple[Block, ...]
    is_in_markdown: bool = True


@dataclass(frozen=True)
class Heading:
    """`level` 2 begins a section, which the page's contents list."""

    level: int
    title: str
    anchor: str = ""


Block = Grid | Words | Points | Panel | Picture | Fold | Heading
