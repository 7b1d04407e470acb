"""From a position of the run to the frames of a clip.

In: a manifest, a sampler, a clip's geometry in seconds. Out: `Clip`s of uint8 pixels. It is its own file because it holds the
failure policy: a video that cannot be read is replaced by another of its own source, since anything else would silently change
the mixture, and every replacement is reported with the clip.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.manifest import Manifest
from surgrec.data.errors import DataError
from surgrec.data.mixture import Floats
from surgrec.data.sampler import Sampler
from surgrec.video.decode import Frames, Region
from surgrec.video.errors import VideoError, error_or
from surgrec.video.open_readers import OpenReaders

_NAMED = 5  # videos, in a sentence


@dataclass(frozen=True)
class ClipSpec:
    """Geometry of a clip: `num_frames` frames, `frame_interval_seconds` apart; decoded frames are shrunk to `short_side_pixels`."""

    num_frames: int
    frame_interval_seconds: float
    short_side_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.num_frames < 1 or not self.frame_interval_seconds > 0:
            raise UserError(
                f"a clip of {self.num_frames} frames every {self.frame_interval_seconds} seconds is empty; "
                "give at least 1 frame and an interval above 0"
            )

    @property
    def span_seconds(self) -> float:
        """From the first to the last frame."""
        return (self.num_frames - 1) * self.frame_interval_seconds

    @property
    def offsets_seconds(self) -> Floats:
        """(T,) times of the frames after the clip's start."""
        return np.arange(self.num_frames, dtype=np.float64) * self.frame_interval_seconds


@dataclass(frozen=True)
class Failure:
    """A video that could not be read at a position, why (`reason` and `detail` of `VideoError`), and the video used instead."""

    position: int
    source: str
    video_id: str
    reason: str
    replaced_by: str | None = None
    detail: str = ""


class Place(NamedTuple):
    """Where a rectangle lies: `top` and `left` in frames of `frame_height` by `frame_width` pixels."""

    frame_height: int
    frame_width: int
    top: int
    left: int


@dataclass(frozen=True)
class Clip:
    """Frames of one video.

    `pixels` uint8 (T, H, W, 3) RGB, `position` in the run's sequence of clips, manifest `row` and index of the source they come from,
    `start_seconds` in the video, and the videos that failed before this one was read. `pixels` are the rectangle at `top`, `left` of
    frames of `frame_height` by `frame_width`; where these are 0, they are the whole frames. `slowest_row`: of the videos that were tried
    for this position, that which took longest, `slowest_seconds`.
    """

    pixels: torch.Tensor
    position: int
    row: int
    source_index: int
    start_seconds: float
    failures: tuple[Failure, ...] = ()
    frame_height: int = 0
    frame_width: int = 0
    top: int = 0
    left: int = 0
    slowest_row: int = -1
    slowest_seconds: float = 0.0

    @property
    def place(self) -> Place:
        """Where the pixels lie in the frames."""
        height, width = self.pixels.shape[1:3]
        return Place(self.frame_height or height, self.frame_width or width, self.top, self.left)


def _untold(row: int) -> None:
    """Where nobody asks which row is read."""


class Regions(Protocol):
    """Which part of a clip's frames its samples use. Travels to the loading processes."""

    def bounding(self, position: int, height: int, width: int) -> Region:
        """The rectangle that holds all crops of the clip at `position`, in frames of `height` by `width`."""
        ...


