"""What the sections of the report are made of.

In: rows and amounts. Out: pieces of a page. It is its own file because every section must stay small for ten thousand videos, and must
add up: what a table leaves out is one row that holds its sum, and all times have one unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from surgrec.core.html import Cell, Html, element, joined, table
from surgrec.corpus.report.known import Video

MAX_ROWS = 100
MAX_IDS = 20
_SHORT_CORPUS_SECONDS = 7200.0

Item = TypeVar("Item")


@dataclass(frozen=True)
class Section:
    """A part of the page. `gaps`: a sentence for each thing that nobody has run or that is not known; they also stand at the top."""

    anchor: str
    title: str
    content: tuple[Html, ...]
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unit:
    """Of all times of a page: hours, or minutes for a corpus shorter than two hours."""

    name: str
    seconds: float

    @classmethod
    def of(cls, videos: Iterable[Video]) -> Unit:
        total = sum(video.seconds for video in videos)
        return cls("hours", 3600.0) if total >= _SHORT_CORPUS_SECONDS else cls("minutes", 60.0)

    def __call__(self, seconds: float) -> float:
        return seconds / self.seconds


def share(part: float, whole: float) -> float:
    """0 where there is nothing to have a share of."""
    return part / whole if whole else 0.0


def cut_table(
    header: Sequence[str],
    items: Sequence[Item],
    row_of: Callable[[str, Sequence[Item]], Sequence[Cell]],
    name_of: Callable[[Item], str],
    total: str = "",
) -> Html:
    """A table whose rows are made by `row_of(name, items)`: one for each item, one for all beyond `MAX_ROWS` together and, where `total`
    names it, one for all."""
    shown, more = items[:MAX_ROWS], items[MAX_ROWS:]
    rows = [row_of(name_of(item), [item]) for item in shown]
    if more:
        rows.append(row_of(f"and {len(more):,} more", more))
    if total:
        rows.append(row_of(total, items))
    return table(header, rows)


def listed(header: Sequence[str], rows: Sequence[Sequence[Cell]], limit: int = MAX_ROWS) -> tuple[Html, ...]:
    """A table of the first rows, and how many it leaves out."""
    shown = table(header, rows[:limit])
    return (shown, faint(f"and {len(rows) - limit:,} more")) if len(rows) > limit else (shown,)


def ids(names: Sequence[str]) -> Html:
    """Ids of videos in a paragraph, the first `MAX_IDS` of them."""
    more = f"and {len(names) - MAX_IDS:,} more" if len(names) > MAX_IDS else ""
    return element("p", joined(piece for name in names[:MAX_IDS] for piece in (element("code", name), " ")), more)


def text(*words: object) -> Html:
    return element("p", *words)


def faint(*words: object) -> Html:
    return element("p", *words, class_="faint")


def gap(sentence: str) -> Html:
    """Something that is not known, said where it would stand."""
    return element("p", sentence, class_="panel warning")
