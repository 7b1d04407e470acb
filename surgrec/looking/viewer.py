"""The part of the page that answers to clicks, and the data for its script.

In: a `Look`. Out: HTML, and values that `viewer.js` reads. It is its own file because names in it and in the script must agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgrec.core.html import Html, element
from surgrec.looking.charts import axis
from surgrec.looking.film import clock, film_fps
from surgrec.looking.found import Look
from surgrec.looking.pictures import in_text, jpeg

SCRIPT = Path(__file__).with_name("viewer.js")


def viewer(look: Look) -> list[Html]:
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
                "Similarity to the patch. Dashed: the most similar of this moment, <span data-part='top'></span>.<br>"
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
            "div",
            panes,
            controls,
            centred,
            asked,
            curve,
            axis(look.duration_seconds),
            class_="viewer",
            id="viewer",
            hidden="hidden",
        ),
        element("p", _exactness(look), class_="faint"),
    ]


def _exactness(look: Look) -> str:
    codes, width = look.codes, look.seen.tokens.shape[-1]
    kept, means, largest = codes.codes.shape[-1], codes.mean_error, codes.max_error
    part = "all" if kept == width else f"the first {kept} of {width}"
    return (
        f"Cosine similarity of tokens, computed in the browser from whole numbers of 8 bits along {part} principal components "
        f"({100 * codes.share:.1f} % of the variance). Compared with whole tokens: off by {means[0]:.4f} on average and "
        f"{largest[0]:.4f} at most; without the mean token by {means[1]:.4f} and {largest[1]:.4f}."
    )


def viewer_data(look: Look) -> dict[str, Any]:
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
