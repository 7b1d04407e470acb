"""Burned-in text and static overlays: edges that stand still while the picture moves. In: a survey. Out: regions.

An edge is still where the square of the mean gradient over frames from all over the video is nearly the mean of the squares: the
gradient hardly varies. Still edges near each other are one region. It is text where its rows cross many strokes, else an overlay: a logo, a
mark, a scale. It is its own file because both are one search.

Nothing is said of a video whose picture stands still as a whole: there, everything is a still edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.content_box import as_shares
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.thresholds import StillEdges, Text
from surgrec.corpus.regions import Mask, Rectangle, areas, bounds, grown
from surgrec.corpus.stills import Stills, mean_gradients, mean_strengths
from surgrec.corpus.survey import Survey


@dataclass(frozen=True)
class StillRegion:
    """`box` in pixels of the stills; `contrast`: mean length of its still gradients, levels a pixel; `strokes`: how many a row crosses."""

    box: Rectangle
    contrast: float
    strokes: float


def text_and_overlays(survey: Survey, config: Text, edges: StillEdges, duration_seconds: float) -> list[Finding]:
    """Findings `text` and `overlay` with their regions; a stretch of the video is the shortest time that is told. The score is the mean
    contrast of the still edges, in levels a pixel."""
    stills = survey.stills
    height, width = stills.mean.shape[1:]
    found = []
    for stretch, (start, end) in enumerate(stills.spans(duration_seconds)):
        for region in still_regions(stills, stretch, edges):
            if region.strokes < config.overlay_strokes:
                continue  # a border of tissue or an instrument that rests
            reason = "text" if region.strokes >= config.strokes else "overlay"
            found.append(Finding(reason, start, end, region.contrast, as_shares(region.box, height, width)))
    return found


def still_regions(stills: Stills, stretch: int, config: StillEdges) -> list[StillRegion]:
    """Regions of one stretch, the largest first."""
    if stills.num_frames[stretch] < config.min_frames:
        return []
    across, down = mean_gradients(stills, stretch)
    still_across, still_down, is_edge = still_edges(stills, stretch, config)
    still = still_across | still_down
    inner, bars = inside_and_bars(stills.view, config.rim)
    moves = (still & inner).sum() <= config.max_still_share * max(1, (is_edge & inner).sum())
    still &= (inner | bars) if moves else bars
    short = min(still.shape)
    joined = still
    for axis, share in ((1, config.join_across), (0, config.join_down)):
        joined = grown(joined, 2 * round(share * short / 2) + 1, axes=(axis,))
    regions = []
    for area, _ in areas(joined):
        part = still & area
        box, count = bounds(part), int(part.sum())
        is_large = count >= config.min_pixels * still.size and box.area <= config.max_area * still.size
        is_wide = min(box.right - box.left, box.bottom - box.top) >= config.min_side * short
        if is_large and is_wide and count >= config.density * box.area:
            signs = np.where(still_across, np.sign(across), 0)[box.slices]
            regions.append(
                StillRegion(
                    box,
                    float(np.hypot(across, down)[part].mean()),
                    _strokes(signs, max(1, round(config.min_side * short))),
                )
            )
    return regions


def still_edges(stills: Stills, stretch: int, config: StillEdges) -> tuple[Mask, Mask, Mask]:
    """Where the gradient across, and that down, is long and hardly varies; and where either is long in the mean square."""
    gradients, strengths = mean_gradients(stills, stretch), mean_strengths(stills, stretch)
    across, down = (
        (np.abs(gradient) >= config.contrast) & (gradient**2 >= config.stillness * strength**2)
        for gradient, strength in zip(gradients, strengths, strict=True)
    )
    return across, down, (strengths[0] >= config.contrast) | (strengths[1] >= config.contrast)


def inside_and_bars(view: Mask, rim: float) -> tuple[Mask, Mask]:
    """The view and what is around it, both without `rim`, a share of the short side, along the view's own edge, which stands still."""
    width = 2 * round(rim * min(view.shape) / 2) + 1
    return ~grown(~np.pad(view, 1), width)[1:-1, 1:-1], ~grown(view, width)


def _strokes(signs: npt.NDArray[np.floating], num_rows: int) -> float:
    """How often a row goes from bright to dark or back, at least, in the `num_rows` rows that do so most."""
    counts = []
    for row in signs:
        steps = row[row != 0]
        counts.append(1 + int(np.count_nonzero(np.diff(steps))) if len(steps) else 0)
    return float(sorted(counts)[-min(num_rows, len(counts))])
