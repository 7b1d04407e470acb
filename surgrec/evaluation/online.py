"""A probe while the run goes on: do the features tell labelled clips apart better than before?

In: the run's step, labelled windows, how to read them. Out: the balanced accuracy of a k-NN probe on cases that it has not seen, beside
its chance level. It is its own file because it is called by the training loop, on all ranks, in the middle of a run: it must give the
same on any number of them, and change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surgrec.core.console import progress
from surgrec.corpus.manifest import Manifest
from surgrec.data.clips import ClipSpec
from surgrec.data.preprocess import Preprocess
from surgrec.evaluation.frozen import held_out_predictions
from surgrec.evaluation.labels import LabelledWindow
from surgrec.evaluation.metrics import balanced_accuracy
from surgrec.evaluation.splits import folds_by_group
from surgrec.masks.masks import MaskSet
from surgrec.training.step import Step
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError

NUM_FOLDS = 3
CHUNK = 4  # windows in a forward pass: fixed, since sums over another batch round otherwise


@dataclass(frozen=True)
class OnlineProbe:
    """Call it for `probe_knn` (balanced accuracy, folds by case), `probe_chance` (1 / labels) and `probe_windows` that could be read."""

    step: Step
    manifest: Manifest
    windows: Sequence[LabelledWindow]
    clip: ClipSpec
    preprocess: Preprocess
    decoder: str = "pyav"

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """The numbers of the encoder as it is now; all ranks call it and get the same."""
        features = self._features()
        is_read = torch.isfinite(features).all(1)
        windows = [window for window, good in zip(self.windows, is_read.tolist(), strict=True) if good]
        names, labels = np.unique([window.label for window in windows], return_inverse=True)
        groups = [window.group for window in windows]
        held_out = held_out_predictions(features[is_read], labels, groups, folds_by_group(groups, 0, NUM_FOLDS), "knn")
        score = float(balanced_accuracy(held_out.counts.sum(0)))
        return {"probe_knn": score, "probe_chance": 1 / len(names), "probe_windows": float(len(windows))}

    def _features(self) -> Tensor:
        """Mean tokens (n, D) of all windows on the CPU, NaN for one that cannot be read. Each rank encodes every world-th chunk."""
        fabric = self.step.runtime.fabric
        chunks = [range(first, min(first + CHUNK, len(self.windows))) for first in range(0, len(self.windows), CHUNK)]
        num_rounds = -(-len(chunks) // fabric.world_size)
        width = self.step.objective.released_encoder.width
        features = torch.zeros(len(self.windows), width, dtype=torch.float64)
        with progress("probing", num_rounds) as advance:
            for number in range(num_rounds):
                index = number * fabric.world_size + fabric.global_rank
                chunk = chunks[
                    min(index, len(chunks) - 1)
                ]  # one too many is encoded all the same: sharded ranks go together
                tokens = self._tokens(chunk)
                if index < len(chunks):
                    features[chunk.start : chunk.stop] = tokens.double().mean(1).cpu()
                advance()
        return self.step.runtime.sum(features.to(torch.float32).to(self.step.runtime.device)).cpu()

    def _tokens(self, chunk: range) -> Tensor:
        """Tokens (n, N, D) of the windows of a chunk."""
        videos, unread = [], []
        for place, index in enumerate(chunk):
            video = self._video(self.windows[index])
            if video is None:
                unread.append(place)
            videos.append(video)
        blank = next((torch.zeros_like(video) for video in videos if video is not None), None)
        if blank is None:
            size = self.preprocess.spec.crop_pixels
            blank = torch.zeros(1, 3, self.clip.num_frames, size, size, device=self.step.runtime.device)
        tokens = whole_clip_tokens(self.step, torch.cat([blank if video is None else video for video in videos]))
        tokens[unread] = float("nan")
        return tokens

    def _video(self, window: LabelledWindow) -> Tensor | None:
        """The window as the encoder takes it (1, C, T, H, W), or None."""
        try:
            with open_video(self.manifest.path_of(window.row), self.decoder, self.clip.short_side_pixels) as video:
                frames = video.read(window.start_seconds + self.clip.offsets_seconds).pixels
        except VideoError:
            return None
        return self.preprocess(frames, self.step.runtime.device)


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
