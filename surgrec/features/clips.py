"""Clips of one video: every frame decoded and prepared once, however windows overlap.

In: a video file, its windows, those of them that are wanted. Out: one clip after the other, ready for the encoder. It is its own file
because it is the half of an extraction that runs beside the encoder, in threads of its own, and holds no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from surgrec.features.frames import Frame, FrameStream
from surgrec.features.windows import Windows
from surgrec.hub.preprocess import ClipPreprocess


class ClipReader:
    """Reads clips with a model's preprocessing. `decoder`, `num_threads`: see `surgrec.video.decode.open_video`."""

    def __init__(self, preprocess: ClipPreprocess, decoder: str = "pyav", num_threads: int = 1) -> None:
        self.preprocess, self.decoder, self.num_threads = preprocess, decoder, num_threads

    def clips(self, path: Path, windows: Windows, wanted: Sequence[int]) -> Iterator[Tensor | None]:
        """Clips (C, T, S, S) of the `wanted` windows, ascending; None for one with a frame that cannot be read.

        Raises `VideoError` where the file cannot be opened. Frames are held only as long as a later window needs them.
        """
        times, frame_of = np.unique(windows.times_seconds[np.asarray(wanted)], return_inverse=True)
        frame_of = frame_of.reshape(len(wanted), -1)
        held: dict[int, Tensor | None] = {}  # prepared frames (C, S, S) that some window still needs
        done = num_read = 0
        with self.stream(path) as stream:
            for block in stream.blocks(times):
                held.update(enumerate(self._prepare(block), start=num_read))
                num_read += len(block)
                while done < len(wanted) and frame_of[done, -1] < num_read:
                    yield _clip([held[index] for index in frame_of[done]])
                    done += 1
                still_needed = frame_of[min(done, len(wanted) - 1), 0]
                held = {index: frame for index, frame in held.items() if index >= still_needed}

    def stream(self, path: Path) -> FrameStream:
        """Where the frames come from."""
        return FrameStream(path, self.decoder, self.num_threads)

    @torch.inference_mode()
    def _prepare(self, block: list[Frame | None]) -> list[Tensor | None]:
        """Frames (H, W, 3) to the encoder's input (C, S, S), those that could not be read passing through as None."""
        good = [frame for frame in block if frame is not None]
        if not good:
            return [None] * len(block)
        prepared = iter(rearrange(self.preprocess(np.stack(good)), "1 c t h w -> t c h w").unbind(0))
        return [None if frame is None else next(prepared) for frame in block]


def _clip(frames: list[Tensor | None]) -> Tensor | None:
    """Frames (C, S, S) to a clip (C, T, S, S); None where one is missing."""
    present = [frame for frame in frames if frame is not None]
    return torch.stack(present, dim=1) if len(present) == len(frames) else None
