"""Scenes of drifting blobs, as a camera would see tissue: made in memory, so that copies of footage can be tested without files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.corpus.content_box import WHOLE
from surgrec.corpus.survey import BRIEF_SECONDS, DENSE_PER_SECOND, LUMA_SIDE, SAMPLES_PER_SECOND, Survey, thumbnails

HEIGHT, WIDTH = 60, 80
Frames = npt.NDArray[np.uint8]


def frames_of(seed: int, times: npt.ArrayLike) -> Frames:
    """RGB frames (T, 60, 80, 3) of scene `seed` at `times`: blobs that wander and breathe, each in its own rhythm."""
    random = np.random.default_rng(seed)
    moments = np.asarray(times, np.float64)[:, None, None]
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j][:, None]
    picture = np.full((len(moments), HEIGHT, WIDTH), 90.0) + 40 * x + 20 * y
    for _ in range(24):
        at_y, at_x, phase_y, phase_x, phase_size = random.uniform(0, 1, 5)
        rate_y, rate_x, rate_size = random.uniform(0.15, 0.9, 3)
        far, size, strength = random.uniform(0.03, 0.16), random.uniform(0.03, 0.12), random.normal(0, 45)
        centre_y = at_y + far * np.sin(2 * np.pi * (rate_y * moments + phase_y))
        centre_x = at_x + far * np.sin(2 * np.pi * (rate_x * moments + phase_x))
        width = size * (1 + 0.3 * np.sin(2 * np.pi * (rate_size * moments + phase_size)))
        picture += strength * np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / (2 * width**2))
    noisy = picture + np.random.default_rng([seed, 1]).normal(0, 1.5, picture.shape)
    return np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def times_of(seconds: float, per_second: int = SAMPLES_PER_SECOND, start: float = 0.0) -> npt.NDArray[np.float64]:
    """Sample times of a stretch."""
    return start + np.arange(int(seconds * per_second)) / per_second


def survey_of(seed: int, seconds: float, start: float = 0.0, change=lambda frames: frames) -> Survey:  # type: ignore[no-untyped-def]
    """The survey of a video that shows scene `seed` from `start` on, its frames changed by `change`."""
    times = times_of(seconds)
    luma, chroma = thumbnails(change(frames_of(seed, times + start)))
    dense = np.zeros((0, LUMA_SIDE, LUMA_SIDE), np.uint8)
    if seconds < BRIEF_SECONDS:
        dense = thumbnails(change(frames_of(seed, times_of(seconds, DENSE_PER_SECOND, start))))[0]
    return Survey(times.astype(np.float32), luma, chroma, np.ones(len(times), np.bool_), WHOLE, dense_luma=dense)


def cropped(frames: Frames, top: float = 0.12, left: float = 0.05, size: float = 0.8) -> Frames:
    """A part of the picture."""
    rows = slice(round(top * HEIGHT), round((top + size) * HEIGHT))
    return frames[:, rows, round(left * WIDTH) : round((left + size) * WIDTH)]


def mirrored(frames: Frames) -> Frames:
    """Left and right exchanged."""
    return frames[:, :, ::-1]


def brightened(frames: Frames) -> Frames:
    """Another gamma, gain and offset."""
    return np.clip((frames / 255.0) ** 0.8 * 230 + 15, 0, 255).astype(np.uint8)


def overlaid(frames: Frames) -> Frames:
    """A logo and a caption that stay."""
    changed = frames.copy()
    changed[:, 3:11, -21:-3] = 240
    changed[:, -6:-2, 3:39] = np.array([[0, 255] * 18]).repeat(4, axis=0)[..., None]
    return changed


TRANSFORMATIONS = {
    "none": lambda frames: frames,
    "cropped": cropped,
    "mirrored": mirrored,
    "brightened": brightened,
    "overlaid": overlaid,
    "mirrored and cropped": lambda frames: mirrored(cropped(frames)),
}
