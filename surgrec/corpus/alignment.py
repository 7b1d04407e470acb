"""Whether two stretches of video are the same footage: small pictures laid over each other in time and space.

In: the small pictures of two surveys, a shift in time, a first guess at the crop. Out: an `Alignment` with two correlations. It is its
own file because it decides: fingerprints only propose. The first correlation is of change (a picture minus the one half a second
before), which no two recordings share by chance, and which overlays, vignettes and brightness leave alone; the second is of fine
structure. Both are taken where the pictures overlap, at the best of many shifts, by correlation in the frequency domain under masks
(Padfield 2012, "Masked object registration in the Fourier domain", IEEE Transactions on Image Processing 21(5)).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import fft  # four times as fast as numpy's

from surgrec.corpus.survey import DENSE_PER_SECOND, LUMA_SIDE, SAMPLES_PER_SECOND, Survey, area_weights

Floats = npt.NDArray[np.float32]

_LAG_SECONDS, _BRIEF_LAG_SECONDS = 0.5, 0.25  # between the pictures of a change
BRIEF_SECONDS = 2.5  # what two videos have in common is brief below
_MIN_CHANGES = 4
_MAX_CHANGES, _FEW_CHANGES = 24, 8  # the liveliest are enough to find the crop, and fewer to see that there is none
_NOISE = 2.0  # of 255: change that is smaller counts less
_BLANK = 6.0  # of 255: standard deviation of a picture that shows nothing
_PADDED = 96  # pixels; two pictures of up to 1.5 x 32 do not meet around the edge
_MIN_AREA = 0.6  # of the smaller picture must be seen by both
_GUESS_SECONDS, _BRIEF_GUESS_SECONDS = 0.25, 1.5  # how far off a guessed shift may be
_COARSE_STEP_SECONDS, _GUESS_STEP_SECONDS = 1 / 8, 1 / 16
_FINE_SCALES = (0.94, 1.0, 1.06)
# 0.75 to 4 s before and after
_ELSEWHERE_SECONDS = tuple(sign * quarter / 4 for sign in (-1, 1) for quarter in range(3, 17))
# correlation of change below which nothing is refined: of few pictures, and of all near the best shift
_HOPELESS, _UNLIKELY = 0.2, 0.3
_STRUCTURE_PICTURES = 16


@dataclass(frozen=True)
class Pictures:
    """Small pictures uint8 (n, 32, 32), `per_second` of them."""

    luma: npt.NDArray[np.uint8]
    per_second: int = SAMPLES_PER_SECOND

    @property
    def duration_seconds(self) -> float:
        """Until the last one ends."""
        return len(self.luma) / self.per_second

    def between(self, start_seconds: float, end_seconds: float) -> Pictures:
        """Those of a stretch."""
        start, end = (max(0, round(seconds * self.per_second)) for seconds in (start_seconds, end_seconds))
        return Pictures(self.luma[start:end], self.per_second)

    def mirrored(self) -> Pictures:
        """Left and right exchanged."""
        return Pictures(self.luma[:, :, ::-1], self.per_second)


def pictures_of(first: Survey, second: Survey) -> tuple[Pictures, Pictures]:
    """Of both surveys as many a second as both have."""
    if len(first.dense_luma) and len(second.dense_luma):
        return Pictures(first.dense_luma, DENSE_PER_SECOND), Pictures(second.dense_luma, DENSE_PER_SECOND)
    return Pictures(first.luma), Pictures(second.luma)


@dataclass(frozen=True)
class Alignment:
    """`change` and `structure`: correlations, -1 to 1. The whole of the first picture shows the part of the second that begins at
    (`top`, `left`) and is `height` x `width` large, in shares of it; values outside 0 to 1 where the second is the crop. At time t
    of the first, the second is at t + `shift_seconds`. `overlap_seconds`: how long both run."""

    change: float
    structure: float
    shift_seconds: float
    overlap_seconds: float
    top: float
    left: float
    height: float
    width: float


def align(first: Pictures, second: Pictures, shift_seconds: float, scale: float) -> Alignment | None:
    """The best alignment near a guess of the shift and of `scale`, how large the first picture is in the second.

    None where too little is common. Both must have the same number of pictures a second.
    """
    step = max(1 / first.per_second, _GUESS_STEP_SECONDS)
    coarse_step = max(step, _COARSE_STEP_SECONDS)
    scales = tuple((scale * factor, scale * factor) for factor in (0.93, 1.0, 1.075))
    reach = _BRIEF_GUESS_SECONDS if first.duration_seconds < BRIEF_SECONDS else _GUESS_SECONDS
    most = round(reach / coarse_step)
    # the guess itself is one of them
    coarse = [shift_seconds + number * coarse_step for number in range(-most, most + 1)]
    best = _best(first, second, coarse, scales, num_changes=_FEW_CHANGES)
    if best is None or best.change < _HOPELESS:
        return best
    best = _best(first, second, (best.shift_seconds + by for by in (-step, 0.0, step)), scales)
    assert best is not None, "it was there before"
    if best.change < _UNLIKELY:
        return best
    stretched = tuple((best.height * y, best.width * x) for y in _FINE_SCALES for x in _FINE_SCALES)
    fine = [best.shift_seconds + by for by in (-step / 2, 0.0, step / 2)]
    best = _best(first, second, fine, stretched, best)
    assert best is not None, "it was there before"
    return _with_structure(first, second, best)


def elsewhere(first: Pictures, second: Pictures, found: Alignment) -> float:
    """The best correlation of change at other moments near the one found, -1 where there are none: movement that repeats itself, a beating
    heart or a tool that goes to and fro, correlates with itself at many shifts, the same footage at one."""
    others = [found.shift_seconds + by for by in _ELSEWHERE_SECONDS]
    best = _best(first, second, others, ((found.height, found.width),))
    return -1.0 if best is None else best.change


def throughout(first: Pictures, second: Pictures, found: Alignment) -> float:
    """The correlation of change over all pictures: that of the liveliest few, by which the best place was found, may be chance."""
    _, mine, theirs = changes_in_place(first, second, found, found.shift_seconds)
    energy = float(np.square(mine).sum()) * float(np.square(theirs).sum())
    return float((mine * theirs).sum()) / max(energy, 1e-3) ** 0.5


def changes_in_place(
    first: Pictures, second: Pictures, found: Alignment, shift_seconds: float
) -> tuple[int, Floats, Floats]:
    """(index into `first` of the first common sample, the changes of both where they show the same), which they must have in common."""
    common = common_stretch(first, second, shift_seconds)
    assert common is not None, "it was found there"
    start, mine, theirs = common
    apart = lag(first, found.overlap_seconds)
    return start, changes(mine, apart), changes(placed(theirs, found), apart)


def _best(
    first: Pictures,
    second: Pictures,
    shifts_seconds: Iterable[float],
    scales: tuple[tuple[float, float], ...],
    so_far: Alignment | None = None,
    num_changes: int = _MAX_CHANGES,
) -> Alignment | None:
    """The one of the greatest change, of so many pictures, of these and `so_far`."""
    tries = (so_far, *(_try(first, second, shift, scales, num_changes) for shift in shifts_seconds))
    return max((found for found in tries if found is not None), key=lambda found: found.change, default=None)


def common_stretch(first: Pictures, second: Pictures, shift_seconds: float) -> tuple[int, Floats, Floats] | None:
    """(index into `first` of the first common sample, both stacks at the same moments), the second interpolated in time."""
    shift = shift_seconds * first.per_second
    start = max(0, int(np.ceil(-shift)))
    stop = min(len(first.luma), int(np.floor(len(second.luma) - 1 - shift)) + 1)
    if stop - start < _MIN_CHANGES + lag(first, 0.0):
        return None
    at = np.arange(start, stop) + shift
    before = np.clip(np.floor(at).astype(np.int64), 0, len(second.luma) - 2)
    share = (at - before).astype(np.float32)[:, None, None]
    theirs = second.luma[before] * (1 - share) + second.luma[before + 1] * share
    return start, first.luma[start:stop].astype(np.float32), theirs


def lag(pictures: Pictures, overlap_seconds: float) -> int:
    """How many samples apart the pictures of a change are."""
    seconds = _BRIEF_LAG_SECONDS if overlap_seconds < BRIEF_SECONDS else _LAG_SECONDS
    return round(seconds * pictures.per_second)


def changes(pictures: Floats, apart: int) -> Floats:
    """Differences of pictures so many samples `apart`, without their mean, about unit energy each, (n - apart, 32, 32); 0 where one of the
    two is black or blank: what appears is the round or square view then, which all videos of an endoscope share."""
    change = pictures[apart:] - pictures[:-apart]
    is_blank = pictures.std(axis=(1, 2)) < _BLANK
    change[is_blank[apart:] | is_blank[:-apart]] = 0.0
    change -= change.mean(axis=(1, 2), keepdims=True)
    change /= np.sqrt(np.square(change).mean(axis=(1, 2), keepdims=True)) + _NOISE
    return change


def placed(pictures: Floats, alignment: Alignment) -> Floats:
    """The second's pictures as the first shows them; 0 where it does not reach."""
    rows = area_weights(LUMA_SIDE, LUMA_SIDE, alignment.top, alignment.height)
    columns = area_weights(LUMA_SIDE, LUMA_SIDE, alignment.left, alignment.width)
    return np.matmul(np.matmul(rows, pictures), columns.T)


