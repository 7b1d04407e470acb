"""Charts of a video's moments, drawn in the page: a map of embeddings, and strips over time.

In: points, labels, times. Out: HTML with SVG. It is its own file because its charts must agree in their colours and in their axis of time.
Strips are stretched to the width of the screen, so their words stand outside of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.drawing import NO_LABEL_COLOUR, as_hex, colours_apart, drawn
from surgrec.core.html import Html, element
from surgrec.evaluation.labels import Marks, label_at
from surgrec.looking.film import clock

_NO_LABEL = "no label"
_TIMES = (59, 91, 181), (192, 74, 138), (240, 168, 48)  # of the beginning, the middle and the end
_MAP_WIDTH, _MAP_HEIGHT, _MARGIN = 420.0, 300.0, 14.0
_STRIP_WIDTH = 1000.0

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Colouring:
    """`colours`: one for each moment; `labels`: likewise, empty where there are none; `legend`: names and their colours; `spans`:
    stretches of one label, (start, end, name), in seconds."""

    colours: tuple[str, ...]
    labels: tuple[str, ...]
    legend: tuple[tuple[str, str], ...]
    spans: tuple[tuple[float, float, str], ...]

    def colour_of(self, name: str) -> str:
        return dict(self.legend)[name]


def coloured_by_time(seconds: Floats, duration_seconds: float) -> Colouring:
    """From blue at the beginning through red to orange at the end."""
    colours = tuple(_mixed(float(second) / max(duration_seconds, 1e-6)) for second in seconds)
    legend = (
        (f"begin, {clock(0)}", _mixed(0)),
        ("middle", _mixed(0.5)),
        (f"end, {clock(duration_seconds)}", _mixed(1)),
    )
    return Colouring(colours, ("",) * len(colours), legend, ())


def coloured_by_label(seconds: Floats, duration_seconds: float, marks: Marks) -> Colouring:
    """A colour for each label, in the order of their first appearance."""
    ends = [*(time for time, _ in marks[1:]), duration_seconds]
    begun = ([(0.0, "")] if not marks or marks[0][0] > 0 else []) + list(marks)
    ends = ([marks[0][0] if marks else duration_seconds] if len(begun) > len(marks) else []) + ends
    spans: list[tuple[float, float, str]] = []
    for (start, label), end in zip(begun, ends, strict=True):
        name, stop = label or _NO_LABEL, min(end, duration_seconds)
        if stop <= start:
            continue
        if spans and spans[-1][2] == name:
            spans[-1] = (spans[-1][0], stop, name)
        else:
            spans.append((start, stop, name))
    labels = tuple(label_at(marks, float(second)) for second in seconds)
    names = list(dict.fromkeys(name for *_, name in spans))
    colour = dict(zip((name for name in names if name != _NO_LABEL), colours_apart(len(names)), strict=False))
    colour |= {_NO_LABEL: NO_LABEL_COLOUR}
    return Colouring(
        tuple(colour.get(label or _NO_LABEL, NO_LABEL_COLOUR) for label in labels),
        labels,
        tuple((name, colour[name]) for name in names),
        tuple(spans),
    )


def _mixed(part: float) -> str:
    place = 2 * min(1.0, max(0.0, part))
    first = min(1, int(place))
    share = place - first
    pairs = zip(_TIMES[first], _TIMES[first + 1], strict=True)
    return as_hex([((1 - share) * early + share * late) / 255 for early, late in pairs])


def embedding_map(points: Floats, colouring: Colouring, seconds: Floats, described: str) -> Html:
    """Points (n, 2) in the order of time, joined by a line; each says its time, and its label, when pointed at."""
    low, high = points.min(0), points.max(0)
    inner = np.array([_MAP_WIDTH - 2 * _MARGIN, _MAP_HEIGHT - 2 * _MARGIN])
    placed = np.where(high - low > 1e-12, (points - low) / np.maximum(high - low, 1e-12), 0.5) * inner + _MARGIN
    placed[:, 1] = _MAP_HEIGHT - placed[:, 1]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    dots = [
        drawn("circle", drawn("title", clock(float(second)) + (f", {label}" if label else "")),
             cx=f"{x:.1f}", cy=f"{y:.1f}", r="5.5", fill=colour, data_moment=str(number))
        for number, ((x, y), colour, label, second) in enumerate(
            zip(placed, colouring.colours, colouring.labels, seconds, strict=True)
        )
    ]  # fmt: skip
    return drawn(
        "svg", drawn("polyline", points=line, class_="path"), *dots,
        viewBox=f"0 0 {_MAP_WIDTH:g} {_MAP_HEIGHT:g}", role="img", aria_label=described, class_="map",
    )  # fmt: skip


def phase_strip(colouring: Colouring, duration_seconds: float) -> Html:
    """Which label holds when."""
    bands = [
        _band(start, end, duration_seconds, colouring.colour_of(name), f"{name}, {clock(start)} to {clock(end)}")
        for start, end, name in colouring.spans
    ]
    return _strip(bands, "labels over time", height=18)


def colour_strip(colours: Sequence[str], seconds: Floats, duration_seconds: float) -> Html:
    """A colour for each moment, up to the next one."""
    ends = [*seconds[1:].tolist(), duration_seconds]
    bands = [
        _band(float(start) if number else 0.0, end, duration_seconds, colour, clock(float(start)), number)
        for number, (colour, start, end) in enumerate(zip(colours, seconds, ends, strict=True))
    ]
    return _strip(bands, "embeddings as colours over time", height=60)


def curve_strip(values: Floats, seconds: Floats, duration_seconds: float, described: str) -> Html:
    """Values of the moments, from 0 to the largest of them."""
    top = max(float(values.max()), 1e-12) if len(values) else 1.0
    x = _STRIP_WIDTH * np.asarray(seconds) / max(duration_seconds, 1e-6)
    y = 78 - 76 * np.asarray(values) / top
    line = " ".join(f"{left:.1f},{height:.1f}" for left, height in zip(x, y, strict=True))
    return _strip([drawn("polyline", points=line, class_="curve")], described, height=80)


def over_time(strip: Html) -> Html:
    """A strip with the mark of the moment that the viewer shows."""
    return element("div", strip, element("div", class_="cursor"), class_="over-time")


def axis(duration_seconds: float) -> Html:
    """Times below strips."""
    times = (0.0, duration_seconds / 2, duration_seconds)
    return element("div", *(element("span", clock(time)) for time in times), class_="axis")


def _band(start: float, end: float, duration: float, colour: str, said: str, moment: int | None = None) -> Html:
    scale = _STRIP_WIDTH / max(duration, 1e-6)
    more = {} if moment is None else {"data_moment": str(moment)}
    return drawn(
        "rect", drawn("title", said), x=f"{start * scale:.2f}", y="0", width=f"{max(0.0, end - start) * scale + 0.3:.2f}",
        height="100", fill=colour, **more,
    )  # fmt: skip


def _strip(content: Sequence[Html], described: str, height: int) -> Html:
    return drawn(
        "svg", *content, viewBox=f"0 0 {_STRIP_WIDTH:g} {height}", preserveAspectRatio="none", role="img",
        aria_label=described, class_="strip", style=f"height:{height}px",
    )  # fmt: skip
