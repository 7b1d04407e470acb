"""Clips of a task as frames: which moments of an interval an encoder sees, and where they are read.

In: the row of a clip, the number of frames that an encoder takes. Out: its frames. It is its own file because here is how clips of all
lengths meet encoders of all geometries: an encoder's own number of frames, spread evenly in time over the interval, each standing for an
equal part of it. A clip as long as the encoder's own window is so sampled as in training; a longer one is seen more coarsely, a shorter one
more finely, and a report must say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, assert_never

import numpy as np
import numpy.typing as npt
from PIL import Image

from surgrec.core.errors import UserError
from surgrec.core.rng import generator
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError
from surgrec.video.probe import probe

Pixels = npt.NDArray[np.uint8]
View = Literal["all frames", "middle frame", "shuffled frames"]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")

SAMPLING = "the encoder's own number of frames, evenly in time over the whole clip"


class ClipSource(Protocol):
    """Clips of a task, by row."""

    def read(self, row: int, num_frames: int) -> Pixels:
        """`num_frames` frames (T, H, W, 3), RGB, evenly in time over the row's interval. Raises `UserError` where it cannot be read."""
        ...


def clip_times(start_seconds: float, end_seconds: float, num_frames: int) -> npt.NDArray[np.float64]:
    """Ascending moments (T,), from the start on, each for one T-th of the interval: `start + i * (end - start) / T`."""
    if not 0 <= start_seconds < end_seconds:
        raise ValueError(f"a clip from {start_seconds} to {end_seconds} seconds is empty")
    step_seconds = (end_seconds - start_seconds) / num_frames
    return start_seconds + np.arange(num_frames, dtype=np.float64) * step_seconds


@dataclass(frozen=True)
class VideoClips:
    """Clips of videos: for every row a file, or a folder of pictures in order of which `frames_fps` are shown a second; and the interval,
    which an end of None extends to the end of the video. `decoder`: see `open_video`. `video_ids`: names that errors may tell.
    """

    videos: Sequence[Path]
    start_seconds: Sequence[float]
    end_seconds: Sequence[float | None]
    frames_fps: Sequence[float | None]
    decoder: str = "pyav"
    video_ids: Sequence[str] = ()

    def read(self, row: int, num_frames: int) -> Pixels:
        """See `ClipSource`; errors name the row, for a path may identify a patient."""
        video, fps = Path(self.videos[row]), self.frames_fps[row]
        try:
            return (
                self._read(row, video, num_frames) if fps is None else self._read_pictures(row, video, num_frames, fps)
            )
        except VideoError as error:
            of = f", of {self.video_ids[row]}," if self.video_ids else ""
            raise UserError(
                f"clip {row} of the task{of} cannot be read ({error}); mend the file or leave the clip out"
            ) from None

    def _times(self, row: int, num_frames: int, duration_seconds: Callable[[], float]) -> npt.NDArray[np.float64]:
        start, given = self.start_seconds[row], self.end_seconds[row]
        end = duration_seconds() if given is None else given
        if end <= start:
            raise VideoError("out_of_range", f"it ends at {end:.3f} s, the clip begins at {start:.3f} s")
        return clip_times(start, end, num_frames)

    def _read(self, row: int, video: Path, num_frames: int) -> Pixels:
        times = self._times(row, num_frames, lambda: probe(video).duration_seconds)
        with open_video(video, self.decoder) as reader:
            return reader.read(times).pixels

    def _read_pictures(self, row: int, folder: Path, num_frames: int, fps: float) -> Pixels:
        pictures = pictures_in(folder)
        times = self._times(row, num_frames, lambda: len(pictures) / fps)
        return np.stack(read_pictures(pictures, times, fps))


def read_pictures(pictures: Sequence[Path], times_seconds: npt.NDArray[np.float64], fps: float) -> list[Pixels]:
    """The picture (H, W, 3) on display at each time: each until the next, the last one for ever, as the last frame of a file.

    Raises `VideoError` for one that cannot be read, and for pictures of several sizes.
    """
    places = np.floor(times_seconds * fps + 1e-6).astype(np.int64).clip(max=len(pictures) - 1)
    try:
        found = [np.asarray(Image.open(pictures[place]).convert("RGB")) for place in places]
    except (OSError, ValueError) as error:
        raise VideoError("corrupt", f"a picture of it cannot be read ({type(error).__name__})") from None
    if len({picture.shape for picture in found}) > 1:
        raise VideoError("corrupt", "its pictures are of several sizes")
    return found


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by the numbers in their names: 9.png before 10.png. Raises `VideoError` where there are none."""
    if not folder.is_dir():
        raise VideoError("missing", "the folder of pictures is not where it should be")
    found = [path for path in folder.iterdir() if path.suffix.lower() in _PICTURES and not path.name.startswith(".")]
    if not found:
        raise VideoError("empty", "the folder has no pictures")
    return sorted(found, key=lambda path: ([int(digits) for digits in re.findall(r"\d+", path.stem)], path.name))


class Room:
    """Memory that clips of several sources share."""

    def __init__(self, num_bytes: int = 2**30) -> None:
        self.num_bytes = num_bytes


class KeptClips:
    """Clips that stay in memory once they were read, while there is `room`: fine-tuning reads every one of them in every epoch, and every
    encoder reads the same ones.
    """

    def __init__(self, clips: ClipSource, room: Room) -> None:
        self._clips, self._room = clips, room
        self._kept: dict[tuple[int, int], Pixels] = {}

    def read(self, row: int, num_frames: int) -> Pixels:
        """See `ClipSource`."""
        if (frames := self._kept.get((row, num_frames))) is None:
            frames = self._clips.read(row, num_frames)
            if frames.nbytes <= self._room.num_bytes:
                self._room.num_bytes -= frames.nbytes
                self._kept[row, num_frames] = frames
        return frames


@dataclass(frozen=True)
class ViewedClips:
    """Clips of which an encoder sees less: the middle frame in the place of all, or all in another order.

    What a probe on `shuffled frames` loses, the encoder had of time; on `middle frame`, of movement and of all other moments. Train,
    validation and test rows are seen alike. The order depends on the seed, the row and the number of frames, and is never the true one.
    """

    clips: ClipSource
    view: View
    seed: int = 0

    def read(self, row: int, num_frames: int) -> Pixels:
        """See `ClipSource`."""
        frames = self.clips.read(row, num_frames)
        match self.view:
            case "all frames":
                return frames
            case "middle frame":
                return np.repeat(frames[num_frames // 2][None], num_frames, axis=0)
            case "shuffled frames":
                return frames[shuffled(self.seed, row, num_frames)]
            case _:
                assert_never(self.view)


def shuffled(seed: int, row: int, num_frames: int) -> npt.NDArray[np.int64]:
    """An order (T,) of the frames of a row, other than the true one where there is another."""
    draws = generator(seed, "shuffled-frames", row, num_frames)
    order = np.arange(num_frames)
    while num_frames > 1 and (order == np.arange(num_frames)).all():
        order = draws.permutation(num_frames)
    return order
