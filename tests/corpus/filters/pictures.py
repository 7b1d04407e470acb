"""Moving pictures made of numbers, and their surveys without a file between."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.corpus.content_box import find_view
from surgrec.corpus.measures import Measurer, Measures
from surgrec.corpus.stills import stills_of
from surgrec.corpus.survey import SAMPLES_PER_SECOND, Survey, thumbnails

Frames = npt.NDArray[np.uint8]

TISSUE, ROOM, NARROW_BAND = (190, 80, 70), (50, 120, 130), (70, 130, 110)


def moving(
    num_frames: int, colour: tuple[int, int, int] = TISSUE, height: int = 96, width: int = 128, seed: int = 0
) -> Frames:
    """(T, H, W, 3): a rough surface of one colour under a camera that moves."""
    random = np.random.default_rng(seed)
    grain = np.zeros((2 * height, 2 * width))
    for step in (3, 6, 12):  # smooth bumps of several sizes: straight edges would be lines of an inset
        bumps = random.normal(size=(2 * height, 2 * width))
        for axis in (0, 1):
            bumps = sum(np.roll(bumps, shift, axis) for shift in range(-step, step + 1)) / (2 * step + 1) ** 0.5
        grain += bumps
    light = np.clip(1 + 0.22 * grain, 0.25, 1.35)
    frames = []
    for index in range(num_frames):
        y, x = int(height * (0.5 + 0.45 * np.sin(0.7 * index + seed))), int(width * (0.5 + 0.45 * np.sin(0.43 * index)))
        frames.append(
            light[y : y + height, x : x + width, None] * np.array(colour) + random.normal(0, 2, size=(height, width, 1))
        )
    return np.clip(frames, 0, 255).astype(np.uint8)


def room(num_frames: int, height: int = 96, width: int = 128) -> Frames:
    """Drapes, lamps and other things, in many colours, most of them cold."""
    frames = moving(num_frames, ROOM, height, width, seed=5)
    frames[:, : height // 4, : width // 3] = (240, 240, 230)
    frames[:, height // 2 :, : width // 6] = (200, 160, 140)
    return frames


def survey_of(frames: Frames, is_readable: npt.NDArray[np.bool_] | None = None) -> Survey:
    """What `survey_video` would make of frames that are `SAMPLES_PER_SECOND` a second."""
    view = find_view(frames[:: max(1, len(frames) // 24)])
    rows, columns = view.box.pixels(*frames.shape[1:3])
    times = np.arange(len(frames)) / SAMPLES_PER_SECOND
    measurer = Measurer(view.mask[rows, columns], SAMPLES_PER_SECOND)
    table = measurer(frames[:, rows, columns], times)
    luma, chroma = thumbnails(frames[:, rows, columns])
    good = np.ones(len(frames), np.bool_) if is_readable is None else is_readable
    table[~good] = 0
    spread = frames[np.linspace(0, len(frames) - 1, min(24, len(frames))).astype(int)]
    return Survey(
        times.astype(np.float32), luma, chroma, good, view.box, view.inscribed, view.circle, Measures(table),
        stills_of([(0.0, spread)], view.mask),
    )  # fmt: skip
