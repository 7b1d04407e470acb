"""Pages that people read in a browser: one file, nothing loaded from elsewhere, and no script but the one that a page is given.

In: text and numbers. Out: HTML in which every text is escaped. It is its own file because every report is made of the same
few pieces: a page, headings, tables, bars.

`Html` marks text that is HTML already; whatever is not is escaped where it is put into an element, so forgetting to escape
is not possible, only escaping twice. The page's own content policy forbids foreign assets and every script but that one, which it knows by
its digest.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence

Cell = str | int | float
"""What a table shows: `Html` as it is, other text escaped, a number aligned to the right (a float with three digits)."""

_VOID_TAGS = frozenset(("br", "hr", "img", "input", "meta"))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --paper: #ffffff; --faint: #5c6670; --line: #d5dae0; --panel: #f4f6f8;
  --bar: #4a7fb5; --error: #b3261e; --warning: #8a5a00; --note: #3b5b7a; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7eb; --paper: #15181c; --faint: #9aa4ae; --line: #363c44;
  --panel: #1f242a; --bar: #6fa3d8; --error: #ff8a80; --warning: #f0b955; --note: #9cc0e6; } }
body { margin: 2rem auto; max-width: 68rem; padding: 0 1rem; background: var(--paper); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: 0.6rem 0; } caption { text-align: left; color: var(--faint); }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th.number, td.number { text-align: right; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
code { background: var(--panel); padding: 0 0.25rem; } .faint { color: var(--faint); }
.panel { background: var(--panel); border-left: 4px solid var(--line); padding: 0.4rem 1rem; margin: 1rem 0; }
.error { border-color: var(--error); } .warning { border-color: var(--warning); } .note { border-color: var(--note); }
.error h3 { color: var(--error); } .warning h3 { color: var(--warning); } .note h3 { color: var(--note); }
.scroll { overflow-x: auto; } .unbroken { white-space: nowrap; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; list-style: none; padding: 0; } a { color: var(--bar); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(13rem, 45%), 1fr)); gap: 0.9rem; margin: 0.8rem 0; }
figure { margin: 0; } figure img, figure .missing { display: block; width: 100%; aspect-ratio: 16 / 9; object-fit: contain;
  background: var(--panel); } figure .missing { color: var(--faint); box-sizing: border-box; padding: 0.6rem; }
figcaption { color: var(--faint); font-size: 0.8rem; line-height: 1.35; overflow-wrap: anywhere; }
.bar { display: inline-block; width: 8rem; height: 0.7rem; border: 1px solid var(--line); vertical-align: middle; }
.bar span { display: block; height: 100%; background: var(--bar); }
"""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """`value` as it is where it is `Html`, else its text with `&`, `<`, `>` and quotes escaped."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def joined(pieces: Iterable[object]) -> Html:
    """Pieces one after the other, each escaped unless it is `Html`."""
    return Html("".join(escaped(piece) for piece in pieces))


def element(tag: str, *children: object, **attributes: str) -> Html:
    """`<tag ...>children</tag>`; an attribute that is a word of Python is written with an underscore behind it (`class_`)."""
    written = "".join(f' {name.rstrip("_")}="{escaped(value)}"' for name, value in attributes.items())
    if tag in _VOID_TAGS:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{joined(children)}</{tag}>")


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str = "") -> Html:
    """A table with one row of headings; it scrolls on its own where the screen is narrower. Raises `ValueError` for a row
    of another length than the header."""
    listed = list(rows)
    body = [_row(header, row) for row in listed]
    of_numbers = [
        bool(listed) and all(not isinstance(row[place], str) for row in listed) for place in range(len(header))
    ]
    head = element("tr", *map(_heading, header, of_numbers))
    title = [element("caption", caption)] if caption else []
    return element("div", element("table", *title, element("thead", head), element("tbody", *body)), class_="scroll")


def bar(share: float, label: str) -> Html:
    """A bar filled to `share` (0 to 1; what lies outside is cut) followed by its label, which says the same in words."""
    percent = 100 * min(1.0, max(0.0, share))
    frame = element("span", element("span", style=f"width:{percent:.1f}%"), class_="bar", role="presentation")
    return element("span", frame, " ", label, class_="unbroken")


def picture(jpeg: bytes, described: str, *caption: object) -> Html:
    """A JPEG in the page itself, with words for whoever cannot see it and a caption below."""
    address = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
    return element("figure", element("img", src=address, alt=described), element("figcaption", *caption))


def gallery(figures: Iterable[Html]) -> Html:
    """Pictures beside each other, as many as fit."""
    return element("div", *figures, class_="gallery")


def data_block(name: str, values: object) -> Html:
    """Values for a page's script, as JSON in an element with the id `name`; nothing in them can end the element."""
    text = json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")
    return element("script", Html(text), type="application/json", id=name)


def page(title: str, *content: object, style: str = "", script: str = "") -> str:
    """A whole HTML document of UTF-8 text. `style` and `script` are those of this kind of page, on top of what all have."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"{_POLICY}; script-src 'sha256-{digest}'" if script else _POLICY
    head = joined(
        (
            element("meta", charset="utf-8"),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{escaped(policy)}">'),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", title),
            element("style", Html(_STYLE + style)),
        )
    )
    code = [element("script", Html(script))] if script else []
    body = element("body", element("h1", title), *content, *code)
    return f"<!doctype html>\n{element('html', element('head', head), body, lang='en')}\n"


def _row(header: Sequence[str], row: Sequence[Cell]) -> Html:
    if len(row) != len(header):
        raise ValueError(f"a row has {len(row)} cells, the table {len(header)} columns: {', '.join(header)}")
    return element("tr", *map(_cell, row))


def _heading(name: str, is_of_numbers: bool) -> Html:
    return element("th", name, scope="col", **({"class_": "number"} if is_of_numbers else {}))


def _cell(value: Cell) -> Html:
    if isinstance(value, str):
        return element("td", value)
    return element("td", f"{value:,.3f}" if isinstance(value, float) else f"{value:,}", class_="number")
