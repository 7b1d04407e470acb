"""The few numbers of a run's health that a person watches, and how each is written.

In: the names of `metrics.jsonl`. Out: a title and a format for each. It is its own file because a line on the console and `surgrec status`,
which loads neither torch nor the loop, show the same ones; docs/healthy_runs.md explains them.
"""

from __future__ import annotations

HEALTH_SHOWN = (  # name, title, format
    ("loss_over_mean", "over mean", ".3f"),
    ("effective_rank", "rank", ".0f"),
    ("feature_std", "std", ".3f"),
    ("clip_similarity", "clips alike", ".2f"),
    ("probe_knn", "probe", ".3f"),
    ("probe_chance", "chance", ".3f"),
)
