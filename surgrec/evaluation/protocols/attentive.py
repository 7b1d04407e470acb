"""The attentive probe as a protocol (Bardes et al. 2024, V-JEPA, arXiv 2404.08471, section 4.2).

In: frozen tokens, labels, a split. Out: an `Answer`. It is its own file because, other than the protocols on averages, it draws numbers
(first weights, batches), and is not fitted anew on validation rows: how long to train was chosen for train rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from surgrec.evaluation.attentive import AttentiveProbe, AttentiveSettings, train_attentive_probe
from surgrec.evaluation.metrics import Metric, balanced_accuracy
from surgrec.evaluation.protocols.answer import Answer, Search, Stopwatch, choose, rows_of, score_of
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class Attentive:
    """A learned query over the tokens; the learning rate is chosen on validation rows. One token a row (n, D) is taken as it is."""

    settings: AttentiveSettings = field(
        default_factory=lambda: AttentiveSettings(learning_rates=(3e-3, 1e-3, 3e-4, 1e-4))
    )
    metric: Metric = balanced_accuracy
    name: str = "attentive probe"

    def __call__(self, features: Tensor, labels: Tensor, split: Split, num_classes: int, seed: int) -> Answer:
        """Tokens (n, N, D) or features (n, D), labels (n,)."""
        watch, tokens = Stopwatch(), features if features.ndim == 3 else features[:, None]
        train, validation, _, test = rows_of(split)
        grid = tuple({"learning_rate": rate} for rate in self.settings.learning_rates)

        def score(probe: AttentiveProbe) -> float:
            return score_of(probe.logits(tokens[validation]), labels[validation], self.metric)

        probe, place, scores = choose(
            grid,
            lambda values: train_attentive_probe(
                tokens[train], labels[train], num_classes, values["learning_rate"], seed, self.settings
            ),
            score,
        )
        search = Search(self.name, grid, scores, grid[place], len(grid), watch.seconds)
        return Answer.of_logits(probe.logits(tokens[test]), search)