class ClipReader:
    """Reads the clip at any position. What it keeps open changes no clip, so every process reads the same.

    Args:
        manifest: the one the sampler's mixture was made from.
        sampler: says which video and when; its `clip_seconds` must be the spec's `span_seconds`.
        spec: geometry.
        decoder: backend of `surgrec.video.decode.open_video`.
        max_attempts: so many videos of a source may fail at one position before the run stops.
        regions: says which part of the frames is wanted; None: all. Bitwise the same pixels as without.
        open_readers_bytes: how much memory the videos that stay open may take, in each process; 0: none does.
    """

    def __init__(
        self,
        manifest: Manifest,
        sampler: Sampler,
        spec: ClipSpec,
        decoder: str = "pyav",
        max_attempts: int = 200,
        regions: Regions | None = None,
        open_readers_bytes: int = 0,
    ) -> None:
        self.manifest = manifest
        self.sampler = sampler
        self.spec = spec
        self.decoder = decoder
        self.max_attempts = max_attempts
        self.regions = regions
        self.open_readers_bytes = open_readers_bytes
        self._readers: OpenReaders | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open: that belongs to one process."""
        return {**vars(self), "_readers": None}

    def close(self) -> None:
        """Close the videos that are open; reading opens them anew."""
        if self._readers is not None:
            self._readers.close()
            self._readers = None

    def read(self, position: int, begin: Callable[[int], object] = _untold) -> Clip:
        """The clip at `position`.

        `begin` is told each manifest row before its file is touched; a `VideoError` that it raises counts as the file's own.

        Raises:
            DataError: `max_attempts` videos of the source, or all it has, cannot be read.
        """
        failed: dict[int, VideoError] = {}  # by manifest row
        slowest = (0.0, -1)
        while True:
            draw = self.sampler.draw(np.array([position]), attempt=len(failed), excluded_rows=failed)
            row, source, start = int(draw.rows[0]), int(draw.source_index[0]), float(draw.start_seconds[0])
            began = time.perf_counter()
            frames = error_or(partial(self._frames, row, position, start, begin))
            slowest = max(slowest, (time.perf_counter() - began, row))
            if not isinstance(frames, VideoError):
                failures = self._failures(position, source, failed, row)
                where, (seconds, slow_row) = _place(frames), slowest
                pixels = torch.from_numpy(frames.pixels)
                return Clip(pixels, position, row, source, start, failures, *where, slow_row, seconds)
            failed[row] = frames
            self._check_hope(position, source, failed)

    def name_of(self, row: int) -> str:
        """What people may be told of the video of a manifest row: its id."""
        return self.manifest.id_of(row)

    def _frames(self, row: int, position: int, start_seconds: float, begin: Callable[[int], object]) -> Frames:
        """Of the clip of the video of `row` that starts at `start_seconds`."""
        begin(row)
        path = self.manifest.path_of(row)
        _refuse_other(path, self.manifest.table["size_bytes"][row].as_py())
        if self._readers is None:
            self._readers = OpenReaders(self.open_readers_bytes, self.decoder, self.spec.short_side_pixels)
        region_of = None if self.regions is None else partial(self.regions.bounding, position)
        return self._readers.read(path, start_seconds + self.spec.offsets_seconds, region_of)

    def _failures(self, position: int, source: int, failed: dict[int, VideoError], row: int) -> tuple[Failure, ...]:
        """The record of the videos that failed before `row` was read."""
        name = self.sampler.mixture.table.sources[source]
        id_of = self.manifest.id_of
        return tuple(
            Failure(position, name, id_of(bad), error.reason, id_of(row), error.detail) for bad, error in failed.items()
        )

    def _check_hope(self, position: int, source: int, failed: dict[int, VideoError]) -> None:
        """Raise `DataError` where no video is left to try in the source."""
        table = self.sampler.mixture.table
        num_videos = int(table.num_videos[source])
        if len(failed) < min(self.max_attempts, num_videos):
            return
        tried = ", ".join(f"{self.manifest.id_of(row)} ({error})" for row, error in list(failed.items())[:_NAMED])
        are_away = all(error.reason == "missing" for error in failed.values())
        raise DataError(
            f"source {table.sources[source]!r}: none of {counted(len(failed), 'video')} tried at position {position} can be read, "
            f"of {num_videos} in all: {tried}{' and others' if len(failed) > _NAMED else ''}; "
            f"{'check that its folder is mounted, then' if are_away else 'mend them, or'} index it again"
        )


def _refuse_other(path: Path, size_bytes: int | None) -> None:
    """Raise `VideoError` where there is no file, or one of another size than was indexed: past its end, there would be stills."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise VideoError("missing", "the file is not where the manifest says") from None
    if not S_ISREG(status.st_mode):
        raise VideoError("missing", "what is where the manifest says is no file")
    if size_bytes not in (None, status.st_size):
        raise VideoError("changed")


def _place(frames: Frames) -> tuple[int, int, int, int]:
    """Height and width of the whole frames, top and left of what was read of them; zeros where that is all."""
    height, width = frames.frame_size or frames.pixels.shape[1:3]
    if frames.region is None or frames.region == (0, 0, height, width):
        return 0, 0, 0, 0
    return height, width, frames.region.top, frames.region.left
