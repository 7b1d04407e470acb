"""The page of `surgrec look`.

In: a `Look`, all that was found out about a video. Out: HTML. It is its own file because here is the order of the sections and what each
says of itself: how moments were chosen, what the colours hold, what was compared.
"""

from __future__ import annotations

import numpy as np

from surgrec.core.drawing import legend
from surgrec.core.html import Html, data_block, element, gallery, page, picture, table
from surgrec.core.wording import counted, lasting
from surgrec.looking.charts import axis, colour_strip, curve_strip, embedding_map, over_time, phase_strip
from surgrec.looking.components import colours
from surgrec.looking.embedding import change
from surgrec.looking.film import clock
from surgrec.looking.found import Found, Look, Neighbours, Rebuilt
from surgrec.looking.pictures import enlarged_views, jpeg, side_by_side
from surgrec.looking.style import STYLE
from surgrec.looking.viewer import SCRIPT, viewer, viewer_data

_STILLS = 8


def as_html(look: Look) -> str:
    """One file that needs no other; the same for the same video, release and options."""
    sections = [("viewer-section", "Click a patch", viewer(look)), ("features", "Feature map", _stills(look))]
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
        data_block("look-data", viewer_data(look)),
        style=STYLE,
        script=SCRIPT.read_text(encoding="utf-8"),
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
            f"{plan.times_seconds.shape[1]} frames around it{_off_centre(look)}."
        ),
    ]  # fmt: skip
    if seen.num_missing:
        sentence = f"{counted(seen.num_missing, 'moment')} left out: a frame of the window cannot be read."
        pieces.append(element("p", sentence, class_="panel warning"))
    care = "This page shows frames of the video: share it only with those who may see the footage. Features are not findings."
    return [*pieces, element("p", care, class_="faint")]


def _off_centre(look: Look) -> str:
    plan = look.seen.plan
    if plan.num_steps <= plan.steps_in_window:
        return ", one and the same for the whole video"
    beside = plan.steps_in_window // 2 * plan.step_seconds
    return f", which lies to one side of it in the first and last {beside:.1f} s: what changes there may be that alone"


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
        strips += [element("p", "Labels"), over_time(phase_strip(colouring, duration))]
    strips += [
        element("p", "Embeddings: their first three components as red, green, blue"),
        over_time(colour_strip(barcode, seen.seconds, duration)),
        element("p", "Change: 1 less the cosine similarity to the moment before"),
        over_time(curve_strip(change(seen.embeddings), seen.seconds, duration, "change from moment to moment")),
        axis(duration),
        _beside(),
    ]
    chart = element(
        "div",
        embedding_map(embedded.points, colouring, seen.seconds, "map of the embeddings"),
        legend(colouring.legend),
    )
    told = f"Each point is the mean token of a moment; {embedded.said}. Coloured by {_by(look)}. A click shows the moment, here and above."
    return [element("p", told), element("div", chart, element("div", *strips), class_="charts")]


def _beside() -> Html:
    """The frame of the moment that was clicked in a chart, which the script fills and shows."""
    picture_of_moment = element("img", alt="the frame of the chosen moment", id="beside")
    return element(
        "figure", picture_of_moment, element("figcaption", id="beside-time"), class_="beside", hidden="hidden"
    )


def _by(look: Look) -> str:
    return "label" if look.colouring.spans else "time, since no labels were given"


def _neighbours(look: Look, neighbours: Neighbours) -> list[Html]:
    told = (
        f"Compared with {counted(neighbours.num_windows, 'window')} of {counted(neighbours.num_videos, 'other video')} by the cosine "
        f"similarity of mean tokens; of each video its nearest window. Half of all compared pairs are above {neighbours.median:.3f}."
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
