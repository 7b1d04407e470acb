"""The k-NN protocol: what lies near in the space of features, without any training.

In: frozen features, labels, a split. Out: an `Answer`. It is its own file because it is the one protocol on frozen features that has
nothing to fit, and so tells best what the encoder itself puts side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from surgrec.evaluation.metrics import Metric, balanced_accuracy
from surgrec.evaluation.probes import Standardiser, knn_votes
from surgrec.evaluation.protocols.answer import Answer, Search, Stopwatch, choose, pooled_features, rows_of, score_of
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class KNN:
    """Neighbours by cosine of standardised features, votes exp(cosine / temperature) (Wu et al. 2018, arXiv 1805.01978).

    The number of neighbours is chosen of `ks` on validation rows, whose neighbours are train rows; test rows then have those of both.
    """

    ks: tuple[int, ...] = (1, 5, 10, 20, 50)
    temperature: float = 0.07
    metric: Metric = balanced_accuracy
    name: str = "k-NN"

    def __call__(self, features: Tensor, labels: Tensor, split: Split, num_classes: int, seed: int) -> Answer:
        """Features (n, D) or tokens (n, N, D), labels (n,). Nothing is drawn, so the seed changes nothing."""
        watch, features = Stopwatch(), pooled_features(features)
        train, validation, seen, test = rows_of(split)
        grid = tuple({"k": k} for k in self.ks)
        _, place, scores = choose(
            grid,
            lambda values: self._votes(features, labels, train, validation, num_classes, int(values["k"])),
            lambda votes: score_of(votes, labels[validation], self.metric),
        )
        votes = self._votes(features, labels, seen, test, num_classes, self.ks[place])
        probabilities = (votes / votes.sum(1, keepdim=True)).cpu()
        search = Search(self.name, grid, scores, grid[place], len(grid) + 1, watch.seconds)
        return Answer(probabilities.argmax(1), probabilities, search)

    def _votes(
        self, features: Tensor, labels: Tensor, known: Tensor, asked: Tensor, num_classes: int, k: int
    ) -> Tensor:
        standardise = Standardiser.fit(features[known])
        inputs = standardise(features[known]), labels[known], standardise(features[asked])
        return knn_votes(*inputs, num_classes, k, self.temperature)
