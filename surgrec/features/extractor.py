"""Frozen features of whole videos, window by window.

In: an encoder, its preprocessing, a video file. Out: `WindowFeatures` in the order of time, a batch at a time. It is its own file
because of one promise: the features of a window are those of `encoder(preprocess(frames))` for its frames alone, whatever is
shared, batched or broken around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.core.grid import TokenGrid
from surgrec.features.frames import Frame, FrameStream
from surgrec.features.windows import WindowFeatures, WindowPlan, Windows
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

Layout = Literal["pooled", "time", "all"]


class Extractor:
    """Runs a frozen encoder over windows.

    Args:
        encoder, preprocess: what `surgrec.load_model` returns, on one device.
        stride_seconds: from one window's start to the next; the window's length where not given, so that windows abut.
        layout: what is kept of the tokens: `pooled` their mean (D,), `time` the mean over each time step's cells (t, D),
            `all` every token (N, D).
        batch_size: windows per forward pass; changes speed only.
        decoder, num_threads: how videos are read; see `surgrec.video.decode.open_video`.
    """

    def __init__(
        self,
        encoder: Encoder,
        preprocess: ClipPreprocess,
        *,
        stride_seconds: float | None = None,
        layout: Layout = "pooled",
        batch_size: int = 8,
        decoder: str = "pyav",
        num_threads: int = 1,
    ) -> None:
        if layout not in get_args(Layout):
            raise UserError(f"there is no token layout {layout!r}; choose one of {', '.join(get_args(Layout))}")
        if batch_size < 1:
            raise UserError(f"a batch of {batch_size} windows is empty; give --batch-size of at least 1")
        self.encoder, self.preprocess, self.layout, self.batch_size = encoder, preprocess, layout, batch_size
        self.decoder, self.num_threads = decoder, num_threads
        interval = preprocess.frame_interval_seconds
        stride = preprocess.window_seconds if stride_seconds is None else stride_seconds
        self.plan = WindowPlan(preprocess.num_frames, interval, stride)
        crop = preprocess.pixels.crop_pixels
        self.grid = TokenGrid.of_clip(preprocess.num_frames, crop, crop, encoder.tubelet, encoder.patch)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one window's features."""
        width = self.encoder.width
        shapes = {"pooled": (width,), "time": (self.grid.t, width), "all": (self.grid.num_tokens, width)}
        return shapes[self.layout]

    def extract(self, path: Path, duration_seconds: float) -> Iterator[WindowFeatures]:
        """Features of the windows over a video, `batch_size` at a time. Raises `VideoError` where it cannot be opened.

        Every frame is decoded and preprocessed once, also where windows overlap. A window with a frame that cannot be read
        is not valid, and its features are NaN; the others are not touched by it.
        """
        windows = self.plan.over(duration_seconds)
        times, frame_of = np.unique(windows.times_seconds, return_inverse=True)
        frame_of = frame_of.reshape(windows.times_seconds.shape)
        held: dict[int, Tensor | None] = {}  # preprocessed frames (C, S, S) that some window still needs
        clips: list[Tensor | None] = []  # (C, T, S, S) of the windows that wait for their batch
        done = num_read = 0
        with FrameStream(path, self.decoder, self.num_threads) as stream:
            for block in stream.blocks(times):
                held.update(enumerate(self._prepare(block), start=num_read))
                num_read += len(block)
                while done + len(clips) < len(windows) and frame_of[done + len(clips), -1] < num_read:
                    clips.append(_clip([held[index] for index in frame_of[done + len(clips)]]))
                    if len(clips) == self.batch_size or done + len(clips) == len(windows):
                        yield self._features(windows, done, clips)
                        done, clips = done + len(clips), []
                still_needed = frame_of[min(done + len(clips), len(windows) - 1), 0]
                held = {index: frame for index, frame in held.items() if index >= still_needed}

    @torch.inference_mode()
    def _prepare(self, block: list[Frame | None]) -> list[Tensor | None]:
        """Frames (H, W, 3) to the encoder's input (C, S, S), those that could not be read passing through as None."""
        good = [frame for frame in block if frame is not None]
        if not good:
            return [None] * len(block)
        prepared = iter(rearrange(self.preprocess(np.stack(good)), "1 c t h w -> t c h w").unbind(0))
        return [None if frame is None else next(prepared) for frame in block]

    @torch.inference_mode()
    def _features(self, windows: Windows, first: int, clips: list[Tensor | None]) -> WindowFeatures:
        """Features of the windows `first`, `first + 1`, ... whose clips these are."""
        span = slice(first, first + len(clips))
        is_valid = np.array([clip is not None for clip in clips])
        features = np.full((len(clips), *self.feature_shape), np.nan, dtype=np.float32)
        good = [clip for clip in clips if clip is not None]
        if good:
            features[is_valid] = self._reduce(self.encoder(torch.stack(good)))
        return WindowFeatures(
            windows.start_seconds[span], windows.end_seconds[span], is_valid, windows.is_padded[span], features
        )

    def _reduce(self, tokens: Tensor) -> npt.NDArray[np.float32]:
        """Tokens (B, N, D) to the layout that is kept."""
        tokens = tokens.float()
        match self.layout:
            case "pooled":
                kept = tokens.mean(1)
            case "time":
                kept = rearrange(tokens, "b (t s) d -> b t s d", t=self.grid.t).mean(2)
            case "all":
                kept = tokens
        array: npt.NDArray[np.float32] = kept.cpu().numpy()
        return array


def _clip(frames: list[Tensor | None]) -> Tensor | None:
    """Frames (C, S, S) to a clip (C, T, S, S); None where one is missing."""
    present = [frame for frame in frames if frame is not None]
    return torch.stack(present, dim=1) if len(present) == len(frames) else None
