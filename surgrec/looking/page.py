"""The page of `surgrec look`.

In: a `Look`, all that was found out about a video. Out: HTML. It is its own file because here is the order of the sections and what each says
of itself: how moments were chosen, what the colours hold, how exact similarities are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgrec.core.html import Html, data_block, element, gallery, page, picture, table
from surgrec.core.wording import counted, lasting
from surgrec.looking.charts import (
    Colouring,
    colour_strip,
    curve_strip,
    embedding_map,
    legend,
    phase_strip,
)
from surgrec.looking.components import Components, colours
from surgrec.looking.embedding import Embedded, change
from surgrec.looking.film import clock, film_fps
from surgrec.looking.moments import Seen
from surgrec.looking.neighbours import Neighbour
from surgrec.looking.pictures import enlarged_views, in_text, jpeg, side_by_side
from surgrec.looking.similarity import TokenCodes
from surgrec.looking.style import STYLE

_STILLS = 9
_VIEWER = Path(__file__).with_name("viewer.js")


@dataclass(frozen=True)
class Found:
    """A neighbour with its picture, uint8 (P, P, 3) where its video could be read, and its label where it has one."""

    neighbour: Neighbour
    pixels: Any = None
    label: str = ""
    is_same_case: bool = False


@dataclass(frozen=True)
class Neighbours:
    """`rows`: for some moments, by number, what is nearest; `num_windows` of `num_videos` were compared."""

    rows: tuple[tuple[int, tuple[Found, ...]], ...]
    num_windows: int
    num_videos: int


@dataclass(frozen=True)
class Rebuilt:
    """`views`: for some moments, by number, float32 (3, S, S, 3): hidden, rebuilt, as it is."""

    views: tuple[tuple[int, Any], ...]
    ratio: float
    is_normalised: bool


@dataclass(frozen=True)
class Look:
    """A video, a model, and what the one makes of the other."""

    video_id: str
    duration_seconds: float
    model: dict[str, Any]
    sha256: str
    seen: Seen
    components: Components
    codes: TokenCodes
    embedded: Embedded
    colouring: Colouring
    neighbours: Neighbours | None = None
    rebuilt: Rebuilt | None = None

    @property
    def colours(self) -> Any:
        """uint8 (n, h, w, 3), the same colour for the same feature in all moments."""
        return colours(self.components.scores(self.seen.tokens)[..., :3])


def as_html(look: Look) -> str:
    """One file that needs no other; the same for the same video, release and options."""
    sections = [("viewer-section", "Click a patch", _viewer(look)), ("features", "Feature map", _stills(look))]
    sections.append(("timeline", "Timeline", _timeline(look)))
    if look.neighbours is not None:
        sections.append(("neighbours", "Nearest neighbours", _neighbours(look, look.neighbours)))
    if look.rebuilt is not None:
        sections.append(("reconstruction", "Reconstruction", _reconstruction(look, look.rebuilt)))
    links = [element("li", element("a", title, href=f"#{anchor}")) for anchor, title, _ in sections]
    body = [piece for anchor, title, content in sections for piece in (element("h2", title, id=anchor), *content)]
    return page(
        f"A look at {look.video_id}",
        *_facts(look),
        element("nav", element("ul", *links)),
        *body,
        data_block("look-data", _data(look)),
        style=STYLE,
        script=_VIEWER.read_text(encoding="utf-8"),
    )


def _facts(look: Look) -> list[Html]:
    seen, plan = look.seen, look.seen.plan
    every = look.duration_seconds / max(1, len(plan))
    chosen = (
        f"All {counted(plan.num_steps, 'time step')} of the video are shown"
        if len(plan) == plan.num_steps
        else f"{len(plan)} of {counted(plan.num_steps, 'time step')} are shown, evenly over the video, one every {every:.2f} s"
    )
    model = look.model
    row = (
        look.video_id, lasting(look.duration_seconds), str(model.get("variant", "unknown")), str(model.get("step", "unknown")),
        look.sha256[:16],
    )  # fmt: skip
    pieces = [
        table(("video", "length", "variant", "step", "weights, SHA-256"), [row]),
        element(
            "p", f"{chosen}. A time step is {plan.step_seconds:.2f} s long; its tokens are computed in a window of "
            f"{plan.times_seconds.shape[1]} frames around it."
        ),
    ]  # fmt: skip
    if seen.num_missing:
        sentence = f"{counted(seen.num_missing, 'moment')} left out: a frame of the window cannot be read."
        pieces.append(element("p", sentence, class_="panel warning"))
    care = "This page shows frames of the video: share it only with those who may see the footage. Features are not findings."
    return [*pieces, element("p", care, class_="faint")]


# -- the viewer


def _viewer(look: Look) -> list[Html]:
    _, rows, columns, _ = look.codes.codes.shape
    cell = f"width:{100 / columns:.4f}%;height:{100 / rows:.4f}%"

    def canvas(name: str, **more: str) -> Html:
        return element("canvas", width=str(columns), height=str(rows), **{"data-part": name}, **more)

    def pane(caption: object, *content: Html, **more: str) -> Html:
        return element("figure", element("div", *content, class_="pane", **more), element("figcaption", caption))

    panes = element(
        "div",
        pane(
            "Frame. Click a patch here or in the other pictures, or move it with the arrow keys.",
            element("img", alt="the frame of this moment", **{"data-part": "frame"}),
            element("div", class_="mark", style=cell, **{"data-part": "mark"}),
            tabindex="0", role="application", **{"data-part": "chosen", "aria-label": "patch to compare; arrow keys move it"},
        ),
        pane("Feature map: the first three components of the tokens as red, green, blue.", canvas("map")),
        pane(
            Html(
                "Similarity to the patch. Dashed: the most similar here, <span data-part='top'></span>. "
                "<span data-part='low'></span> <span class='ramp'></span> 1.00"
            ),
            element("img", alt="", **{"data-part": "under"}), canvas("likeness", class_="over"),
            element("div", class_="mark ring", style=cell, **{"data-part": "ring"}),
        ),
        class_="panes",
    )  # fmt: skip
    controls = element(
        "div",
        element("button", "Play", type="button", **{"data-part": "play"}),
        element(
            "input", type="range", min="0", max=str(len(look.seen) - 1), step="1", **{"data-part": "slider", "aria-label": "moment"}
        ),
        element("output", **{"data-part": "time"}), element("b", **{"data-part": "label"}),
        class_="controls",
    )  # fmt: skip
    centred = element(
        "label",
        element("input", type="checkbox", **{"data-part": "centred"}),
        " take the mean token of the video off first",
    )
    curve = Html(
        '<div class="over-time"><svg class="strip" viewBox="0 0 1000 50" preserveAspectRatio="none" role="img" '
        'aria-label="highest similarity at each moment" style="height:50px"><polyline class="curve" data-part="best"/></svg>'
        '<div class="cursor"></div></div>'
    )
    asked = Html("<p>Highest similarity of any patch, over time, to the patch in <span data-part='asked'></span></p>")
    without = element(
        "noscript",
        element("p", "Clicking needs a browser that runs scripts; what follows does not.", class_="panel note"),
    )
    return [
        without,
        element(
            "div", panes, controls, centred, asked, curve, _axis(look), class_="viewer", id="viewer", hidden="hidden"
        ),
        element("p", _exactness(look), class_="faint"),
    ]


def _exactness(look: Look) -> str:
    codes, width = look.codes, look.seen.tokens.shape[-1]
    kept, means, largest = codes.codes.shape[-1], codes.mean_error, codes.max_error
    part = "all" if kept == width else f"the first {kept} of {width}"
    return (
        f"Cosine similarity of tokens, computed in the browser from whole numbers of 8 bits along {part} principal components "
        f"({100 * codes.share:.1f} % of the variance). Compared with whole tokens: off by {means[0]:.4f} on average and {largest[0]:.4f} at most; "
        f"without the mean token by {means[1]:.4f} and {largest[1]:.4f}."
    )


def _data(look: Look) -> dict[str, Any]:
    """What `viewer.js` reads. Little-endian, as all browsers are."""
    codes, seen = look.codes, look.seen
    return {
        "shape": list(codes.codes.shape),
        "codes": in_text(codes.codes.tobytes()),
        "scales": in_text(codes.scales.astype("<f4").tobytes()),
        "offset": in_text(codes.offset.astype("<f4").tobytes()),
        "square": codes.square,
        "colours": in_text(look.colours.tobytes()),
        "frames": [in_text(jpeg(frame)) for frame in seen.frames],
        "times": [clock(float(second)) for second in seen.seconds],
        "places": [round(float(second) / max(look.duration_seconds, 1e-6), 6) for second in seen.seconds],
        "labels": list(look.colouring.labels),
        "fps": film_fps(len(seen), look.duration_seconds),
    }


# -- the rest


def _stills(look: Look) -> list[Html]:
    chosen = np.unique(np.linspace(0, len(look.seen) - 1, _STILLS).round().astype(int)).tolist()
    maps, shares = look.colours, look.components.shares[:3]
    figures = [
        picture(
            jpeg(side_by_side(look.seen.frames[number], maps[number])), f"frame and feature map at {clock(look.seen.seconds[number])}",
            clock(look.seen.seconds[number]), f", {label}" if (label := look.colouring.labels[number]) else "",
        )
        for number in chosen
    ]  # fmt: skip
    told = (
        "One principal component analysis for the whole video, so that a colour means the same in every frame. "
        f"Red, green and blue hold {', '.join(f'{100 * share:.0f} %' for share in shares)} of the variance of the tokens."
    )
    return [
        element("p", told),
        element("div", gallery(figures), class_="stills"),
        element("p", "The film beside this page shows all moments."),
    ]


def _timeline(look: Look) -> list[Html]:
    seen, colouring, embedded, duration = look.seen, look.colouring, look.embedded, look.duration_seconds
    barcode = [f"rgb({red},{green},{blue})" for red, green, blue in colours(embedded.scores)]
    strips: list[Html] = []
    if colouring.spans:
        strips += [element("p", "Labels"), _over_time(phase_strip(colouring, duration))]
    strips += [
        element("p", "Embeddings: their first three components as red, green, blue"),
        _over_time(colour_strip(barcode, seen.seconds, duration)),
        element("p", "Change: 1 less the cosine similarity to the moment before"),
        _over_time(curve_strip(change(seen.pooled), seen.seconds, duration, "change from moment to moment")),
        _axis(look),
    ]
    chart = element(
        "div",
        embedding_map(embedded.points, colouring, seen.seconds, "map of the embeddings"),
        legend(colouring.legend),
    )
    told = f"Each point is the mean token of a moment's window; {embedded.said}. Coloured by {_by(look)}. A click shows the moment above."
    return [element("p", told), element("div", chart, element("div", *strips), class_="charts")]


def _by(look: Look) -> str:
    return "label" if look.colouring.spans else "time, since no labels were given"


def _over_time(strip: Html) -> Html:
    return element("div", strip, element("div", class_="cursor"), class_="over-time")


def _axis(look: Look) -> Html:
    times = (0.0, look.duration_seconds / 2, look.duration_seconds)
    return element("div", *(element("span", clock(time)) for time in times), class_="axis")


def _neighbours(look: Look, neighbours: Neighbours) -> list[Html]:
    told = (
        f"Compared with {counted(neighbours.num_windows, 'window')} of {counted(neighbours.num_videos, 'other video')} by the cosine "
        "similarity of mean tokens; of each video its nearest window."
    )
    pieces = [element("p", told)]
    for number, several in neighbours.rows:
        query = picture(
            jpeg(look.seen.frames[number]), f"the moment {clock(look.seen.seconds[number])} of this video",
            element("b", "this video"), f", {clock(look.seen.seconds[number])}",
        )  # fmt: skip
        figures = [element("div", query, class_="query"), *map(_neighbour, several)]
        pieces.append(element("div", *figures, class_="neighbours"))
    return pieces


def _neighbour(found: Found) -> Html:
    one = found.neighbour
    words = [f"{one.similarity:.3f} ", element("code", one.video_id), f", {clock(one.start_seconds)}"]
    words += [f", {found.label}"] if found.label else []
    words += [", same case"] if found.is_same_case else []
    if found.pixels is None:
        return element("figure", element("div", "no picture", class_="missing"), element("figcaption", *words))
    return picture(jpeg(found.pixels), f"neighbour {one.video_id}", *words)


def _reconstruction(look: Look, rebuilt: Rebuilt) -> list[Html]:
    figures = [
        picture(
            jpeg(enlarged_views(views, max(192, views.shape[1]))), "what is hidden, what is rebuilt, and the frame",
            f"{clock(look.seen.seconds[number])}: hidden, rebuilt, as it is",
        )
        for number, views in rebuilt.views
    ]  # fmt: skip
    told = f"The release's decoder predicts what is grey, {100 * rebuilt.ratio:.0f} % of all cells, at all times of the clip alike. "
    if rebuilt.is_normalised:
        told += (
            "It was trained on patches less their mean and over their deviation; the true patch's mean and deviation are put back here, "
            "which flatters it."
        )
    return [element("p", told), element("div", *figures, class_="gallery wide")]
