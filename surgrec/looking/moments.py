"""Moments of a video, and what an encoder makes of each.

In: a release, a video file, how many moments are wanted. Out: a `Seen`: frames and tokens, in the order of time. It is its own file because
here it is decided what "the tokens of a frame" are: those of its own time step, in a window of the training clip's length around it.

Time is counted in the encoder's time steps, `tubelet` frames long. Moments are whole steps, evenly over the video, and a window is moved
inwards at both ends of it, as little as possible. So a moment's tokens have seen as much before it as after it wherever that exists, and
a position within the window that hardly changes: features of a step that is now first and now last in its window would flicker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

from surgrec.core.console import progress
from surgrec.core.errors import UserError
from surgrec.data.preprocess import resize_and_center_crop
from surgrec.features.frames import Frame, FrameStream
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

PICTURE_PIXELS = 288  # of the frames that are shown, square as the encoder's
NUM_CLIPS = 3  # kept whole, to hide parts of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MomentPlan:
    """n moments. `seconds` (n,): when each begins; `places` (n,): its time step within its window; `times_seconds` (n, T): the frames of
    the windows, ascending; `num_steps` of the whole video, `steps_in_window`."""

    seconds: Floats
    places: Ints
    times_seconds: Floats
    num_steps: int
    steps_in_window: int
    step_seconds: float

    def __len__(self) -> int:
        return len(self.seconds)


def plan_moments(duration_seconds: float, preprocess: ClipPreprocess, tubelet: int, num_moments: int) -> MomentPlan:
    """At most `num_moments` moments, evenly over a video; fewer where it has not so many time steps. A video shorter than a window repeats
    its last frame, as extraction does."""
    interval, steps_in_window = preprocess.frame_interval_seconds, preprocess.num_frames // tubelet
    step_seconds = tubelet * interval
    num_steps = max(1, int(np.ceil(duration_seconds / step_seconds - 1e-6)))
    count = min(num_moments, num_steps)
    steps = ((np.arange(count) + 0.5) * num_steps / count).astype(np.int64)
    first = (steps - steps_in_window // 2).clip(0, max(0, num_steps - steps_in_window))
    times = (first[:, None] * tubelet + np.arange(preprocess.num_frames)) * interval
    seconds = np.round(steps * step_seconds, 6)
    return MomentPlan(
        seconds,
        steps - first,
        np.round(times.clip(max=max(duration_seconds, 0.0)), 6),
        num_steps,
        steps_in_window,
        step_seconds,
    )


@dataclass(frozen=True)
class Seen:
    """n moments of a video that could be read.

    `seconds`, `places` (n,): as in the plan; `frames`: uint8 (n, P, P, 3), what the encoder was shown, in more pixels; `tokens`: float32
    (n, h, w, D) of the moment's time step; `pooled`: float32 (n, D), the mean over all tokens of the window; `starts`, `ends` (n,): the
    windows, in seconds; `clips`: some moments with the encoder's input (C, T, S, S); `num_missing` moments have a frame in their window
    that cannot be read.
    """

    seconds: Floats
    places: Ints
    frames: Pixels
    tokens: npt.NDArray[np.float32]
    pooled: npt.NDArray[np.float32]
    starts: Floats
    ends: Floats
    clips: dict[int, Tensor]
    num_missing: int
    plan: MomentPlan

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """The mean token of each moment (n, D)."""
        return self.tokens.mean((1, 2))

    def __len__(self) -> int:
        return len(self.seconds)


def look_at(
    encoder: Encoder,
    preprocess: ClipPreprocess,
    path: Path,
    plan: MomentPlan,
    batch_size: int = 8,
    num_threads: int = 1,
) -> Seen:
    """Decode and encode the moments of a video. Raises `VideoError` where it cannot be opened, `UserError` where no moment can be read."""
    gathered = _Gathered(encoder, preprocess, plan, batch_size)
    times, frame_of = np.unique(plan.times_seconds, return_inverse=True)
    frame_of = frame_of.reshape(plan.times_seconds.shape)
    frame_shown = frame_of[np.arange(len(plan)), plan.places * encoder.tubelet]
    pictured = set(frame_shown.tolist())
    held: dict[int, Tensor | None] = {}  # prepared frames that a window to come still needs
    pictures: dict[int, Pixels] = {}
    num_read = done = 0
    with FrameStream(path, num_threads=num_threads) as stream, progress("looking at moments", len(plan)) as advance:
        for block in stream.blocks(times):
            for number, frame in enumerate(block, start=num_read):
                held[number] = None if frame is None else _prepared(frame, preprocess)
                if frame is not None and number in pictured:
                    pictures[number] = shown(frame, preprocess)
            num_read += len(block)
            while done < len(plan) and frame_of[done, -1] < num_read:
                window = [held[number] for number in frame_of[done].tolist()]
                gathered.take(done, window, pictures.get(int(frame_shown[done])))
                done += 1
                advance()
            needed = frame_of[min(done, len(plan) - 1), 0]
            held = {number: frame for number, frame in held.items() if number >= needed}
    return gathered.finish()


def shown(frame: Frame, preprocess: ClipPreprocess) -> Pixels:
    """The part of a frame (H, W, 3) that the encoder gets, uint8 (P, P, 3)."""
    spec = preprocess.pixels
    short_side = max(PICTURE_PIXELS, round(PICTURE_PIXELS * spec.short_side_pixels / spec.crop_pixels))
    (cut,) = resize_and_center_crop(torch.from_numpy(np.ascontiguousarray(frame))[None], short_side, PICTURE_PIXELS)
    pixels: Pixels = rearrange(cut, "c h w -> h w c").round().to(torch.uint8).numpy()
    return pixels


@torch.inference_mode()
def _prepared(frame: Frame, preprocess: ClipPreprocess) -> Tensor:
    return rearrange(preprocess(frame[None]), "1 c 1 h w -> c h w")


class _Gathered:
    """Takes windows one by one and encodes them a batch at a time."""

    def __init__(self, encoder: Encoder, preprocess: ClipPreprocess, plan: MomentPlan, batch_size: int) -> None:
        self._encoder, self._preprocess, self._plan, self._batch_size = encoder, preprocess, plan, batch_size
        self._good: list[int] = []
        self._frames: list[Pixels] = []
        self._tokens: list[npt.NDArray[np.float32]] = []
        self._pooled: list[npt.NDArray[np.float32]] = []
        self._waiting: list[tuple[int, Tensor]] = []
        kept = np.linspace(0, len(plan) - 1, min(NUM_CLIPS, len(plan)) + 2).round().astype(int)[1:-1]
        self._kept, self._clips = set(kept.tolist()), dict[int, Tensor]()

    def take(self, moment: int, window: list[Tensor | None], picture: Pixels | None) -> None:
        """The next window (T times C, S, S) and the frame that is shown; passed over where a frame is missing."""
        present = [frame for frame in window if frame is not None]
        if len(present) < len(window) or picture is None:
            return
        clip = torch.stack(present, dim=1)
        if moment in self._kept:
            self._clips[len(self._good)] = clip
        self._good.append(moment)
        self._frames.append(picture)
        self._waiting.append((moment, clip))
        if len(self._waiting) == self._batch_size:
            self._encode()

    @torch.inference_mode()
    def _encode(self) -> None:
        if not self._waiting:
            return
        video = torch.stack([clip for _, clip in self._waiting])
        grid = self._encoder.grid_of(video)
        tokens = self._encoder(video).float()
        places = torch.from_numpy(self._plan.places[[moment for moment, _ in self._waiting]]).to(tokens.device)
        steps = rearrange(tokens, "b (t h w) d -> b t h w d", t=grid.t, h=grid.h, w=grid.w)
        self._tokens.append(steps[torch.arange(len(steps), device=steps.device), places].cpu().numpy())
        self._pooled.append(tokens.mean(1).cpu().numpy())
        self._waiting = []

    def finish(self) -> Seen:
        self._encode()
        if not self._good:
            raise UserError(
                "no window of the video can be read to its end; `surgrec index` tells what is wrong with it"
            )
        plan, times = self._plan, self._plan.times_seconds[self._good]
        return Seen(
            seconds=plan.seconds[self._good],
            places=plan.places[self._good],
            frames=np.stack(self._frames),
            tokens=np.concatenate(self._tokens),
            pooled=np.concatenate(self._pooled),
            starts=times[:, 0],
            ends=times[:, -1] + self._preprocess.frame_interval_seconds,
            clips=self._clips,
            num_missing=len(plan) - len(self._good),
            plan=plan,
        )
