"""Windows over a video: which moments make the clips that the encoder sees, and what comes back for them.

In: a duration. Out: starts, ends and frame times of the windows; later their features. It is its own file because the extractor
fills these arrays and the store keeps them, and the store must be readable without torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Windows:
    """n windows: `start_seconds` and `end_seconds` (n,) in the video; `times_seconds` (n, T) of their frames, ascending;
    `is_padded` (n,): the video ends within the window, whose last frames repeat the video's last."""

    start_seconds: Floats
    end_seconds: Floats
    times_seconds: Floats
    is_padded: Flags

    def __len__(self) -> int:
        return len(self.start_seconds)


@dataclass(frozen=True)
class WindowFeatures:
    """Features (n, ...) of consecutive windows, float32, NaN where not `is_valid` (n,): a frame of it could not be read."""

    start_seconds: Floats
    end_seconds: Floats
    is_valid: Flags
    is_padded: Flags
    features: npt.NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.start_seconds)


@dataclass(frozen=True)
class WindowPlan:
    """A window of `num_frames` frames, `frame_interval_seconds` apart, every `stride_seconds`."""

    num_frames: int
    frame_interval_seconds: float
    stride_seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.stride_seconds < np.inf:
            raise UserError(
                f"a stride of {self.stride_seconds} seconds makes no windows; give --stride-seconds above 0, and finite"
            )

    @property
    def window_seconds(self) -> float:
        """Each frame stands for one interval."""
        return self.num_frames * self.frame_interval_seconds

    def is_short(self, duration_seconds: float) -> bool:
        """Whether a video ends before the last frame of its first window."""
        return duration_seconds <= (self.num_frames - 1) * self.frame_interval_seconds + 1e-6

    def count(self, duration_seconds: float) -> int:
        """Number of windows over a video: one at least, and as many more as it takes to cover all of it.

        Less than one frame interval may stay uncovered at the end: it holds no frame that would be looked at.
        """
        uncovered = duration_seconds - self.window_seconds - self.frame_interval_seconds + 1e-6
        to_cover = int(np.floor(uncovered / self.stride_seconds)) + 2 if uncovered >= 0 else 1
        # a long stride must not start past the end
        inside = int(np.ceil((duration_seconds - 1e-6) / self.stride_seconds))
        return max(1, min(to_cover, inside))

    def over(self, duration_seconds: float) -> Windows:
        """The windows over a video."""
        start = np.arange(self.count(duration_seconds), dtype=np.float64) * self.stride_seconds
        times = start[:, None] + np.arange(self.num_frames) * self.frame_interval_seconds
        duration = max(duration_seconds, 0.0)
        return Windows(
            start_seconds=_rounded(start),
            end_seconds=_rounded((start + self.window_seconds).clip(max=duration)),
            times_seconds=_rounded(times.clip(max=duration)),
            is_padded=times[:, -1] >= duration - 1e-6,
        )


def _rounded(seconds: Floats) -> Floats:
    """To the microsecond, which readers tolerate, so that the times which windows share are equal."""
    rounded: Floats = np.round(seconds, 6)
    return rounded
