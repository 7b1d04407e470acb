"""Reading a page as a browser would show it: its headings, its tables cell by cell, its pictures."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

_BESIDE = {"td", "th"}


class Page(HTMLParser):
    """`headings` in their order; `tables`: rows of cells, headings first; `pictures`: JPEG bytes; `text`: all that is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.pictures: list[bytes] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            kind, _, content = (dict(attrs)["src"] or "").partition(",")
            assert kind == "data:image/jpeg;base64"
            self.pictures.append(base64.b64decode(content, validate=True))
        if tag in ("meta", "br", "img"):
            return
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in _BESIDE:
            self.tables[-1][-1].append("")
        elif tag in ("h1", "h2", "h3", "h4"):
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("p", "li", "td", "th", "h2", "h3"):
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if _BESIDE & set(self._open):
            self.tables[-1][-1][-1] += data
        if {"h1", "h2", "h3", "h4"} & set(self._open):
            self.headings[-1] += data

    def with_columns(self, *names: str) -> list[list[dict[str, str]]]:
        """The tables that have these columns, their rows by the name of the column."""
        return [
            [dict(zip(table[0], row, strict=True)) for row in table[1:]]
            for table in self.tables
            if set(names) <= set(table[0])
        ]


def number(cell: str) -> float:
    """What a cell says, its percent sign and commas left out."""
    return float(cell.replace(",", "").replace("%", ""))
