"""What a run will see, as pictures, before it starts.

In: clips as the model gets them, masks, mixture shares, schedules. Out: figures, written as PNG without a display. It is its own file
because it needs matplotlib and no model; `pictures` needs a trained model and no matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from surgrec.core.atomic import atomic_path
from surgrec.core.grid import TokenGrid
from surgrec.masks.masks import MaskSet
from surgrec.training.pictures import tile

Pixels = npt.NDArray[np.float32]

_SHOWN_FRAMES = 8
_WIDTH_INCHES = 14.0
_TARGET_COLOUR = (0.13, 0.36, 0.72)  # over what is to be predicted
_UNUSED_COLOUR = (0.93, 0.93, 0.93)  # over what is neither seen nor predicted
_STRENGTH = 0.72


def clip_sheet(clips: Pixels, captions: Sequence[str]) -> Figure:
    """One row a clip: frames in [0, 1] of (B, T, H, W, 3), evenly over its time, under its caption."""
    shown = np.linspace(0, clips.shape[1] - 1, min(_SHOWN_FRAMES, clips.shape[1])).round().astype(int)
    return _rows([tile(clip[shown]) for clip in clips], captions)


def mask_sheet(clips: Pixels, masks: Sequence[MaskSet], grid: TokenGrid) -> Figure:
    """One row a clip and mask set: the first frame of every time step, what must be predicted under blue, what is in neither grey."""
    first = clips[:, :: clips.shape[1] // grid.t]
    rows, captions = [], []
    for index in range(len(clips)):
        for number, mask in enumerate(masks):
            rows.append(tile(_overlay(first[index], mask, index, grid)))
            seen, predicted = (ids.shape[1] / grid.num_tokens for ids in mask)
            unused = max(0.0, 1 - seen - predicted)
            captions.append(
                f"clip {index}, mask {number + 1} of {len(masks)}: {seen:.1%} seen ({mask.context.shape[1]} tokens), "
                f"{predicted:.1%} predicted ({mask.target.shape[1]}), {unused:.1%} in neither"
            )
    figure = _rows(rows, captions)
    figure.legend(
        handles=[
            Patch(facecolor="white", edgecolor="black", label="context: what the encoder sees"),
            Patch(facecolor=_TARGET_COLOUR, label="target: what must be predicted"),
            Patch(facecolor=_UNUSED_COLOUR, edgecolor="black", label="neither"),
        ],
        loc="lower center",
        ncol=3,
        frameon=False,
    )
    return figure


def mixture_chart(sources: Sequence[str], hours: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> Figure:
    """Two bars a source, the largest first: its share of the footage's hours, and of the clips drawn."""
    order = np.argsort(-hours)
    figure = Figure(figsize=(9, 1.2 + 0.35 * len(sources)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(sources))
    axes.barh(places - 0.2, 100 * (hours / hours.sum())[order], 0.4, label="of the hours", color="0.7")
    axes.barh(places + 0.2, 100 * shares[order], 0.4, label="of the clips drawn", color=_TARGET_COLOUR)
    axes.set_yticks(places, [sources[index] for index in order])
    axes.invert_yaxis()
    axes.set_xlabel("share (%)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def schedule_chart(steps: npt.NDArray[np.int64], curves: dict[str, npt.NDArray[np.float64]]) -> Figure:
    """One panel a curve over the steps of the run."""
    figure = Figure(figsize=(4.2 * len(curves), 3), layout="constrained")
    for place, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), place + 1)
        axes.plot(steps, values, color=_TARGET_COLOUR)
        axes.set_title(f"{name}\n{values[0]:.4g} to {values[-1]:.4g}", fontsize=10)
        axes.set_xlabel("step")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def save_figure(figure: Figure, file: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    FigureCanvasAgg(figure)  # no display is needed, whatever the user's matplotlib is set to
    with atomic_path(file) as temporary:
        figure.savefig(temporary, dpi=110)
    return file


def _overlay(frames: Pixels, mask: MaskSet, index: int, grid: TokenGrid) -> Pixels:
    """Frames (t, H, W, 3) of clip `index`, coloured by the role of each token."""
    role = np.full(grid.num_tokens, 2)  # 0 context, 1 target, 2 neither
    role[mask.context[index].numpy()] = 0
    role[mask.target[index].numpy()] = 1
    cell_height, cell_width = frames.shape[1] // grid.h, frames.shape[2] // grid.w
    role = role.reshape(grid.t, grid.h, grid.w).repeat(cell_height, axis=1).repeat(cell_width, axis=2)[..., None]
    hidden = np.where(role == 1, _TARGET_COLOUR, _UNUSED_COLOUR)
    return np.where(role == 0, frames, (1 - _STRENGTH) * frames + _STRENGTH * hidden).astype(np.float32)


def _rows(pictures: Sequence[Pixels], captions: Sequence[str]) -> Figure:
    """Pictures of one size below one another, each under its caption."""
    height, width = pictures[0].shape[:2]
    row_inches = _WIDTH_INCHES * height / width + 0.35
    figure = Figure(figsize=(_WIDTH_INCHES, row_inches * len(pictures) + 0.4))
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        axes = figure.add_subplot(len(pictures), 1, place + 1)
        axes.imshow(picture.clip(0, 1))
        axes.set_title(caption, loc="left", fontsize=9)
        axes.axis("off")
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.3 / figure.get_figheight(), bottom=0.35 / figure.get_figheight()
    )
    return figure
