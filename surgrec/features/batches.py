"""Batches of clips of a unit of videos, decoded in threads beside the encoder.

In: a unit, its videos, how much of each is done. Out: batches, each with the windows that it holds. It is its own file because here
videos meet: a batch may hold the end of one and the beginning of the next, and one that cannot be opened must not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.features.clips import ClipReader
from surgrec.features.cores import use_one_core
from surgrec.features.extractor import stacked
from surgrec.features.units import Slot, Unit, batches_of
from surgrec.features.videos import Video
from surgrec.features.windows import WindowPlan
from surgrec.video.errors import VideoError


@dataclass(frozen=True)
class Batch:
    """`videos` (n,): numbers in the list, and `windows` (n,) of each row; `clips` (B, C, T, S, S) of the rows that are `is_valid` (n,)."""

    videos: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    is_valid: npt.NDArray[np.bool_]
    clips: Tensor | None
    is_ready: torch.cuda.Event | None = None  # when `clips` are on their device

    def on_device(self) -> Tensor | None:
        """The clips, once whoever made them on another stream is done."""
        if self.is_ready is not None and self.clips is not None:
            stream = torch.cuda.current_stream(self.clips.device)
            stream.wait_event(self.is_ready)
            self.clips.record_stream(stream)
        return self.clips


@dataclass(frozen=True)
class Unreadable:
    """A video, by its number in the list, that cannot be opened; its windows come as not valid."""

    video: int
    error: VideoError


def read_unit(
    unit: Unit, videos: Sequence[Video], num_done: Sequence[int], reader: ClipReader, plan: WindowPlan, batch_size: int
) -> Iterator[Batch | Unreadable]:
    """The batches of a unit that are not done yet; `videos` is the whole list, `num_done` of the unit's. For a thread of its own."""
    needed = list(batches_of(unit, num_done, batch_size))
    clips = [_Clips(unit, place, needed, videos, reader, plan) for place in range(len(unit.items))]
    with _side_stream(reader.preprocess.device) as stream:
        for slots in needed:
            rows: list[Tensor | None] = []
            for place, _ in slots:
                rows.append(clips[place].next())
                if (error := clips[place].take_error()) is not None:
                    yield Unreadable(unit.items[place].video, error)
            is_valid, good = stacked(rows)
            yield Batch(
                np.array([unit.items[place].video for place, _ in slots]),
                np.array([window for _, window in slots]),
                is_valid,
                good,
                stream.record_event() if stream is not None else None,
            )


class _Clips:
    """The clips of one video of a unit, opened when the first is asked for; None after None where it cannot be."""

    def __init__(
        self,
        unit: Unit,
        place: int,
        needed: Sequence[Sequence[Slot]],
        videos: Sequence[Video],
        reader: ClipReader,
        plan: WindowPlan,
    ) -> None:
        video = videos[unit.items[place].video]
        wanted = [window for slots in needed for of, window in slots if of == place]
        self._error: VideoError | None = None
        self._clips: Iterator[Tensor | None] = iter(())
        if wanted:
            self._clips = _of(video, reader, plan, wanted)  # opens nothing yet

    def next(self) -> Tensor | None:
        try:
            return next(self._clips, None)
        except VideoError as error:
            self._error, self._clips = error, iter(())
            return None

    def take_error(self) -> VideoError | None:
        """What went wrong, once."""
        error, self._error = self._error, None
        return error


def _of(video: Video, reader: ClipReader, plan: WindowPlan, wanted: Sequence[int]) -> Iterator[Tensor | None]:
    video.refuse_other()
    yield from reader.clips(video.path, plan.over(video.duration_seconds), wanted)


@contextmanager
def _side_stream(device: str) -> Iterator[torch.cuda.Stream | None]:
    """A CUDA stream of this thread's own, so that frames are prepared while the encoder computes; on other devices None, and one core."""
    chosen = torch.device(device)
    if chosen.type != "cuda":
        use_one_core()  # the encoder has the others
        yield None
        return
    stream = torch.cuda.Stream(chosen)
    with torch.cuda.stream(stream):
        yield stream
