"""A survey of a video: small pictures and measures, four a second, from one pass of decoding.

In: a path and a duration. Out: a `Survey`, and its file. It is its own file because decoding is what costs: filters, fingerprints and
reports are all computed from surveys, so that a changed threshold needs no second look at the footage.

A survey holds small pictures of patients: it belongs where the videos are.
"""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.core.atomic import atomic_path
from surgrec.core.errors import UserError
from surgrec.corpus.content_box import ContentBox, find_content_box
from surgrec.video.decode import VideoReader, open_video
from surgrec.video.errors import VideoError

VERSION = 1
SAMPLES_PER_SECOND = 4
SHORT_SIDE_PIXELS = 128  # what frames are shrunk to before anything is measured
LUMA_SIDE, CHROMA_SIDE = 32, 8
BRIEF_SECONDS = 8.0  # a video that is shorter is also kept densely: its few moments must be told from all others
DENSE_PER_SECOND = 16

_SPREAD_FRAMES = 24  # from all over the video, to find the content box
_CHUNK_FRAMES = 64
_TO_YCBCR = np.array(  # ITU-T T.871 (JFIF), full range
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


@dataclass(frozen=True)
class Survey:
    """What was seen of a video at `times_seconds`, (n,), `SAMPLES_PER_SECOND` a second.

    `luma` (n, 32, 32) and `chroma` (n, 2, 8, 8), uint8: the content box, stretched to a square. `is_readable` (n,): False where
    decoding failed; pictures are 0 there. `dense_luma` (m, 32, 32): `DENSE_PER_SECOND` a second, of a brief video only, else m = 0.
    """

    times_seconds: npt.NDArray[np.float32]
    luma: npt.NDArray[np.uint8]
    chroma: npt.NDArray[np.uint8]
    is_readable: npt.NDArray[np.bool_]
    box: ContentBox
    dense_luma: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.times_seconds)


def survey_video(path: Path, duration_seconds: float) -> Survey:
    """Decode the whole of a video. Raises `VideoError` where not one frame can be read."""
    times = np.arange(max(1, int(duration_seconds * SAMPLES_PER_SECOND)), dtype=np.float64) / SAMPLES_PER_SECOND
    luma = np.zeros((len(times), LUMA_SIDE, LUMA_SIDE), np.uint8)
    chroma = np.zeros((len(times), 2, CHROMA_SIDE, CHROMA_SIDE), np.uint8)
    is_readable = np.zeros(len(times), np.bool_)
    box = _content_box(path, duration_seconds)
    with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS) as reader:
        for start in range(0, len(times), _CHUNK_FRAMES):
            chunk = slice(start, min(start + _CHUNK_FRAMES, len(times)))
            for rows, frames in _readable(reader, times, chunk):
                luma[rows], chroma[rows] = thumbnails(_inside(frames, box))
                is_readable[rows] = True
    if not is_readable.any():
        raise VideoError("no_frames")
    dense = _dense_luma(path, duration_seconds, box) if is_readable.all() else np.zeros((0, *luma.shape[1:]), np.uint8)
    return Survey(times.astype(np.float32), luma, chroma, is_readable, box, dense)


def _dense_luma(path: Path, duration_seconds: float, box: ContentBox) -> npt.NDArray[np.uint8]:
    if duration_seconds >= BRIEF_SECONDS:
        return np.zeros((0, LUMA_SIDE, LUMA_SIDE), np.uint8)
    times = np.arange(max(1, int(duration_seconds * DENSE_PER_SECOND)), dtype=np.float64) / DENSE_PER_SECOND
    with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS) as reader:
        return thumbnails(_inside(reader.read(times).pixels, box))[0]


def _content_box(path: Path, duration_seconds: float) -> ContentBox:
    """From frames all over the video; those that cannot be read are left out."""
    moments = (np.arange(_SPREAD_FRAMES) + 0.5) / _SPREAD_FRAMES * duration_seconds
    frames = []
    with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS) as reader:
        for moment in moments:
            try:
                frames.append(reader.read([moment]).pixels[0])
            except VideoError:
                continue
    if not frames:
        raise VideoError("no_frames")
    return find_content_box(np.stack(frames))


def _readable(
    reader: VideoReader, times: npt.NDArray[np.float64], chunk: slice
) -> list[tuple[slice, npt.NDArray[np.uint8]]]:
    """The frames of a chunk: at once, or, where something is damaged, one by one and without the damaged."""
    try:
        return [(chunk, reader.read(times[chunk]).pixels)]
    except VideoError:
        pass
    found = []
    for row in range(chunk.start, chunk.stop):
        try:
            found.append((slice(row, row + 1), reader.read(times[row : row + 1]).pixels))
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


def area_weights(source: int, target: int) -> npt.NDArray[np.float32]:
    """(target, source): how much each source pixel counts in each target pixel's mean; also for enlarging."""
    edges = np.linspace(0, source, target + 1)
    low, high = edges[:-1, None], edges[1:, None]
    cell = np.arange(source)[None]
    overlap = np.clip(np.minimum(high, cell + 1) - np.maximum(low, cell), 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def write_survey(survey: Survey, path: Path) -> None:
    """Write as compressed NumPy archive, whole or not at all."""
    box = np.array(list(asdict(survey.box).values()), np.float64)
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, version=VERSION, times_seconds=survey.times_seconds, luma=survey.luma, chroma=survey.chroma,
            is_readable=survey.is_readable, box=box,
        )  # fmt: skip


def read_survey(path: Path) -> Survey:
    """Read what `write_survey` wrote. Raises `UserError` for a damaged file or one of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["version"]) != VERSION:
                raise UserError(f"the survey {path} is of another version; delete it and run the command again")
            return Survey(
                file["times_seconds"], file["luma"], file["chroma"], file["is_readable"],
                ContentBox(*file["box"].tolist()), file["dense_luma"],
            )  # fmt: skip
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        raise UserError(f"the survey {path} cannot be read; delete it and run the command again") from None
