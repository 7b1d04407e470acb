"""Cards as people and programs read them: a table, a page, Markdown, JSON.

In: cards. Out: text, or plain values for JSON. It is its own file because the command and the documentation must show the
same: docs/corpora.md holds the table that `markdown` makes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from surgrec.core.wording import counted
from surgrec.corpus.card import Card
from surgrec.corpus.facts import UNKNOWN, PersonalData, Published, Unknown

COLUMNS = ("name", "domain", "access", "licence", "videos", "hours", "frames", "images", "group", "downstream")
_WIDTH = 110
_HEADINGS = {
    "about": ("domain", "specialty", "procedures", "labels", "benchmarks"),
    "terms": ("access", "licence", "home", "doi", "arxiv", "citation"),
    "files": ("media", "published", "fps", "resolution", "layout", "file_pattern"),
    "groups and splits": ("group", "group_pattern", "official_splits", "split"),
    "people": ("personal_data",),
}


def as_json(card: Card) -> dict[str, Any]:
    """The card as values for JSON; unknown facts are the text "unknown"."""
    plain: dict[str, Any] = _plain(asdict(card))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Unknown):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


# -- tables


def row(card: Card) -> dict[str, str]:
    """What a table shows of a card, by `COLUMNS`."""
    counts = {entry.name: _number(getattr(card.published, entry.name)) for entry in fields(Published)}
    return {
        "name": card.name,
        "domain": card.domain,
        "access": str(card.access),
        "licence": str(card.licence),
        **counts,
        "group": str(card.group),
        "downstream": "yes" if card.benchmarks else "",
    }


def table(cards: Sequence[Card]) -> str:
    """Lines of aligned columns, with a heading and a count; long licences are cut at their first semicolon."""
    rows = [{**row(card), "licence": str(card.licence).partition(";")[0].partition(" for ")[0]} for card in cards]
    widths = {key: max([len(key), *(len(entry[key]) for entry in rows)]) for key in COLUMNS}
    lines = ["  ".join(f"{key:<{widths[key]}}" for key in COLUMNS)]
    lines += ["  ".join(_aligned(key, entry[key], widths[key]) for key in COLUMNS) for entry in rows]
    return "\n".join(line.rstrip() for line in [*lines, counted(len(rows), "source")])


def markdown(cards: Iterable[Card]) -> str:
    """The table in Markdown, each name a link to the source's own page where the card knows it."""
    lines = ["| source " + "".join(f"| {key} " for key in COLUMNS[1:]) + "|", "|---" * len(COLUMNS) + "|"]
    for card in cards:
        shown = row(card)
        name = f"[{card.name}]({card.home})" if isinstance(card.home, str) else card.name
        lines.append(f"| {name} " + "".join(f"| {shown[key]} " for key in COLUMNS[1:]) + "|")
    return "\n".join(lines)


def overlaps_markdown(cards: Iterable[Card]) -> str:
    """Known overlaps in Markdown, each once, under the name that comes first in the alphabet."""
    lines = ["| source | and | how | what is shared |", "|---|---|---|---|"]
    told = {
        tuple(sorted((card.name, overlap.source))): overlap
        for card in sorted(cards, key=lambda card: card.name, reverse=True)  # of two notes, the first name's stays
        for overlap in card.overlaps
    }
    for (one, other), overlap in sorted(told.items()):
        lines.append(f"| {one} | {other} | {overlap.how.replace('_', ' ')} | {overlap.note} |")
    return "\n".join(lines)


def _aligned(key: str, text: str, width: int) -> str:
    return f"{text:>{width}}" if key in ("videos", "hours", "frames", "images") else f"{text:<{width}}"


def _number(value: float | Unknown) -> str:
    return str(value) if isinstance(value, Unknown) else f"{value:,}".removesuffix(".0")


# -- one card


def page(card: Card) -> str:
    """Everything that the card says, what it does not know, and where each fact comes from."""
    lines = [card.title if isinstance(card.title, str) else card.name, f"  name             {card.name}"]
    for heading, keys in _HEADINGS.items():
        lines += ["", heading, *(line for key in keys for line in _fact(key, getattr(card, key)))]
    if card.examples:
        told = [f"{example.path}  group {example.group}, split {example.split or 'none'}" for example in card.examples]
        lines += ["", "examples of paths", *(f"  {line}" for line in told)]
    if card.overlaps:
        lines += ["", "overlaps"]
        for overlap in card.overlaps:
            lines += _wrapped(f"{overlap.source}: {overlap.how.replace('_', ' ')}. {overlap.note} [{overlap.cite}]", 2)
    if card.notes:
        lines += ["", "notes", *_wrapped(card.notes, 2)]
    if card.sources:
        lines += ["", "sources"]
        lines += [line for source in card.sources for line in _wrapped(f"{', '.join(source.facts)}: {source.cite}", 2)]
    lines += ["", "unknown", *_wrapped(", ".join(unknown_facts(card)) or "nothing", 2)]
    return "\n".join(lines)


def unknown_facts(card: Card) -> list[str]:
    """The facts that nobody has found out, counts and findings one by one."""
    found = []
    for entry in fields(card):
        value = getattr(card, entry.name)
        if value is UNKNOWN and not (entry.name == "procedure" and card.procedures is not UNKNOWN):
            found.append(entry.name)
        if isinstance(value, (Published, PersonalData)):
            parts = [part.name for part in fields(value) if part.name != "note"]
            found += [f"{entry.name}.{part}" for part in parts if getattr(value, part) is UNKNOWN]
    return found


def _fact(key: str, value: Any) -> list[str]:
    return _wrapped(f"{key.replace('_', ' '):<17}{_text(value)}", 2, hang=17)


def _text(value: Any) -> str:
    if value is None or value == () or value == {}:
        return "none"
    if isinstance(value, Published):
        told = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        return (
            ", ".join(f"{_number(count)} {name}" for name, count in told.items() if count is not UNKNOWN) or "unknown"
        )
    if isinstance(value, PersonalData):
        told = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        return "; ".join(f"{name.replace('_', ' ')}: {found}" for name, found in told.items())
    if isinstance(value, dict):
        return "; ".join(f"{name}: {', '.join(patterns)}" for name, patterns in value.items())
    if isinstance(value, tuple):
        return ", ".join(_number(entry) if isinstance(entry, float) else str(entry) for entry in value)
    return str(value)


def _wrapped(text: str, indent: int, hang: int = 2) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )
