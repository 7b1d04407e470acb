"""Features at the moments of a whole operation, for dense tasks.

In: a model, a video, moments in seconds. Out: one feature a moment. It is its own file because of what a moment may see: the clip that ends
at it, in the model's own geometry, so that features hold nothing of the future and one extraction serves online and offline heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core.console import progress
from surgrec.evaluation.clips import pictures_in, read_pictures
from surgrec.features.baseline import FrozenModel
from surgrec.features.clips import ClipReader
from surgrec.features.extractor import Precision
from surgrec.features.frames import Frame, FrameStream
from surgrec.features.layers import autocast
from surgrec.features.windows import Floats, Windows
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.video.errors import VideoError


def windows_before(times_seconds: npt.ArrayLike, num_frames: int, interval_seconds: float) -> Windows:
    """Windows whose last frame is that of each of the ascending `times_seconds` (n,); before the video begins, its first frame stands."""
    times = np.asarray(times_seconds, dtype=np.float64)
    if times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any() or times[0] < 0:
        raise ValueError("moments must be ascending seconds from 0 on, at least one")
    frames = times[:, None] - np.arange(num_frames)[::-1] * interval_seconds
    # to the microsecond, so that the times which windows share are equal and are decoded once
    frames = np.round(frames.clip(min=0.0), 6)
    return Windows(frames[:, 0], frames[:, -1], frames, times < (num_frames - 1) * interval_seconds)


def encode_moments(
    model: FrozenModel,
    video: Path,
    times_seconds: npt.ArrayLike,
    *,
    frames_fps: float | None = None,
    batch_size: int = 8,
    precision: Precision = "float32",
    decoder: str = "pyav",
) -> tuple[Tensor, npt.NDArray[np.bool_]]:
    """Mean tokens (n, D), float32, on the CPU, of the clip that ends at each of the ascending `times_seconds` (n,); and which are valid.

    `video`: a file, or a folder of pictures of which `frames_fps` are shown a second. A moment with a frame that cannot be read is not
    valid, and its features are NaN. Raises `VideoError` where nothing can be read.
    """
    clip = model.preprocess
    windows = windows_before(times_seconds, clip.num_frames, clip.frame_interval_seconds)
    reader = ClipReader(clip, decoder) if frames_fps is None else _PictureReader(clip, frames_fps)
    features = torch.full((len(windows), int(model.encoder.width)), torch.nan)  # type: ignore[arg-type]
    held: list[tuple[int, Tensor]] = []
    with progress(f"encoding ({model.name})", len(windows)) as advance:
        for row, prepared in enumerate(reader.clips(video, windows, range(len(windows)))):
            if prepared is not None:
                held.append((row, prepared))
            if held and (len(held) == batch_size or row == len(windows) - 1):
                features[[place for place, _ in held]] = _pooled(model, [each for _, each in held], precision)
                held = []
            advance()
    return features, torch.isfinite(features).all(1).numpy()


@torch.no_grad()
def _pooled(model: FrozenModel, clips: list[Tensor], precision: Precision) -> Tensor:
    with autocast(precision, model.preprocess.device):
        tokens: Tensor = model.encoder(torch.stack(clips))
    return tokens.float().mean(1).cpu()


class _PictureReader(ClipReader):
    """Clips of a folder of pictures."""

    def __init__(self, preprocess: ClipPreprocess, fps: float) -> None:
        super().__init__(preprocess)
        self._fps = fps

    def stream(self, path: Path) -> FrameStream:
        return _PictureStream(path, self._fps)


class _PictureStream(FrameStream):
    """Frames that are files of their own; one that is damaged is missing by itself."""

    def __init__(self, folder: Path, fps: float) -> None:
        self._pictures, self._fps = pictures_in(folder), fps

    def blocks(self, times_seconds: Floats) -> Iterator[list[Frame | None]]:
        for time in times_seconds:
            frame: Frame | None = None
            with suppress(VideoError):
                (frame,) = read_pictures(self._pictures, np.array([time]), self._fps)
            yield [frame]

    def close(self) -> None:
        """Nothing is open."""
