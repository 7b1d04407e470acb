"""A probe while the run goes on: do the features tell labelled clips apart better than before?

In: the run's step, labelled windows, how to read them. Out: the balanced accuracy of a k-NN probe on cases that it has not seen, beside
its chance level. It is its own file because it is called by the training loop, on all ranks, in the middle of a run: it must give the
same on any number of them, change nothing, and end nothing. What one rank alone runs into must not keep it from what all do together,
so it is carried to the end and told there, by all alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surgrec.core.console import progress
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.manifest import Manifest
from surgrec.data.clips import ClipSpec
from surgrec.data.preprocess import Preprocess
from surgrec.evaluation.frozen import held_out_predictions
from surgrec.evaluation.labels import LabelledWindow
from surgrec.evaluation.metrics import balanced_accuracy
from surgrec.evaluation.splits import folds_by_group
from surgrec.masks.masks import MaskSet
from surgrec.training.runtime import SharedError
from surgrec.training.step import Step
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError

NUM_FOLDS = 3
CHUNK = 4  # windows in a forward pass: fixed, since sums over another batch round otherwise


class ProbeError(SharedError):
    """A probe that gives no number; the training may go on without."""


@dataclass(frozen=True)
class OnlineProbe:
    """Call it for `probe_knn` (balanced accuracy, folds by case), `probe_chance` (1 / labels) and `probe_windows` that could be read."""

    step: Step
    manifest: Manifest
    windows: Sequence[LabelledWindow]
    clip: ClipSpec
    preprocess: Preprocess
    decoder: str = "pyav"

    def check(self) -> None:
        """Before the first step: raises `UserError` where the videos that are there could give no number."""
        is_there = {row: self.manifest.path_of(row).is_file() for row in {window.row for window in self.windows}}
        if lacking := _lacking([window for window in self.windows if is_there[window.row]]):
            raise UserError(
                f"the probe could give no number: {sum(is_there.values())} of its {counted(len(is_there), 'video')} are there, {lacking}; "
                "look where the videos of probe.manifest are, raise probe.windows, or leave probe.every out"
            )

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """The numbers of the encoder as it is now; all ranks call it and get the same, or all raise `ProbeError`.

        But where ranks share one model, a failure of the encoder itself is raised as it is, by the rank that has it: the others are in the
        middle of a pass that they can only make together.
        """
        failures: list[str] = []
        features = self._features(failures)
        self._raise_together(failures)
        numbers: dict[str, float] = {}
        try:
            numbers = self._score(features)
        except Exception as error:  # whatever it is, the training can do without
            failures.append(_told(error))
        self._raise_together(failures)
        return numbers

    def _raise_together(self, failures: list[str]) -> None:
        """All ranks call it, and raise where one of them has failures."""
        told = list(dict.fromkeys(each for rank in self.step.runtime.gather(failures) for each in rank))
        if told:
            raise ProbeError(f"the probe failed: {told[0]}{f'; and {len(told) - 1} more' if told[1:] else ''}")

    def _score(self, features: Tensor) -> dict[str, float]:
        is_read = torch.isfinite(features).all(1)
        windows = [window for window, good in zip(self.windows, is_read.tolist(), strict=True) if good]
        if lacking := _lacking(windows):
            raise UserError(f"of {len(self.windows)} windows {len(windows)} could be read and encoded, {lacking}")
        names, labels = np.unique([window.label for window in windows], return_inverse=True)
        groups = [window.group for window in windows]
        held_out = held_out_predictions(features[is_read], labels, groups, folds_by_group(groups, 0, NUM_FOLDS), "knn")
        score = float(balanced_accuracy(held_out.counts.sum(0)))
        return {"probe_knn": score, "probe_chance": 1 / len(names), "probe_windows": float(len(windows))}

    def _features(self, failures: list[str]) -> Tensor:
        """Mean tokens (n, D) of all windows on the CPU, NaN for one that cannot be read. Each rank encodes every world-th chunk, and adds
        what failed, other than a video that cannot be read, to `failures`.
        """
        fabric = self.step.runtime.fabric
        chunks = [range(first, min(first + CHUNK, len(self.windows))) for first in range(0, len(self.windows), CHUNK)]
        num_rounds = -(-len(chunks) // fabric.world_size)
        width = self.step.objective.released_encoder.width
        features = torch.zeros(len(self.windows), width, dtype=torch.float64)
        with progress("probing", num_rounds) as advance:
            for number in range(num_rounds):
                index = number * fabric.world_size + fabric.global_rank
                # one too many is encoded all the same: sharded ranks go together
                chunk = chunks[min(index, len(chunks) - 1)]
                tokens = self._tokens(chunk, failures)
                if index < len(chunks) and tokens is not None:
                    features[chunk.start : chunk.stop] = tokens.double().mean(1).cpu()
                advance()
        return self.step.runtime.sum(features.to(torch.float32).to(self.step.runtime.device)).cpu()

    def _tokens(self, chunk: range, failures: list[str]) -> Tensor | None:
        """Tokens (n, N, D) of the windows of a chunk; None where the encoder failed."""
        videos = [self._video(self.windows[index], failures) for index in chunk]
        blank = next((torch.zeros_like(video) for video in videos if video is not None), None)
        if blank is None:
            size = self.preprocess.spec.crop_pixels
            blank = torch.zeros(1, 3, self.clip.num_frames, size, size, device=self.step.runtime.device)
        try:
            tokens = whole_clip_tokens(self.step, torch.cat([blank if video is None else video for video in videos]))
        except Exception as error:  # say, out of memory
            if self.step.runtime.is_sharded:
                raise
            failures.append(_told(error))
            return None
        tokens[[place for place, video in enumerate(videos) if video is None]] = float("nan")
        return tokens

    def _video(self, window: LabelledWindow, failures: list[str]) -> Tensor | None:
        """The window as the encoder takes it (1, C, T, H, W), or None."""
        path = self.manifest.path_of(window.row)
        try:
            with open_video(path, self.decoder, self.clip.short_side_pixels) as video:
                frames = video.read(window.start_seconds + self.clip.offsets_seconds).pixels
            return self.preprocess(frames, self.step.runtime.device)
        except VideoError:
            return None
        except Exception as error:  # a disk that is gone, say
            name = f"video {self.manifest.video_ids[window.row]}"
            said = _told(error).replace(str(path), name).replace(path.name, name)  # a path may identify a patient
            failures.append(f"{name}: {said}")
            return None


def _lacking(windows: Sequence[LabelledWindow]) -> str | None:
    """What windows need to be scored and have not."""
    labels, groups = (len({getattr(window, name) for window in windows}) for name in ("label", "group"))
    if labels >= 2 and groups >= NUM_FOLDS:
        return None
    return f"with windows of {labels} labels in {groups} cases; 2 labels and {NUM_FOLDS} cases are needed"


def _told(error: Exception) -> str:
    """Its first line, with its type unless it is a sentence for users."""
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"


def whole_clip_tokens(step: Step, video: Tensor) -> Tensor:
    """Tokens (B, N, D), float32, of whole clips (B, C, T, H, W) from the encoder that would be released.

    The target encoder is wrapped by itself; a learner's encoder is reached only through the learner, of which it is a shard.
    """
    with step.runtime.fabric.autocast():
        if "target_encoder" in step.objective.frozen:
            tokens: Tensor = step.objective.frozen["target_encoder"](video)
            return tokens.float()
        grid = step.objective.released_encoder.grid_of(video)
        everything = torch.arange(grid.num_tokens, device=video.device).expand(len(video), -1)
        mask = MaskSet(everything, everything[:, :1])  # all is seen; the one prediction is not used
        masks = tuple(mask for _ in step.masker.draw([0]))
        return step.learner(video, masks, step.objective.targets(video, masks)).context[0].float()
