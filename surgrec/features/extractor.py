"""Frozen features of windows.

In: an encoder, its preprocessing, clips. Out: what is kept of the encoder's tokens. It is its own file because of one promise: the
features of a window are those of `encoder(preprocess(frames))` for its frames alone, whatever is shared, batched or broken around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from surgrec.core.errors import UserError
from surgrec.core.grid import TokenGrid
from surgrec.features.clips import ClipReader
from surgrec.features.cores import CoreByCore
from surgrec.features.layers import Layers, autocast, pooled
from surgrec.features.windows import WindowFeatures, WindowPlan, Windows
from surgrec.hub.preprocess import ClipPreprocess

Layout = Literal["pooled", "time", "all"]
Precision = Literal["float32", "bfloat16", "float16"]


class Extractor:
    """Runs a frozen encoder over windows.

    Args:
        encoder, preprocess: what `surgrec.load_model` returns, on one device.
        stride_seconds: from one window's start to the next; the window's length where not given, so that windows abut.
        layout: what is kept of the tokens: `pooled` their mean (D,), `time` the mean over each time step's cells (t, D),
            `all` every token (N, D).
        layers: names of layers to keep, see `surgrec.features.layers`, along a first axis of the features (L, ...); without
            names the encoder's output, without that axis.
        precision: what the encoder computes in; features are float32 in any case.
        batch_size: windows per forward pass; changes speed only.
        decoder, num_threads: how videos are read; see `surgrec.video.decode.open_video`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        preprocess: ClipPreprocess,
        *,
        stride_seconds: float | None = None,
        layout: Layout = "pooled",
        layers: Sequence[str] = (),
        precision: Precision = "float32",
        batch_size: int = 8,
        decoder: str = "pyav",
        num_threads: int = 1,
    ) -> None:
        if layout not in get_args(Layout):
            raise UserError(f"there is no token layout {layout!r}; choose one of {', '.join(get_args(Layout))}")
        if precision not in get_args(Precision):
            raise UserError(f"there is no precision {precision!r}; choose one of {', '.join(get_args(Precision))}")
        if batch_size < 1:
            raise UserError(f"a batch of {batch_size} windows is empty; give --batch-size of at least 1")
        self.encoder, self.preprocess, self.layout, self.batch_size = encoder, preprocess, layout, batch_size
        self.precision, self.layers = precision, Layers(encoder, layers)
        self.reader = ClipReader(preprocess, decoder, num_threads)
        interval = preprocess.frame_interval_seconds
        stride = preprocess.window_seconds if stride_seconds is None else stride_seconds
        self.plan = WindowPlan(preprocess.num_frames, interval, stride)
        self.num_steps, self.num_cells = clip_tokens_of(encoder, preprocess)
        self.feature_shape = self._feature_shape()
        self._core_by_core = CoreByCore(self._features)

    def _feature_shape(self) -> tuple[int, ...]:
        """Shape of one window's features; layers that are named are tried on a clip of zeros."""
        widths = [int(self.encoder.width)]  # type: ignore[arg-type]
        if self.layers.names:
            crop = self.preprocess.pixels.crop_pixels
            zeros = torch.zeros(1, 3, self.preprocess.num_frames, crop, crop, device=self.preprocess.device)
            with torch.inference_mode():
                widths = [tokens.shape[-1] for tokens in self.layers(zeros)]
        if len(set(widths)) > 1:
            raise UserError(
                f"the layers {', '.join(self.layers.names)} have features of {widths} numbers; extract those of one width at a time"
            )
        kept = {"pooled": (), "time": (self.num_steps,), "all": (self.num_steps * self.num_cells,)}[self.layout]
        return ((len(widths),) if self.layers.names else ()) + kept + (widths[0],)

    def features(self, clips: Tensor) -> Tensor:
        """Clips (B, C, T, S, S) to float32 (B, *feature_shape), on their device."""
        return self._core_by_core(clips)

    @torch.inference_mode()
    def _features(self, clips: Tensor) -> Tensor:
        with autocast(self.precision, str(clips.device)):
            outputs = self.layers(clips)
        kept = [pooled(tokens, self.layout, self.num_steps) for tokens in outputs]
        return torch.stack(kept, dim=1) if self.layers.names else kept[0]

    def extract(self, path: Path, duration_seconds: float) -> Iterator[WindowFeatures]:
        """Features of the windows over one video, `batch_size` at a time. Raises `VideoError` where it cannot be opened.

        A window with a frame that cannot be read is not valid, and its features are NaN; the others are not touched by it.
        """
        windows = self.plan.over(duration_seconds)
        clips: list[Tensor | None] = []
        for done, clip in enumerate(self.reader.clips(path, windows, range(len(windows))), start=1):
            clips.append(clip)
            if len(clips) == self.batch_size or done == len(windows):
                is_valid, good = stacked(clips)
                features = filled(
                    None if good is None else self.features(good).cpu().numpy(), is_valid, self.feature_shape
                )
                yield part_of_windows(windows, slice(done - len(clips), done), is_valid, features)
                clips = []


def clip_tokens_of(encoder: nn.Module, preprocess: ClipPreprocess) -> tuple[int, int]:
    """Time steps of a clip, and tokens of each."""
    own: tuple[int, int] | None = getattr(
        encoder, "clip_tokens", None
    )  # of a baseline, whose tokens need be no patches
    if own is not None:
        return own
    crop, sizes = preprocess.pixels.crop_pixels, (int(encoder.tubelet), int(encoder.patch))  # type: ignore[arg-type]
    grid = TokenGrid.of_clip(preprocess.num_frames, crop, crop, *sizes)
    return grid.t, grid.h * grid.w


def stacked(clips: Sequence[Tensor | None]) -> tuple[npt.NDArray[np.bool_], Tensor | None]:
    """Which of n clips are whole, and those as one (B, C, T, S, S); None where there are none."""
    good = [clip for clip in clips if clip is not None]
    return np.array([clip is not None for clip in clips]), torch.stack(good) if good else None


def filled(
    features: npt.NDArray[np.float32] | None, is_valid: npt.NDArray[np.bool_], shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Features of the valid windows at their places among all (n, *shape), NaN elsewhere."""
    every = np.full((len(is_valid), *shape), np.nan, dtype=np.float32)
    if features is not None:
        every[is_valid] = features
    return every


def part_of_windows(
    windows: Windows, span: slice, is_valid: npt.NDArray[np.bool_], features: npt.NDArray[np.float32]
) -> WindowFeatures:
    """What is kept of the windows `span`."""
    return WindowFeatures(
        windows.start_seconds[span], windows.end_seconds[span], is_valid, windows.is_padded[span], features
    )