# -- change


def _try(
    first: Pictures,
    second: Pictures,
    shift_seconds: float,
    scales: tuple[tuple[float, float], ...],
    num_changes: int,
) -> Alignment | None:
    common = common_stretch(first, second, shift_seconds)
    if common is None:
        return None
    overlap = len(common[1]) / first.per_second
    apart = lag(first, overlap)
    mine, theirs = changes(common[1], apart), changes(common[2], apart)
    if len(mine) > num_changes:
        energy = np.square(mine).mean(axis=(1, 2)) * np.square(theirs).mean(axis=(1, 2))
        liveliest = np.sort(np.argsort(-energy)[:num_changes])
        mine, theirs = mine[liveliest], theirs[liveliest]
    transformed = fft.rfft2(theirs, (_PADDED, _PADDED)).conj()
    energy_of_theirs = fft.rfft2(np.square(theirs).sum(axis=0), (_PADDED, _PADDED))
    best: Alignment | None = None
    for height, width in scales:
        change, top, left = _best_shift(mine, transformed, energy_of_theirs, height, width)
        if best is None or change > best.change:
            best = Alignment(change, 0.0, shift_seconds, overlap, top, left, height, width)
    return best


def _best_shift(
    mine: Floats,
    theirs: npt.NDArray[np.complexfloating],
    energy: npt.NDArray[np.complexfloating],
    height: float,
    width: float,
) -> tuple[float, float, float]:
    """(correlation, top, left) of the best place of `mine`, shrunk or enlarged, in the other pictures."""
    rows, columns = round(LUMA_SIDE * height), round(LUMA_SIDE * width)
    down, across = area_weights(LUMA_SIDE, rows), area_weights(LUMA_SIDE, columns)
    scaled = np.matmul(np.matmul(down, mine), across.T)
    size = (_PADDED, _PADDED)
    product = fft.irfft2(np.einsum("nij,nij->ij", theirs, fft.rfft2(scaled, size)).conj(), size)
    mask, area = _masks(rows, columns)
    their_energy = fft.irfft2(energy * mask.conj(), size)
    my_energy = fft.irfft2(_mask(LUMA_SIDE, LUMA_SIDE) * fft.rfft2(np.square(scaled).sum(axis=0), size).conj(), size)
    correlation = product / np.sqrt(np.maximum(their_energy, 1e-3) * np.maximum(my_energy, 1e-3))
    correlation[area < _MIN_AREA * min(rows * columns, LUMA_SIDE**2)] = -1.0
    top, left = np.unravel_index(int(correlation.argmax()), size)
    at = (int(top), int(left))
    signed = [place if place < _PADDED // 2 else place - _PADDED for place in at]
    return float(correlation[at]), signed[0] / LUMA_SIDE, signed[1] / LUMA_SIDE


@cache
def _mask(rows: int, columns: int) -> npt.NDArray[np.complexfloating]:
    return fft.rfft2(np.ones((rows, columns)), (_PADDED, _PADDED))


@cache
def _masks(rows: int, columns: int) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.float64]]:
    """The transform of a picture's area, and how many pixels it shares with a whole one at every shift."""
    mask = _mask(rows, columns)
    return mask, fft.irfft2(_mask(LUMA_SIDE, LUMA_SIDE) * mask.conj(), (_PADDED, _PADDED))


