"""What stands still in the picture while the rest moves: the evidence for captions, logos, frames and inset pictures.

In: frames from all over a stretch of a video. Out: `Stills`: their mean picture and how strong edges are, whatever their sign. It is its
own file because this is kept in the survey at a finer resolution than anything else, so that what counts as text can be decided later.

The gradient of the mean picture is the mean of the gradients (Dekel et al. 2017, "On the effectiveness of visible watermarks", find marks
by their median). Where its square is nearly the mean square of the gradients, these hardly vary: the same edge was there all the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.regions import Mask, resized

_TO_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_LEVELS = 2  # an average gradient is kept in halves, up to 127.5


@dataclass(frozen=True)
class Stills:
    """S stretches of a video, in order; stretch s begins at `start_seconds[s]` and ends where the next begins.

    `mean` (S, H, W): mean luma. `across`, `down` (S, H, W): root mean square of the difference of luma to the left and to the
    upper neighbour, in halves of a level. All uint8. `num_frames` (S,): how many frames were looked at. `view` (H, W): where the video
    shows something, bars and black corners left out.
    """

    start_seconds: npt.NDArray[np.float32]
    mean: npt.NDArray[np.uint8]
    across: npt.NDArray[np.uint8]
    down: npt.NDArray[np.uint8]
    num_frames: npt.NDArray[np.int32]
    view: Mask

    def __len__(self) -> int:
        return len(self.mean)

    def spans(self, duration_seconds: float) -> list[tuple[float, float]]:
        """Start and end of every stretch of a video of this duration."""
        starts = self.start_seconds.tolist()
        return list(zip(starts, [*starts[1:], duration_seconds], strict=False))


_NO_MAPS = np.zeros((0, 1, 1), np.uint8)
NO_STILLS = Stills(
    np.zeros(0, np.float32), _NO_MAPS, _NO_MAPS, _NO_MAPS, np.zeros(0, np.int32), np.ones((1, 1), np.bool_)
)


def stills_of(stretches: list[tuple[float, npt.NDArray[np.uint8]]], view: Mask) -> Stills:
    """From (start in seconds, frames (T, H, W, 3)) of every stretch, all of one size, and where they show something, at any size."""
    starts, means, across, down = [], [], [], []
    for start, frames in stretches:
        luma = frames @ _TO_LUMA
        starts.append(start)
        means.append(np.rint(luma.mean(axis=0)))
        across.append(_strength(luma, 2))
        down.append(_strength(luma, 1))
    return Stills(
        start_seconds=np.array(starts, np.float32),
        mean=_bytes(means),
        across=_bytes(across),
        down=_bytes(down),
        num_frames=np.array([len(frames) for _, frames in stretches], np.int32),
        view=resized(view, *means[0].shape),
    )


def _bytes(maps: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.uint8]:
    return np.clip(np.stack(maps), 0, 255).astype(np.uint8)


def _strength(luma: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Root mean square of the differences along an axis, of the size of the picture: 0 in its first row or column."""
    steps = np.sqrt((np.diff(luma, axis=axis) ** 2).mean(axis=0))
    return np.rint(_LEVELS * np.pad(steps, [(1, 0), (0, 0)] if axis == 1 else [(0, 0), (1, 0)]))


def mean_gradients(stills: Stills, stretch: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Signed gradients of the mean picture, across and down, (H, W) each."""
    mean = stills.mean[stretch].astype(np.float32)
    return np.diff(mean, axis=1, prepend=mean[:, :1]), np.diff(mean, axis=0, prepend=mean[:1])


def mean_strengths(stills: Stills, stretch: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Root mean squares of the gradients, across and down, (H, W) each, in levels."""
    across, down = stills.across[stretch], stills.down[stretch]
    return across.astype(np.float32) / _LEVELS, down.astype(np.float32) / _LEVELS
