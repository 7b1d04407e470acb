"""From predictions to the scores of a cell.

In: `Predictions` of all seeds, those of the majority on the same rows. Out: scores with intervals, per class, confusion, timelines, alarm.
It is its own file because a table shows the same numbers of every task of a form, whoever made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.evaluation.dense_relaxed import CHOLEC80, M2CAI16
from surgrec.evaluation.dense_scores import F1_AT, DenseHeldOut, Rule, dense_statistic
from surgrec.evaluation.intervals import Statistic, score_interval
from surgrec.evaluation.results import ClassScore, Score, Timeline
from surgrec.evaluation.running.predictions import Predictions
from surgrec.evaluation.scores import alarms, constant_answers, not_above, statistic_of
from surgrec.evaluation.tasks.task import ClipTask, DenseTask

CLIP_METRICS = ("balanced accuracy", "accuracy", "macro-F1", "AUROC", "mAP", "ECE (adaptive bins)")
DENSE_METRICS = ("accuracy", "Jaccard", "F1", "precision", "recall", "edit", *F1_AT)  # by video, unrelaxed
RELAXED_METRICS = {  # as published numbers average them; of phases only, which they were made for
    "relaxed accuracy": "accuracy",
    "relaxed Jaccard by phase": "Jaccard",
    "relaxed precision by phase": "precision",
    "relaxed recall by phase": "recall",
}
CHOICES = {"clips": ("balanced accuracy", "accuracy", "macro-F1", "AUROC", "mAP"), "dense": DENSE_METRICS}
"""Metrics that tables may show first, encoders be compared by and ranked by: the higher the better."""
LEVEL = 0.95
NO_RATE = float("nan")  # frames a second matter to relaxed scores only
_TABLES = {("cholec80_phase", 7): CHOLEC80, ("m2cai16_workflow_phase", 8): M2CAI16}  # by name and number of classes
_MOST_TIMELINES, _MOST_MOMENTS = 3, 2000


@dataclass(frozen=True)
class Relaxed:
    """What is forgiven near a border of phases, and labels a second."""

    rule: Rule
    frames_per_second: float


def metrics_of(is_dense: bool) -> tuple[str, ...]:
    """The first is the one that tables show, encoders are compared by and ranked by where no other is chosen."""
    return DENSE_METRICS if is_dense else CLIP_METRICS


def relaxed_of(task: ClipTask | DenseTask) -> Relaxed | None:
    """Of phases: the dataset's own table where it has one, else each phase's neighbours."""
    if isinstance(task, ClipTask) or task.kind != "phase":
        return None
    apart = np.concatenate([np.diff(each.times_seconds) for each in task.recordings])
    rule: Rule = _TABLES.get((task.name, len(task.classes))) or "neighbour"
    return Relaxed(rule, 1 / float(np.median(apart))) if len(apart) else None


def statistic(found: Predictions, metric: str, relaxed: Relaxed | None = None) -> Statistic:
    """The metric as a function of how often each group counts."""
    return _dense_statistic(found, metric, relaxed) if found.is_dense else statistic_of(found.held_out(), metric)


def scores(found: Predictions, relaxed: Relaxed | None = None) -> tuple[Score, ...]:
    """All metrics of the form, the mean over seeds; without an interval where nothing tells how far it varies."""
    made = []
    for metric in (*metrics_of(found.is_dense), *(RELAXED_METRICS if relaxed else ())):
        of_metric = statistic(found, metric, relaxed)
        by_seed = tuple(float(value) for value in of_metric.by_seed())
        if not np.isfinite(by_seed).all():
            continue  # such as the AUROC of rows of one class
        try:
            interval = score_interval(of_metric, LEVEL)
            made.append(Score(metric, interval.estimate, interval.low, interval.high, LEVEL, interval.form, by_seed))
        except UserError as error:
            made.append(Score(metric, float(np.mean(by_seed)), None, None, LEVEL, f"none: {error}", by_seed))
    return tuple(made)


def confusion_of(found: Predictions) -> npt.NDArray[np.int64]:
    """Rows true, columns predicted, summed over seeds (C, C)."""
    counts: npt.NDArray[np.int64] = np.sum([each.counts.sum(0) for each in found.held_out()], axis=0)
    return counts


def per_class(found: Predictions, classes: Sequence[str]) -> tuple[ClassScore, ...]:
    """Of the summed confusion matrix; `support` is that of one seed."""
    counts, num_seeds = confusion_of(found), len(found.predictions)
    rows = []
    for place, name in enumerate(classes):
        right, true, predicted = (
            int(value) for value in (counts[place, place], counts[place].sum(), counts[:, place].sum())
        )
        precision, recall = (right / of if of else 0.0 for of in (predicted, true))
        f1 = 2 * right / (true + predicted) if true + predicted else 0.0
        rows.append(ClassScore(name, precision, recall, f1, true // num_seeds))
    return tuple(rows)


def timelines(found: Predictions, task: DenseTask) -> tuple[Timeline, ...]:
    """The first seed's answers on a few test operations, of which long ones are shown more coarsely."""
    made = []
    for row in dict.fromkeys(found.operations.tolist()):
        is_of = found.operations == row
        times, step = task.recordings[row].times_seconds, -(-int(is_of.sum()) // _MOST_MOMENTS)
        columns = (times, found.labels[is_of], found.predictions[0][is_of])
        shown = [tuple(column[::step].tolist()) for column in columns]
        made.append(Timeline(task.recordings[row].video_id, *shown))
        if len(made) == _MOST_TIMELINES:
            break
    return tuple(made)


def alarm(found: Predictions, majority: Predictions | None, classes: Sequence[str]) -> str | None:
    """What keeps the number from meaning what it seems to, in sentences. `majority`: of the same rows; None for what is itself a floor,
    such as random weights, of which nobody expects to be above it.
    """
    results = found.held_out()
    if majority is None:
        return "; ".join(constant_answers(results, classes)) or None
    if not found.is_dense:
        return "; ".join(alarms(results, majority.held_out()[0], CLIP_METRICS[0], classes)) or None
    metric = DENSE_METRICS[0]
    own, floor = (statistic(each, metric) for each in (found, majority))
    return "; ".join([*constant_answers(results, classes), *not_above(own, floor, metric)]) or None


# -- whole operations


def _dense_statistic(found: Predictions, metric: str, relaxed: Relaxed | None) -> Statistic:
    """Operations without one labelled moment are left out."""
    rows = dict.fromkeys(found.operations[found.labels >= 0].tolist())
    masks = [found.operations == row for row in rows]
    truths, groups = tuple(found.labels[mask] for mask in masks), [str(found.groups[mask][0]) for mask in masks]
    rate = relaxed.frames_per_second if relaxed else NO_RATE
    by_seed = [
        DenseHeldOut(truths, tuple(each[mask] for mask in masks), np.array(groups), found.num_classes, rate)
        for each in found.predictions
    ]
    if metric not in RELAXED_METRICS:
        return dense_statistic(by_seed, metric)
    if relaxed is None:
        raise ValueError(f"{metric} needs to know what is forgiven")
    return dense_statistic(by_seed, RELAXED_METRICS[metric], "by phase", relaxed=relaxed.rule)
