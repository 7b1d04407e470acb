"""Timelines of operations: the true class over time as a ribbon, and below it what each encoder said.

In: timelines of one video. Out: a table with a ribbon in each row. It is its own file because colours must mean the same class in
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from surgrec.core.drawing import NO_LABEL_COLOUR, colours_apart, drawn
from surgrec.core.html import Html, element
from surgrec.core.wording import lasting
from surgrec.evaluation.results import Timeline

MAX_MOMENTS = 2000  # of a ribbon: a moment is then narrower than a pixel


@dataclass(frozen=True)
class Ribbon:
    """What an encoder said of a video."""

    name: str
    timeline: Timeline


def colours_of(classes: Sequence[str]) -> dict[int, str]:
    """Of the index of each class."""
    return dict(zip(range(len(classes)), colours_apart(len(classes)), strict=False))


def ribbons(several: Sequence[Ribbon], classes: Sequence[str]) -> Html:
    """All of one video and one truth."""
    truth = several[0].timeline
    rows = [_row("truth", truth, truth.truth, classes, "")]
    rows += [
        _row(ribbon.name, ribbon.timeline, ribbon.timeline.predicted, classes, _agreement(ribbon.timeline))
        for ribbon in several
    ]
    caption = f"{truth.video_id}, {lasting(_end(truth) - (truth.times[0] if truth.times else 0.0))}"
    return element("table", element("caption", caption), element("tbody", *rows), class_="plot ribbons")


def _row(name: str, timeline: Timeline, labels: Sequence[int], classes: Sequence[str], told: str) -> Html:
    colours, end = colours_of(classes), _end(timeline)
    begin = timeline.times[0] if timeline.times else 0.0
    scale = 100 / max(end - begin, 1e-9)
    bands = []
    for start, stop, label in _spans(timeline.times, labels, end):
        said = f"{_class(classes, label)}, {lasting(start)} to {lasting(stop)}"
        x, width = f"{(start - begin) * scale:.3f}%", f"{(stop - start) * scale + 0.02:.3f}%"
        colour = colours.get(label, NO_LABEL_COLOUR)
        bands.append(drawn("rect", drawn("title", said), x=x, y="0", width=width, height="100%", fill=colour))
    drawing = drawn("svg", *bands, role="img", aria_label=f"{name}: {told or 'the true classes over time'}")
    shown = element("td", drawing, class_="draw")
    return element("tr", element("th", name, scope="row"), shown, element("td", told, class_="faint"))


def _spans(times: Sequence[float], labels: Sequence[int], end: float) -> Iterator[tuple[float, float, int]]:
    """Stretches of one class, each up to the next."""
    step = max(1, -(-len(times) // MAX_MOMENTS))
    moments = list(zip(times[::step], labels[::step], strict=True))
    first = 0
    for place in range(1, len(moments) + 1):
        if place == len(moments) or moments[place][1] != moments[first][1]:
            yield moments[first][0], moments[place][0] if place < len(moments) else end, moments[first][1]
            first = place


def _end(timeline: Timeline) -> float:
    """The last moment lasts as long as the one before it."""
    times = timeline.times
    if len(times) < 2:
        return (times[0] if times else 0.0) + 1.0
    return 2 * times[-1] - times[-2]


def _class(classes: Sequence[str], label: int) -> str:
    return classes[label] if 0 <= label < len(classes) else "no label"


def _agreement(timeline: Timeline) -> str:
    labelled = [(true, said) for true, said in zip(timeline.truth, timeline.predicted, strict=True) if true >= 0]
    right = sum(true == said for true, said in labelled)
    return f"{right:,} of {len(labelled):,} right" if labelled else "nothing labelled"