# -- structure


def _with_structure(first: Pictures, second: Pictures, found: Alignment) -> Alignment:
    common = common_stretch(first, second, found.shift_seconds)
    assert common is not None, "it was found there"
    chosen = np.linspace(0, len(common[1]) - 1, min(len(common[1]), _STRUCTURE_PICTURES)).astype(np.int64)
    is_common = placed(np.ones((1, LUMA_SIDE, LUMA_SIDE), np.float32), found) > 0.5
    mine = _fine(common[1][chosen]) * is_common
    theirs = _fine(placed(common[2][chosen], found)) * is_common
    energy = float(np.square(mine).sum()) * float(np.square(theirs).sum())
    structure = float((mine * theirs).sum()) / max(energy, 1e-3) ** 0.5
    return Alignment(
        found.change,
        structure,
        found.shift_seconds,
        found.overlap_seconds,
        found.top,
        found.left,
        found.height,
        found.width,
    )


def _fine(pictures: Floats) -> Floats:
    """Without what is coarser than an eighth of the side: every endoscope's picture is bright in the middle."""
    cells = LUMA_SIDE // 8
    coarse = pictures.reshape(len(pictures), 8, cells, 8, cells).mean(axis=(2, 4))
    weights = _smooth()
    return pictures - np.matmul(np.matmul(weights, coarse), weights.T)


@cache
def _smooth() -> Floats:
    """(32, 8): linear interpolation between cell centres."""
    position = (np.arange(LUMA_SIDE) + 0.5) / LUMA_SIDE * 8 - 0.5
    distance = np.abs(np.clip(position, 0, 7)[:, None] - np.arange(8)[None])
    return np.clip(1 - distance, 0, None).astype(np.float32)
