"""Results of others, in the form in which they can stand beside ours.

In: a JSON file. Out: `Submission`s, checked, and results that hold them. It is its own file because a number from elsewhere is believed
only where it is of the same rows: a submission names the hash of every split that it was measured on.

    {"format": 1, "encoders": [...], "splits": {"TASK/SPLIT": "HASH"}, "cells": [...]}

`encoders` and `cells` are as in `results.json` (surgrec/evaluation/results.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.results import Cell, EncoderFacts, Results
from surgrec.evaluation.results_json import record_of

FORMAT = 1
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no submission at {path}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a JSON file ({error})") from error
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
        classes = tasks[cell.task].classes
        if cell.confusion and len(cell.confusion) != len(classes):
            raise UserError(
                f"submission.cells[{number}].confusion has {len(cell.confusion)} rows, {cell.task} has {len(classes)} classes"
            )
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


def _check(submission: Submission, where: str) -> None:
    names = [encoder.name for encoder in submission.encoders]
    for number, encoder in enumerate(submission.encoders):
        if encoder.kind not in _KINDS:
            raise UserError(f"{where}.encoders[{number}].kind is {encoder.kind!r}; choose of {', '.join(_KINDS)}")
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
        if not cell.scores:
            raise UserError(f"{at}.scores is empty")
        for place_, score in enumerate(cell.scores):
            here = f"{at}.scores[{place_}]"
            if not 0 <= score.estimate <= 1:
                raise UserError(f"{here}.estimate is {score.estimate}; scores lie in 0 to 1")
            if (score.low is None) != (score.high is None):
                raise UserError(f"{here} has only one end of its interval")
            if score.low is not None and score.high is not None and not score.low <= score.estimate <= score.high:
                raise UserError(f"{here}.estimate {score.estimate} lies outside {score.low} to {score.high}")
