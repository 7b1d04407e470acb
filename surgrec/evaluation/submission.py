"""Results of others, in the form in which they can stand beside ours.

In: a JSON file. Out: `Submission`s, checked, and results that hold them. It is its own file because a number from elsewhere is believed
only where it is of the same rows: a submission names the hash of every split that it was measured on.

    {"format": 1, "encoders": [...], "splits": {"TASK/SPLIT": "HASH"}, "cells": [...]}

`encoders` and `cells` are as in `results.json` (surgrec/evaluation/results.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.results import Cell, EncoderFacts, Results, Score, TaskFacts
from surgrec.evaluation.results_json import read_json, record_of
from surgrec.evaluation.running.scoring import CLIP_METRICS, DENSE_METRICS, RELAXED_METRICS

FORMAT = 1
METRICS = {"clips": CLIP_METRICS, "dense": (*DENSE_METRICS, *RELAXED_METRICS)}
_KINDS = ("ours", "foreign", "random", "trivial")


@dataclass(frozen=True)
class Submission:
    """`splits`: of each `TASK/SPLIT` that has cells here, the hash that a report prints beside it."""

    format: int
    encoders: tuple[EncoderFacts, ...]
    splits: Mapping[str, str]
    cells: tuple[Cell, ...]


def read_submission(path: Path) -> Submission:
    """What is in the file. Raises `UserError` with a sentence that names the wrong key."""
    content = read_json(path, "is no submission", "docs/benchmark.md says what one is")
    found = record_of(Submission, content, f"{path}: submission")
    if found.format != FORMAT:
        raise UserError(f"{path}: submission.format is {found.format}; this version of surgrec reads {FORMAT}")
    _check(found, f"{path}: submission")
    return found


def with_submission(results: Results, submission: Submission) -> Results:
    """Results with the cells of others. Raises `UserError` for another task, split or set of classes than ours, or the name of an
    encoder that is taken: numbers of other rows stand in no common table.
    """
    tasks = {task.name: task for task in results.tasks}
    hashes = {f"{task.name}/{split.name}": split.hash for task in results.tasks for split in task.splits}
    for at, hash_ in submission.splits.items():
        if at not in hashes:
            raise UserError(
                f"submission.splits has {at!r}, which this benchmark does not; it has {', '.join(sorted(hashes))}"
            )
        if hash_ != hashes[at]:
            raise UserError(f"submission.splits.{at} has the hash {hash_}, ours is {hashes[at]}: it is of other rows")
    for number, cell in enumerate(submission.cells):
        _check_task(cell, tasks[cell.task], f"submission.cells[{number}]")
    taken = {encoder.name for encoder in results.encoders}
    for encoder in submission.encoders:
        if encoder.name in taken:
            raise UserError(
                f"submission.encoders has {encoder.name!r}, a name that this benchmark has too; choose another"
            )
    return replace(
        results,
        encoders=(*results.encoders, *submission.encoders),
        cells=(*results.cells, *submission.cells),
    )


def _check_task(cell: Cell, task: TaskFacts, at: str) -> None:
    """What only the task tells: its classes, and the metrics of its form."""
    if cell.confusion and len(cell.confusion) != len(task.classes):
        raise UserError(f"{at}.confusion has {len(cell.confusion)} rows, {cell.task} has {len(task.classes)} classes")
    if strange := [each.class_ for each in cell.per_class if each.class_ not in task.classes]:
        raise UserError(f"{at}.per_class has {strange[0]!r}; the classes of {cell.task} are {', '.join(task.classes)}")
    if any(not -1 <= label < len(task.classes) for one in cell.timelines for label in (*one.truth, *one.predicted)):
        raise UserError(f"{at}.timelines has a class that is none of the {len(task.classes)} of {cell.task}")
    known = METRICS[task.form]
    for place, score in enumerate(cell.scores):
        if score.metric not in known:
            raise UserError(f"{at}.scores[{place}].metric is {score.metric!r}; choose of {', '.join(known)}")


def _check(submission: Submission, where: str) -> None:
    names = [encoder.name for encoder in submission.encoders]
    for number, encoder in enumerate(submission.encoders):
        if encoder.kind not in _KINDS:
            raise UserError(f"{where}.encoders[{number}].kind is {encoder.kind!r}; choose of {', '.join(_KINDS)}")
        if names.index(encoder.name) < number:
            raise UserError(f"{where}.encoders[{number}].name is {encoder.name!r}, which another one has")
        _at_least_0(f"{where}.encoders[{number}].num_parameters", encoder.num_parameters)
    seen = set[tuple[str, str, str, str]]()
    for number, cell in enumerate(submission.cells):
        at = f"{where}.cells[{number}]"
        if cell.encoder not in names:
            raise UserError(f"{at}.encoder is {cell.encoder!r}, which is not among its encoders: {', '.join(names)}")
        if f"{cell.task}/{cell.split}" not in submission.splits:
            raise UserError(f"{at} is of {cell.task}/{cell.split}, of which splits gives no hash")
        if (place := (cell.task, cell.split, cell.encoder, cell.protocol)) in seen:
            raise UserError(f"{at} is there twice: {', '.join(place)}")
        seen.add(place)
        _check_cell(cell, at)


def _check_cell(cell: Cell, at: str) -> None:
    """What is wrong whatever the task."""
    if cell.num_seeds < 1:
        raise UserError(f"{at}.num_seeds is {cell.num_seeds}; it must be 1 or more")
    _at_least_0(f"{at}.num_fits", cell.num_fits)
    _at_least_0(f"{at}.seconds", cell.seconds)
    if not cell.scores:
        raise UserError(f"{at}.scores is empty")
    if len({score.metric for score in cell.scores}) < len(cell.scores):
        raise UserError(f"{at}.scores has a metric twice")
    for place, score in enumerate(cell.scores):
        _check_score(score, cell.num_seeds, f"{at}.scores[{place}]")
    for place, each in enumerate(cell.per_class):
        _at_least_0(f"{at}.per_class[{place}].support", each.support)
        for name, value in (("precision", each.precision), ("recall", each.recall), ("f1", each.f1)):
            _share(f"{at}.per_class[{place}].{name}", value)
    for row, counts in enumerate(cell.confusion):
        if len(counts) != len(cell.confusion):
            raise UserError(f"{at}.confusion[{row}] has {len(counts)} columns, there are {len(cell.confusion)} rows")
        for column, count in enumerate(counts):
            _at_least_0(f"{at}.confusion[{row}][{column}]", count)
    for place, one in enumerate(cell.timelines):
        if not len(one.times) == len(one.truth) == len(one.predicted):
            raise UserError(f"{at}.timelines[{place}] has more times than labels, or fewer")
        if any(later <= earlier for earlier, later in pairwise(one.times)):
            raise UserError(f"{at}.timelines[{place}].times do not ascend")


def _check_score(score: Score, num_seeds: int, here: str) -> None:
    _share(f"{here}.estimate", score.estimate)
    for number, value in enumerate(score.seeds):
        _share(f"{here}.seeds[{number}]", value)
    if score.seeds and len(score.seeds) != num_seeds:
        raise UserError(f"{here}.seeds has {len(score.seeds)} values, num_seeds is {num_seeds}")
    if not 0 < score.level < 1:
        raise UserError(f"{here}.level is {score.level}; it lies between 0 and 1, such as 0.95")
    if (score.low is None) != (score.high is None):
        raise UserError(f"{here} has only one end of its interval")
    if score.low is not None and score.high is not None:
        _share(f"{here}.low", score.low)
        _share(f"{here}.high", score.high)
        if not score.low <= score.estimate <= score.high:
            raise UserError(f"{here}.estimate {score.estimate} lies outside {score.low} to {score.high}")


def _share(where: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"{where} is {value}; scores lie in 0 to 1")


def _at_least_0(where: str, value: float) -> None:
    if value < 0:
        raise UserError(f"{where} is {value}; it must not be below 0")
