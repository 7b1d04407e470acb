"""Fingerprints: what a stretch of video looks like and how it moves, in a hundred numbers.

In: a `Survey`. Out: a `Fingerprint`: one unit vector for every half second and each of six windows of the picture. It is its own file
because these numbers are compared by the billion, so that their meaning and size are fixed here.

A moment is two seconds (8 samples) of small pictures, transformed by a discrete cosine transform over time, height and width (Coskun,
Sankur & Memon 2006, "Spatio-temporal transform based video hashing", IEEE Transactions on Multimedia 8(6)). Kept are the 4 lowest
frequencies in time and 5 x 5 in space but for the mean. Scaling, re-encoding and another frame rate leave them nearly alone; gain and
offset of brightness fall out with the mean and the norm; a still overlay touches only what does not change in time, which counts less,
and a logo brighter or darker than nearly all of the footage is cut to what the footage reaches.
A mirrored copy has the signs of odd horizontal frequencies turned. For crops, the same is computed of windows of 0.85 of each side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from surgrec.corpus.survey import LUMA_SIDE, SAMPLES_PER_SECOND, Survey, area_weights

MOMENT_SAMPLES = 8  # two seconds
HOP_SAMPLES = 2
HOP_SECONDS = HOP_SAMPLES / SAMPLES_PER_SECOND
_CROPPED = 0.85
WINDOWS = (  # top, left, size in shares of the content box
    (0.0, 0.0, 1.0),
    *((top, left, _CROPPED) for top, left in ((0.075, 0.075), (0.0, 0.0), (0.0, 0.15), (0.15, 0.0), (0.15, 0.15))),
)
MIRRORED_WINDOW = (0, 1, 3, 2, 5, 4)  # which window of the mirrored picture shows what this one shows

_TIMES, _ROWS, _COLUMNS = 4, 5, 5
_T, _V, _U = (axis.ravel()[1:] for axis in np.meshgrid(range(_TIMES), range(_ROWS), range(_COLUMNS), indexing="ij"))
DIMENSIONS = len(_T)  # 99

# Of rendered surgery in four domains, coefficients fall off as about 1 / (1 + radius) / (1 + time)^1.3; what is left to the
# power of 0.6 keeps a single strong one (the light moving) from deciding alone.
_EXPECTED = (1 / ((1 + np.hypot(_V, _U)) * (1.0 + _T) ** 1.3)).astype(np.float32)
_POWER = 0.6
_STILL_WEIGHT = np.where(_T == 0, 0.7, 1.0).astype(np.float32)  # so that overlays and vignettes count less than motion
_MIRROR = np.where(_U % 2, -1, 1).astype(np.int8)
_SCALE = 256.0  # of a component, in a signed byte: components of unit vectors in 99 dimensions seldom reach 0.5
_FLAT = 4.0  # of 255: a picture whose pixels deviate less than this shows nothing
_OUTLYING = 2.5  # robust standard deviations from the median: brighter or darker pixels are cut there
_ENOUGH_PICTURES = 512  # of a video, to know both


@dataclass(frozen=True)
class Fingerprint:
    """`vectors` int8 (moments, 6, 99) and `times_seconds` float32 (moments,), the beginning of each moment."""

    vectors: npt.NDArray[np.int8]
    times_seconds: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.times_seconds)


def fingerprint(survey: Survey) -> Fingerprint:
    """Of all moments that are readable throughout and show something. A video shorter than two seconds stands still at its end."""
    survey = _at_least_a_moment(survey)
    luma = _without_outliers(survey)
    coefficients = np.stack([_coefficients(luma, window) for window in range(len(WINDOWS))], axis=1)
    starts = np.arange(len(coefficients)) * HOP_SAMPLES
    is_shown = survey.is_readable & (survey.luma.std(axis=(1, 2)) > _FLAT)
    kept = np.flatnonzero([is_shown[start : start + MOMENT_SAMPLES].all() for start in starts])
    return Fingerprint(_unit(coefficients[kept]), survey.times_seconds[starts[kept]])


def _at_least_a_moment(survey: Survey) -> Survey:
    missing = MOMENT_SAMPLES - len(survey)
    if missing <= 0:
        return survey
    luma = np.pad(survey.luma, ((0, missing), (0, 0), (0, 0)), mode="edge")
    is_readable = np.pad(survey.is_readable, (0, missing), mode="edge")
    return replace(survey, luma=luma, is_readable=is_readable)


def _without_outliers(survey: Survey) -> npt.NDArray[np.float32]:
    """Small pictures cut at one level for the whole video, so that nothing comes to move that stands still. The spread is taken from the
    median absolute deviation, of which a logo or a caption is too small to change much."""
    shown = survey.luma[survey.is_readable] if survey.is_readable.any() else survey.luma
    shown = shown[:: 1 + len(shown) // _ENOUGH_PICTURES].astype(np.float32)
    middle = float(np.median(shown))
    deviation = max(1.4826 * float(np.median(np.abs(shown - middle))), _FLAT)
    reach = _OUTLYING * deviation
    return np.clip(survey.luma.astype(np.float32), middle - reach, middle + reach)


def mirrored(vectors: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """The vectors (..., 6, 99) of the mirrored video."""
    return vectors[..., MIRRORED_WINDOW, :] * _MIRROR


def as_floats(vectors: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Unit vectors (..., 99); a product of two is the cosine of their angle."""
    floats = vectors.astype(np.float32)
    floats /= np.maximum(lengths(floats), 1e-6)[..., None]
    return floats


def lengths(floats: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of vectors (..., 99)."""
    return np.sqrt(np.einsum("...d,...d->...", floats, floats))  # without the copies that a norm makes


def _coefficients(luma: npt.NDArray[np.float32], window: int) -> npt.NDArray[np.float32]:
    """(moments, 99) of one window."""
    if len(luma) < MOMENT_SAMPLES:
        return np.zeros((0, DIMENSIONS), np.float32)
    rows, columns = _window_basis(window)
    spatial = np.matmul(np.matmul(rows, luma), columns.T).reshape(len(luma), -1)
    moments = np.lib.stride_tricks.sliding_window_view(spatial, MOMENT_SAMPLES, axis=0)[::HOP_SAMPLES]
    return np.matmul(moments, _cosines(MOMENT_SAMPLES, _TIMES).T).transpose(0, 2, 1).reshape(len(moments), -1)[:, 1:]


def _unit(coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    scaled = coefficients / _EXPECTED
    scaled = np.sign(scaled) * np.abs(scaled) ** _POWER * _STILL_WEIGHT
    scaled /= np.maximum(np.linalg.norm(scaled, axis=-1, keepdims=True), 1e-6)
    return np.clip(np.rint(scaled * _SCALE), -127, 127).astype(np.int8)


@cache
def _window_basis(window: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines over the rows and over the columns of a window, (5, 32) each: averaging onto 16 cells, then the transform."""
    top, left, size = WINDOWS[window]
    cosines = _cosines(16, _ROWS)
    return cosines @ area_weights(LUMA_SIDE, 16, top, size), cosines @ area_weights(LUMA_SIDE, 16, left, size)


@cache
def _cosines(length: int, count: int) -> npt.NDArray[np.float32]:
    """The first `count` basis functions of the discrete cosine transform (type II), (count, length)."""
    return np.cos(np.pi * np.outer(np.arange(count), np.arange(length) + 0.5) / length).astype(np.float32)
