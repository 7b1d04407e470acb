"""Forest plots: an estimate and its interval for each encoder, on one axis, with the majority's line through all of them.

In: scores. Out: a table, each row of which holds a drawing and the same as numbers. It is its own file because places on the axis
are computed here alone. Places are shares of the width and sizes are pixels, so the plot fits any window without its words growing
or shrinking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from surgrec.core.drawing import drawn
from surgrec.core.html import Html, element, joined
from surgrec.evaluation.report.known import KINDS
from surgrec.evaluation.report.numbers import measured

_MARGIN = 3.0  # percent of the width, for markers at the ends
_SHAPES = {
    "ours": "M-6 -6H6V6H-6Z",
    "foreign": "M0 -6A6 6 0 1 1 0 6A6 6 0 1 1 0 -6Z",
    "random": "M0 -7L7 5H-7Z",
    "trivial": "M0 -7L7 0L0 7L-7 0Z",
}


@dataclass(frozen=True)
class Row:
    """`low` and `high`: None where there is no interval."""

    name: str
    kind: str
    estimate: float
    low: float | None
    high: float | None
    is_majority: bool = False


@dataclass(frozen=True)
class Axis:
    """From `start` to `end`, with a line at each of `ticks`."""

    start: float
    end: float
    ticks: tuple[float, ...]
    digits: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Axis:
        """All of `values` and a little more, in steps of 1, 2 or 5 times a power of ten."""
        low, high = min(values), max(values)
        rough = max(high - low, 1e-6) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        ticks = tuple(step * place for place in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks, max(0, -math.floor(math.log10(step) + 1e-9)))

    def place(self, value: float) -> str:
        """As a share of the width."""
        return f"{_MARGIN + (100 - 2 * _MARGIN) * (value - self.start) / (self.end - self.start):.2f}%"


def forest(rows: Sequence[Row], described: str, value_name: str) -> Html:
    """`described`: what is plotted, by which protocol. No rows, no plot."""
    if not rows:
        return Html("")
    ends = [end for row in rows for end in (row.estimate, row.low, row.high) if end is not None]
    axis = Axis.over(ends)
    majority = next((row.estimate for row in rows if row.is_majority), None)
    head = element("tr", element("th", "encoder", scope="col"), element("th", _head(axis), class_="draw"),
                   element("th", value_name, scope="col"), class_="axis-row")  # fmt: skip
    body = [_row(row, axis, majority) for row in rows]
    caption = element("caption", described, _key({row.kind for row in rows}, majority is not None))
    return element("table", caption, element("thead", head), element("tbody", *body), class_="plot")


def _row(row: Row, axis: Axis, majority: float | None) -> Html:
    estimate, interval = measured(row.estimate, row.low, row.high)
    kind = row.kind if row.kind in _SHAPES else "trivial"
    content = [*_lines(axis, majority)]
    if row.low is not None and row.high is not None:
        for start, end, top, bottom in (
            (row.low, row.high, "50%", "50%"),
            (row.low, row.low, "30%", "70%"),
            (row.high, row.high, "30%", "70%"),
        ):
            line = drawn("line", x1=axis.place(start), x2=axis.place(end), y1=top, y2=bottom, class_=f"whisker {kind}")
            content.append(line)
    content.append(drawn("svg", _marker(kind), x=axis.place(row.estimate), y="50%", overflow="visible"))
    said = f"{row.name}: {estimate} {interval}"
    drawing = drawn("svg", drawn("title", said), *content, role="img", aria_label=said)
    name = element("th", row.name, scope="row")
    numbers = element("td", estimate, " ", element("span", interval, class_="unbroken faint"), class_="number")
    shown = element("td", drawing, class_="draw")
    return element("tr", name, shown, numbers, **({"class": "majority-row"} if row.is_majority else {}))


def _lines(axis: Axis, majority: float | None) -> list[Html]:
    lines = [
        drawn("line", x1=axis.place(tick), x2=axis.place(tick), y1="0", y2="100%", class_="grid-line")
        for tick in axis.ticks
    ]
    if majority is not None:
        place = axis.place(majority)
        lines.append(drawn("line", x1=place, x2=place, y1="0", y2="100%", class_="majority-line"))
    return lines


def _head(axis: Axis) -> Html:
    words = [
        drawn("text", f"{tick:.{axis.digits}f}", x=axis.place(tick), y="80%", text_anchor="middle")
        for tick in axis.ticks
    ]
    said = f"axis from {axis.start:.{axis.digits}f} to {axis.end:.{axis.digits}f}"
    return drawn("svg", *words, role="img", aria_label=said)


def _key(kinds: set[str], has_majority: bool) -> Html:
    shapes = [
        element(
            "li",
            drawn("svg", drawn("svg", _marker(kind), x="50%", y="50%", overflow="visible"), aria_hidden="true"),
            words,
        )
        for kind, words in KINDS.items()
        if kind in kinds
    ]
    line = drawn(
        "svg", drawn("line", x1="50%", x2="50%", y1="0", y2="100%", class_="majority-line"), aria_hidden="true"
    )
    drawn_line = element("li", line, "majority") if has_majority else Html("")
    return element("ul", joined(shapes), drawn_line, class_="legend key")


def _marker(kind: str) -> Html:
    return drawn("path", d=_SHAPES[kind], class_=f"point {kind}")
