"""What a cell says of predictions: relaxed scores where phases are named, no interval where nothing tells of one, alarms of both forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from surgrec.evaluation.dense_frames import average
from surgrec.evaluation.dense_relaxed import CHOLEC80, M2CAI16, count_relaxed_frames
from surgrec.evaluation.results_json import plain, record_of
from surgrec.evaluation.running import scoring
from surgrec.evaluation.running.predictions import Predictions
from surgrec.evaluation.tasks.task import DenseTask, Kind, NamedSplit, Recording

CLASSES = tuple("abcdefg")
TRUTH = np.repeat(np.arange(7), 30)


def operations(predictions: list[np.ndarray], num_videos: int = 12, num_classes: int = 7) -> Predictions:
    """The same operation again and again, each of a group of its own, with these answers, one a seed."""
    length = len(TRUTH)
    answers = np.stack([np.tile(each, num_videos) for each in predictions])
    groups = np.repeat(np.arange(num_videos), length)
    table = np.eye(num_classes, dtype=np.float32)[answers]
    return Predictions(np.tile(TRUTH, num_videos), groups, answers, table, groups)


def task(name: str, num_classes: int = 7, kind: Kind = "phase", apart: float = 0.5) -> DenseTask:
    times = apart * np.arange(len(TRUTH))
    recordings = tuple(Recording(None, f"v{n}", f"g{n}", times, TRUTH) for n in range(3))  # type: ignore[arg-type]
    split = NamedSplit("all", "seeded", np.array([0]), np.array([1]), np.array([2]))
    classes = tuple(f"class {place}" for place in range(num_classes))
    return DenseTask(name, name, "laparoscopy", kind, classes, recordings, (split,))


def test_the_rule_of_what_is_forgiven_is_the_datasets_own() -> None:
    for name, num_classes, rule in (
        ("cholec80_phase", 7, CHOLEC80), ("m2cai16_workflow_phase", 8, M2CAI16), ("autolaparo_phase", 7, "neighbour"),
    ):  # fmt: skip
        relaxed = scoring.relaxed_of(task(name, num_classes))
        assert relaxed is not None and relaxed.rule == rule and relaxed.frames_per_second == pytest.approx(2)
    assert scoring.relaxed_of(task("jigsaws_gesture", kind="gesture")) is None


def test_relaxed_scores_stand_beside_the_others_by_their_own_names() -> None:
    late = np.concatenate([np.zeros(6, np.int64), TRUTH])[: len(TRUTH)]
    found = operations([late, TRUTH])
    scores = {score.metric: score for score in scoring.scores(found, scoring.Relaxed("neighbour", 1.0))}
    assert set(scores) == {*scoring.DENSE_METRICS, *scoring.RELAXED_METRICS}
    assert set(scores) - set(scoring.RELAXED_METRICS) == {score.metric for score in scoring.scores(found)}
    assert scores["relaxed accuracy"].estimate == 1 > scores["accuracy"].estimate
    early = count_relaxed_frames(TRUTH, np.roll(TRUTH, -20), 7, 1.0)
    shifted = operations([np.roll(TRUTH, -20)])
    relaxed = {score.metric: score for score in scoring.scores(shifted, scoring.Relaxed("neighbour", 1.0))}
    assert relaxed["relaxed Jaccard by phase"].estimate == pytest.approx(float(average(early, "Jaccard", "by phase")))


def clips(labels: np.ndarray, groups: np.ndarray, answers: np.ndarray) -> Predictions:
    chance = np.linspace(0.2, 0.8, len(labels), dtype=np.float32)
    table = np.stack([chance, 1 - chance], 1)[None]
    return Predictions(labels, groups, answers[None], table, np.full(len(labels), -1))


def test_a_metric_that_one_group_defines_is_told_without_an_interval() -> None:
    """An interval that is no number cannot be read again, nor drawn."""
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    found = clips(labels, np.repeat(np.arange(4), 2), labels)
    scores = {score.metric: score for score in scoring.scores(found)}
    assert scores["AUROC"].low is scores["AUROC"].high is None and "not defined without" in scores["AUROC"].form
    assert scores["accuracy"].low is not None
    for score in scores.values():
        record_of(type(score), plain(score), "score")


def test_one_test_group_is_a_number_without_an_interval() -> None:
    labels = np.array([1, 0, 0, 1])
    found, floor = (clips(labels, np.zeros(4, np.int64), answers) for answers in (labels, labels * 0))
    assert all(score.low is None for score in scoring.scores(found))
    assert scoring.alarm(found, floor, ("a", "b")) is None


def test_alarms_of_operations_are_those_of_clips() -> None:
    """Chance alone lifts a score above the majority's, and nearly one answer is a constant answer."""
    found = operations([TRUTH * 0] * 3)
    nearly = found.predictions.copy()
    nearly[:, ::280] = 1  # 9 of 2,520
    often = replace(found, predictions=nearly)
    said = scoring.alarm(often, found, CLASSES) or ""
    assert "seed 0 answers class a on 99.6% of rows" in said
    luckier = found.predictions.copy()
    luckier[:, 200] = TRUTH[200]  # right once more, in one operation of twelve
    said = scoring.alarm(replace(found, predictions=luckier), found, CLASSES) or ""
    assert "accuracy is not above that of the majority row beyond chance" in said
    assert scoring.alarm(operations([TRUTH] * 3), found, CLASSES) is None


def test_of_what_is_itself_a_floor_only_a_constant_answer_is_told() -> None:
    wrong = operations([(TRUTH + 1) % 7] * 3)
    assert "not above" in (scoring.alarm(wrong, operations([TRUTH * 0]), CLASSES) or "")
    assert scoring.alarm(wrong, None, CLASSES) is None
    assert "answers class a" in (scoring.alarm(operations([TRUTH * 0] * 3), None, CLASSES) or "")
