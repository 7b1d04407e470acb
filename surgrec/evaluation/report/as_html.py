"""The report as one page for the browser.

In: blocks. Out: HTML that needs no script and no other file. It is its own file because it knows how things look, and nothing of
benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from surgrec.core.html import Html, element, joined, page
from surgrec.evaluation.report.blocks import (
    Absent,
    Block,
    Code,
    Entry,
    Fold,
    Grid,
    Heading,
    Mark,
    Measured,
    Name,
    Number,
    Panel,
    Picture,
    Points,
    Words,
)
from surgrec.evaluation.report.style import STYLE


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """The whole page, with its contents after what stands before the first section."""
    first = next((place for place, block in enumerate(blocks) if _is_section(block)), len(blocks))
    links = [
        element("li", element("a", block.title, href=f"#{block.anchor}"))
        for block in blocks
        if isinstance(block, Heading) and _is_section(block)
    ]
    contents = element("nav", element("ul", *links), aria_label="contents")
    return page(title, *map(_block, blocks[:first]), contents, *map(_block, blocks[first:]), style=STYLE)


def _is_section(block: Block) -> bool:
    return isinstance(block, Heading) and block.level == 2 and bool(block.anchor)


@singledispatch
def _block(block: Block) -> Html:
    raise TypeError(f"no HTML for {type(block).__name__}")


@_block.register
def _(block: Heading) -> Html:
    return element(f"h{block.level}", block.title, **({"id": block.anchor} if block.anchor else {}))


@_block.register
def _(block: Words) -> Html:
    return element("p", block.text, **({"class_": "faint"} if block.is_faint else {}))


@_block.register
def _(block: Points) -> Html:
    items = (element("li", text, **({"id": anchor} if anchor else {})) for anchor, text in block.entries)
    return element("ul", *items, class_="points", **({"id": block.anchor} if block.anchor else {}))


@_block.register
def _(block: Panel) -> Html:
    content = element("ul", *(element("li", entry) for entry in block.entries))
    named = {"id": block.anchor} if block.anchor else {}
    return element("div", element("h3", block.title), content, class_=f"panel {block.severity}", **named)


@_block.register
def _(block: Picture) -> Html:
    return block.drawing


@_block.register
def _(block: Fold) -> Html:
    return element("details", element("summary", block.summary), *map(_block, block.blocks))


@_block.register
def _(block: Grid) -> Html:
    aligned = ({"class": "number"} if is_of_numbers else {} for is_of_numbers in block.of_numbers())
    head = element(
        "tr", *(_cell(entry, "th", scope="col", **more) for entry, more in zip(block.header, aligned, strict=True))
    )
    body = element("tbody", *(_row(row) for row in block.rows))
    floor = [element("tfoot", *(_row(row) for row in block.floor))] if block.floor else []
    shown = element("table", element("thead", head), body, *floor)
    box = "scroll wide" if block.is_wide else "scroll"
    # A box that scrolls must be reachable by the keyboard, and then needs a name.
    scrolled = element("div", shown, class_=box, tabindex="0", role="region", **{"aria-label": block.caption})
    return joined((element("p", block.caption, class_="caption"), scrolled))


def _row(row: tuple[Entry, ...]) -> Html:
    return element("tr", _cell(row[0], "th", scope="row"), *(_cell(entry, "td") for entry in row[1:]))


def _cell(entry: Entry, tag: str, **attributes: str) -> Html:
    match entry:
        case Measured():
            estimate = element("b" if entry.is_best else "span", entry.estimate)
            below = element("span", entry.interval, class_="interval")
            return element(tag, estimate, below, _marks(entry.marks), class_="number", **attributes)
        case Absent():
            word = element("span", entry.word, class_="faint")
            return element(tag, word, _marks((entry.mark,) if entry.mark else ()), class_="number", **attributes)
        case Number():
            shade = {"style": f"--shade:{100 * entry.shade:.0f}%", "class_": "number shade"} if entry.shade else {}
            said = {"title": entry.said} if entry.said else {}
            return element(tag, entry.text, **({"class_": "number"} | shade | said | attributes))
        case Name():
            title = element("a", entry.title, href=f"#{entry.anchor}") if entry.anchor else entry.title
            below = element("span", entry.below, class_="interval") if entry.below else Html("")
            return element(tag, title, below, _marks(entry.marks), **attributes)
        case Code():
            return element(tag, element("code", entry.text), **attributes)
        case _:
            return element(tag, entry, **attributes)


def _marks(marks: tuple[Mark, ...]) -> Html:
    return joined(
        element("a", mark.word, href=f"#{mark.anchor}", class_=f"mark {mark.severity}-word") for mark in marks
    )
