"""The report as Markdown (GitHub's flavour).

In: blocks. Out: text. It is its own file because Markdown has an escaping of its own: a name from elsewhere must not become a heading, a
link, an image or another column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from surgrec.evaluation.report.blocks import (
    Absent,
    Block,
    Code,
    Entry,
    Fold,
    Grid,
    Heading,
    Measured,
    Name,
    Number,
    Panel,
    Picture,
    Points,
    Words,
)

_SIGNS = re.compile(
    r"[\\`*\[\]|~#$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\."
)  # an address alone is a link
_AT_THE_START = re.compile(r"^(\d*)([-+=.)])(?=[-+=\s]|$)")


def as_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The whole text; a picture is left out, since what it shows stands in a table too."""
    return "\n".join([f"# {escaped(title)}", *(line for block in blocks for line in _lines(block))]) + "\n"


def escaped(text: str) -> str:
    """Text on one line that shows as it is: no markup, no HTML."""
    line = " ".join(text.replace("\x00", " ").split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _AT_THE_START.sub(r"\1\\\2", _SIGNS.sub(r"\\\g<0>", line))


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Heading():
            yield from ("", f"{'#' * block.level} {escaped(block.title)}")
        case Words():
            yield from ("", escaped(block.text))
        case Points():
            yield from ("", *(f"- {escaped(text)}" for _, text in block.entries))
        case Panel():
            yield from ("", f"**{escaped(block.title)}**", "", *(f"- {escaped(entry)}" for entry in block.entries))
        case Grid():
            yield from ("", escaped(block.caption), "")
            yield _row(block.header)
            yield "|" + "|".join(map(_rule, block.of_numbers())) + "|"
            yield from map(_row, (*block.rows, *block.floor))
        case Fold():
            if block.is_in_markdown:
                yield from ("", f"**{escaped(block.summary)}**")
                yield from (line for each in block.blocks for line in _lines(each))
        case Picture():
            return


def _rule(is_of_numbers: bool) -> str:
    return "---:" if is_of_numbers else "---"


def _row(row: tuple[Entry, ...]) -> str:
    return "| " + " | ".join(map(_entry, row)) + " |"


def _entry(entry: Entry) -> str:
    match entry:
        case Measured():
            estimate = f"**{entry.estimate}**" if entry.is_best else entry.estimate
            return ", ".join([f"{estimate} {entry.interval}", *(escaped(mark.word) for mark in entry.marks)])
        case Absent():
            return ", ".join([escaped(entry.word), *([escaped(entry.mark.word)] if entry.mark else [])])
        case Number():
            return entry.text
        case Name():
            below = f" ({escaped(entry.below)})" if entry.below else ""
            return ", ".join([escaped(entry.title) + below, *(escaped(mark.word) for mark in entry.marks)])
        case Code():
            text = re.sub(r"[`|\s]+", " ", entry.text)
            return f"`{text}`"
        case _:
            return escaped(entry)
