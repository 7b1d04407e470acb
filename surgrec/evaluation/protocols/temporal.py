"""The temporal head as a protocol: MS-TCN over frozen features of whole operations, offline or causal.

In: recordings, a split of them. Out: a `DenseAnswer`. It is its own file because it is how the head is trained and chosen: on train
recordings, by validation recordings, with the same search for every encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core import rng
from surgrec.core.console import Advance, progress
from surgrec.evaluation.metrics import Metric, balanced_accuracy
from surgrec.evaluation.probes import Standardiser
from surgrec.evaluation.protocols.answer import Search, Stopwatch, choose, score_of
from surgrec.evaluation.protocols.dense import NO_LABEL, DenseAnswer, DenseRecording, labelled_moments
from surgrec.evaluation.protocols.temporal_head import TemporalHead, temporal_loss
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class TemporalSettings:
    """MS-TCN's own values (Farha & Gall 2019, section 3.4), but for the learning rate, of which it has the first.

    `num_epochs` passes over the train recordings, `batch_size` of them at a time.
    """

    num_stages: int = 4
    num_layers: int = 10
    channels: int = 64
    dropout: float = 0.5
    smoothing: float = 0.15
    num_epochs: int = 50
    batch_size: int = 1
    learning_rates: tuple[float, ...] = (5e-4, 2e-3)


@dataclass(frozen=True)
class Temporal:
    """`is_causal`: no moment sees a later one, for online recognition; otherwise the whole operation is seen."""

    is_causal: bool = False
    settings: TemporalSettings = field(default_factory=TemporalSettings)
    metric: Metric = balanced_accuracy

    @property
    def name(self) -> str:
        return "temporal head, causal" if self.is_causal else "temporal head, offline"

    def __call__(self, recordings: Sequence[DenseRecording], split: Split, num_classes: int, seed: int) -> DenseAnswer:
        """Features are standardised by the labelled moments of train recordings. The learning rate is chosen on validation recordings."""
        watch = Stopwatch()
        standardise = Standardiser.fit(labelled_moments(recordings, split.train)[0])

        def videos(rows: npt.NDArray[np.int64]) -> list[tuple[Tensor, Tensor]]:
            return [_video(recordings[row], standardise) for row in rows]

        train, validation = videos(split.train), videos(split.validation)
        grid = tuple({"learning_rate": rate} for rate in self.settings.learning_rates)

        def score(head: TemporalHead) -> float:
            logits = torch.cat(predict(head, [features for features, _ in validation]))
            labels = torch.cat([own for _, own in validation])
            return score_of(logits[labels >= 0], labels[labels >= 0], self.metric)

        with progress(f"fitting the {self.name}", len(grid) * self.settings.num_epochs) as advance:
            head, place, scores = choose(
                grid, lambda values: self._fit(train, num_classes, values["learning_rate"], seed, advance), score
            )
        logits = predict(head, [features for features, _ in videos(split.test)])
        search = Search(self.name, grid, scores, grid[place], len(grid), watch.seconds)
        return DenseAnswer(tuple(each.double().softmax(1).cpu() for each in logits), search)

    def _fit(
        self,
        videos: list[tuple[Tensor, Tensor]],
        num_classes: int,
        rate: float,
        seed: int,
        advance: Advance,
    ) -> TemporalHead:
        """First weights, dropout and the order of recordings are the same for all learning rates."""
        settings, device = self.settings, videos[0][0].device
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(int(rng.words(seed, "temporal-head", 0, lanes=1)[0] >> np.uint64(1)))
            head = TemporalHead(
                videos[0][0].shape[1],
                num_classes,
                num_stages=settings.num_stages,
                num_layers=settings.num_layers,
                channels=settings.channels,
                dropout=settings.dropout,
                is_causal=self.is_causal,
            ).to(device)
            optimizer = torch.optim.Adam(head.parameters(), lr=rate)
            for epoch in range(settings.num_epochs):
                order = np.argsort(rng.uniforms(seed, "temporal-head-order", epoch, lanes=len(videos)), kind="stable")
                for first in range(0, len(order), settings.batch_size):
                    features, labels, is_real = padded([videos[i] for i in order[first : first + settings.batch_size]])
                    if (labels >= 0).any():  # the mean over no label is no number
                        loss = temporal_loss(head(features, is_real), labels, is_real, settings.smoothing)
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
                advance()
        return head.eval()


def padded(videos: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, T, D), labels (B, T) and `is_real` (B, T) of recordings (T_i, D) and (T_i,), filled up to the longest."""
    length = max(len(labels) for _, labels in videos)
    first, _ = videos[0]
    features = first.new_zeros(len(videos), length, first.shape[1])
    labels = torch.full((len(videos), length), NO_LABEL, dtype=torch.int64, device=first.device)
    is_real = torch.zeros(len(videos), length, dtype=torch.bool, device=first.device)
    for index, (values, own) in enumerate(videos):
        features[index, : len(own)], labels[index, : len(own)], is_real[index, : len(own)] = values, own, True
    return features, labels, is_real


@torch.no_grad()
def predict(head: TemporalHead, videos: Sequence[Tensor]) -> list[Tensor]:
    """Logits (T, C) of the last stage for features (T, D) of each recording, one at a time."""
    return [
        head(features[None], torch.ones(1, len(features), dtype=torch.bool, device=features.device))[-1, 0]
        for features in videos
    ]


def _video(recording: DenseRecording, standardise: Standardiser) -> tuple[Tensor, Tensor]:
    """Standardised float32 features (T, D), and labels (T,) beside them."""
    labels = torch.from_numpy(recording.labels).to(recording.features.device)
    return standardise(recording.features).float(), labels
