"""A survey of a video: small pictures and measures, four a second, from one pass of decoding.

In: a path and a duration. Out: a `Survey`, and its file. It is its own file because decoding is what costs: filters, fingerprints and
reports are all computed from surveys, so that a changed threshold needs no second look at the footage.

A survey holds small pictures of patients: it belongs where the videos are.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.core.atomic import atomic_path
from surgrec.core.errors import UserError
from surgrec.corpus.content_box import WHOLE, Circle, ContentBox, View, find_view
from surgrec.corpus.isolated import Limits
from surgrec.corpus.measures import MEASURES, Measurer, Measures
from surgrec.corpus.regions import resized
from surgrec.corpus.stills import NO_STILLS, Stills, stills_of
from surgrec.video.decode import Frames, VideoReader, open_video
from surgrec.video.errors import VideoError

VERSION = 4
SAMPLES_PER_SECOND = 4
SHORT_SIDE_PIXELS = 128  # what frames are shrunk to before anything is measured
LUMA_SIDE, CHROMA_SIDE = 32, 8
BRIEF_SECONDS = 8.0  # a shorter video is kept densely too: its few moments must be told from those of all others
DENSE_PER_SECOND = 32

SLOWEST_FRAME_SECONDS = 10.0  # that a frame is reckoned to be shown for at most, where work is measured by length

_STILL_SIDE = 256  # pixels: captions are small
_SPREAD_FRAMES = 24  # from all over the video, for the content box and for what stands still
# of a longer video: so many from each quarter, looked at apart
_LONG_SECONDS, _LONG_STRETCHES, _STRETCH_FRAMES = 240.0, 4, 12
_CHUNK_FRAMES = 64
_ARRAYS = ("times_seconds", "luma", "chroma", "is_readable", "dense_luma")
_BOXES = ("box", "inscribed")
_TO_YCBCR = np.array(  # ITU-T T.871 (JFIF), full range
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


@dataclass(frozen=True)
class Survey:
    """What was seen of a video at `times_seconds`, (n,), `SAMPLES_PER_SECOND` a second.

    `luma` (n, 32, 32) and `chroma` (n, 2, 8, 8), uint8: the content box, stretched to a square. `is_readable` (n,): False where
    decoding failed; pictures and measures are 0 there. `box` is what the pictures show, `inscribed` the largest rectangle in it without
    black corners, `circle` the view where it is round. `measures`: (n, M), columns by name; `stills`: what stands still in the picture.
    `dense_luma` (m, 32, 32): like `luma`, `DENSE_PER_SECOND` a second, of a brief video that is readable throughout; else m = 0.
    """

    times_seconds: npt.NDArray[np.float32]
    luma: npt.NDArray[np.uint8]
    chroma: npt.NDArray[np.uint8]
    is_readable: npt.NDArray[np.bool_]
    box: ContentBox
    inscribed: ContentBox = WHOLE
    circle: Circle | None = None
    measures: Measures = field(default_factory=lambda: Measures(np.zeros((0, len(MEASURES)), np.float32)))
    stills: Stills = NO_STILLS
    dense_luma: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, LUMA_SIDE, LUMA_SIDE), np.uint8))

    def __len__(self) -> int:
        return len(self.times_seconds)


def survey_limits(duration_seconds: float, num_frames: int | None = None) -> Limits:
    """What a worker that makes a survey may take: decoding at twice real time is slow, and pictures are 5 kB a sample.

    With `num_frames`, a length that they cannot fill, as one jump of the timestamps gives, earns no more time and memory.
    """
    seconds = duration_seconds if num_frames is None else min(duration_seconds, SLOWEST_FRAME_SECONDS * num_frames)
    return Limits(120 + 2 * seconds, (2 << 30) + int(20_000 * seconds), 1 << 32)


def survey_video(path: Path, duration_seconds: float) -> Survey:
    """Decode the whole of a video. Raises `VideoError` where not one frame can be read."""
    times = np.arange(max(1, int(duration_seconds * SAMPLES_PER_SECOND)), dtype=np.float64) / SAMPLES_PER_SECOND
    luma = np.zeros((len(times), LUMA_SIDE, LUMA_SIDE), np.uint8)
    chroma = np.zeros((len(times), 2, CHROMA_SIDE, CHROMA_SIDE), np.uint8)
    is_readable = np.zeros(len(times), np.bool_)
    table = np.zeros((len(times), len(MEASURES)), np.float32)
    stretches = _stretches(path, duration_seconds)
    view = find_view(np.concatenate([_thinned(frames) for _, frames in stretches]))
    measurer: Measurer | None = None
    next_row = 0
    with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS) as reader:
        for start in range(0, len(times), _CHUNK_FRAMES):
            chunk = slice(start, min(start + _CHUNK_FRAMES, len(times)))
            for rows, frames in _readable(reader, times, chunk):
                measurer = measurer or _measurer(view, frames.pixels.shape[1:3])
                for _ in range(next_row, rows.start):
                    measurer.skip()
                next_row = rows.stop
                inside = _inside(frames.pixels, view.box)
                luma[rows], chroma[rows] = thumbnails(inside)
                table[rows] = measurer(inside, frames.times_seconds)
                is_readable[rows] = True
    if not is_readable.any():
        raise VideoError("no_frames")
    return Survey(
        times.astype(np.float32), luma, chroma, is_readable, view.box, view.inscribed, view.circle, Measures(table),
        stills_of(stretches, view.mask), _dense_luma(path, duration_seconds, view.box) if is_readable.all() else luma[:0],
    )  # fmt: skip


def _dense_luma(path: Path, duration_seconds: float, box: ContentBox) -> npt.NDArray[np.uint8]:
    if duration_seconds >= BRIEF_SECONDS:
        return np.zeros((0, LUMA_SIDE, LUMA_SIDE), np.uint8)
    times = np.arange(max(1, int(duration_seconds * DENSE_PER_SECOND)), dtype=np.float64) / DENSE_PER_SECOND
    with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS) as reader:
        return thumbnails(_inside(reader.read(times).pixels, box))[0]


def _stretches(path: Path, duration_seconds: float) -> list[tuple[float, npt.NDArray[np.uint8]]]:
    """Start and frames of each stretch; frames that cannot be read are left out, and so is a stretch that has none."""
    is_long = duration_seconds >= _LONG_SECONDS
    count, per_stretch = (_LONG_STRETCHES, _STRETCH_FRAMES) if is_long else (1, _SPREAD_FRAMES)
    moments = (np.arange(count * per_stretch) + 0.5) / (count * per_stretch) * duration_seconds
    found = []
    with open_video(path, short_side_pixels=_STILL_SIDE) as reader:
        for number, stretch in enumerate(moments.reshape(count, per_stretch)):
            frames = []
            for moment in stretch:
                try:
                    frames.append(reader.read([moment]).pixels[0])
                except VideoError:
                    continue
            if frames:
                found.append((duration_seconds * number / count, np.stack(frames)))
    if not found:
        raise VideoError("no_frames")
    return found


def _thinned(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Every n-th pixel, so that the short side has at least `SHORT_SIDE_PIXELS` where it had."""
    step = max(1, min(frames.shape[1:3]) // SHORT_SIDE_PIXELS)
    return frames[:, ::step, ::step]


def _measurer(view: View, size: tuple[int, ...]) -> Measurer:
    """For frames of (height, width): the view's mask, cut to its box, at their resolution."""
    height, width = size
    mask = resized(view.mask, height, width)
    return Measurer(mask[view.box.pixels(height, width)], SAMPLES_PER_SECOND)


def _readable(reader: VideoReader, times: npt.NDArray[np.float64], chunk: slice) -> list[tuple[slice, Frames]]:
    """The frames of a chunk: at once, or, where something is damaged, one by one and without the damaged."""
    try:
        return [(chunk, reader.read(times[chunk]))]
    except VideoError:
        pass
    found = []
    for row in range(chunk.start, chunk.stop):
        try:
            found.append((slice(row, row + 1), reader.read(times[row : row + 1])))
        except VideoError:
            continue
    return found


def _inside(frames: npt.NDArray[np.uint8], box: ContentBox) -> npt.NDArray[np.uint8]:
    rows, columns = box.pixels(*frames.shape[1:3])
    return frames[:, rows, columns]


def thumbnails(frames: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Luma (T, 32, 32) and chroma (T, 2, 8, 8) of RGB frames (T, H, W, 3), by area averaging."""
    height, width = frames.shape[1:3]
    down, across = area_weights(height, LUMA_SIDE), area_weights(width, LUMA_SIDE)
    small = np.einsum("yh,thwc,xw->tyxc", down, frames.astype(np.float32), across, optimize=True)
    ycbcr = small @ _TO_YCBCR.T
    cells = LUMA_SIDE // CHROMA_SIDE
    colour = ycbcr[..., 1:].reshape(len(frames), CHROMA_SIDE, cells, CHROMA_SIDE, cells, 2).mean(axis=(2, 4)) + 128
    as_bytes = np.clip(np.rint(ycbcr[..., 0]), 0, 255).astype(np.uint8)
    return as_bytes, np.clip(np.rint(colour.transpose(0, 3, 1, 2)), 0, 255).astype(np.uint8)


def area_weights(source: int, target: int, start: float = 0.0, size: float = 1.0) -> npt.NDArray[np.float32]:
    """(target, source): how much each of `source` pixels counts in each of `target` means over the part from share `start` on, `size`
    long; also for enlarging. Rows of a part that lies outside are 0."""
    edges = (start + size * np.linspace(0, 1, target + 1)) * source
    low, high = edges[:-1, None], edges[1:, None]
    cell = np.arange(source)[None]
    overlap = np.clip(np.minimum(high, cell + 1) - np.maximum(low, cell), 0, None)
    return np.asarray(overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1e-9), np.float32)


def write_survey(survey: Survey, path: Path) -> None:
    """Write as compressed NumPy archive, whole or not at all."""
    arrays: dict[str, npt.ArrayLike] = {name: getattr(survey, name) for name in _ARRAYS}
    arrays |= {name: np.array(list(asdict(getattr(survey, name)).values()), np.float64) for name in _BOXES}
    arrays |= {f"stills_{entry.name}": getattr(survey.stills, entry.name) for entry in fields(Stills)}
    circle = np.array([] if survey.circle is None else list(asdict(survey.circle).values()), np.float64)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, version=VERSION, circle=circle, measures=survey.measures.table, **arrays)  # type: ignore[arg-type]


def read_survey(path: Path) -> Survey:
    """Read what `write_survey` wrote. Raises `UserError` for a damaged file or one of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["version"]) != VERSION:
                raise UserError(f"the survey {path} is of another version; delete it and run the command again")
            boxes = {name: ContentBox(*file[name].tolist()) for name in _BOXES}
            return Survey(
                **{name: file[name] for name in _ARRAYS},
                box=boxes["box"],
                inscribed=boxes["inscribed"],
                circle=Circle(*file["circle"].tolist()) if file["circle"].size else None,
                measures=Measures(file["measures"]),
                stills=Stills(**{entry.name: file[f"stills_{entry.name}"] for entry in fields(Stills)}),
            )
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"the survey {path} cannot be read; delete it and run the command again") from None
