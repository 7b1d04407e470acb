"""What charts in a page are made of: elements of SVG, and colours that can be told apart.

In: shapes and counts. Out: HTML, colours. It is its own file because charts of videos and of benchmarks must agree in their colours.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from surgrec.core.html import Html, element

# Apart from one another on white and on black, also for most who see red and green alike.
_PALETTE = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#b8a531",
    "#33a5c8",
    "#aa3377",
    "#e07b39",
    "#7a5cc0",
    "#6b8e5a",
    "#a0705a",
)
NO_LABEL_COLOUR = "#8a929b"


def drawn(tag: str, *children: object, **attributes: str) -> Html:
    """An element whose attributes have dashes where their Python names have underscores inside."""
    written = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    return element(tag, *children, **written)


def colours_apart(count: int) -> list[str]:
    """At least `count` colours, those of a palette while it has as many."""
    if count <= len(_PALETTE):
        return list(_PALETTE)
    return [as_hex(colorsys.hls_to_rgb(index / count, 0.5 + 0.1 * (index % 2), 0.55)) for index in range(count)]


def as_hex(parts: Sequence[float]) -> str:
    """'#rrggbb' of red, green and blue in 0 to 1."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """Names beside their colours."""
    items = [
        element("li", element("span", class_="swatch", style=f"background:{colour}"), name) for name, colour in entries
    ]
    return element("ul", *items, class_="legend")
