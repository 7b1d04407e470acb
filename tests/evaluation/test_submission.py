"""Results of others stand beside ours where they are of the same rows; whatever is wrong is named by its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.results import FORMAT, Results, SplitFacts, TaskFacts
from surgrec.evaluation.submission import read_submission, with_submission

SPLIT = SplitFacts("official", "official", "0123456789abcdef", {"test": 9}, {"test": 3})
TASK = TaskFacts("cholec80", "Cholec80", "laparoscopy", "clips", ("a", "b"), (SPLIT,))
OURS = Results(FORMAT, "ours", "2026-01-01", {}, (TASK,), (), ())


def content() -> dict[str, Any]:
    """A good one."""
    geometry = {"frames": 16, "seconds": 2.5, "pixels": 224}
    encoder = {
        "name": "theirs",
        "title": "Theirs",
        "kind": "foreign",
        "num_parameters": 7,
        "geometry": geometry,
        "weights": {},
    }
    score = {
        "metric": "balanced accuracy",
        "estimate": 0.7,
        "low": 0.6,
        "high": 0.8,
        "level": 0.95,
        "form": "jackknife",
        "seeds": [0.7],
    }
    cell = {
        "task": "cholec80",
        "split": "official",
        "encoder": "theirs",
        "protocol": "linear probe",
        "num_seeds": 1,
        "chosen": {},
    }
    cell |= {"num_fits": 1, "seconds": 1.0, "scores": [score], "confusion": [[4, 1], [1, 3]]}
    splits = {"cholec80/official": SPLIT.hash}
    return {"format": 1, "encoders": [encoder | {"contamination": {}}], "splits": splits, "cells": [cell]}


def write(folder: Path, values: dict[str, Any]) -> Path:
    (folder / "theirs.json").write_text(json.dumps(values))
    return folder / "theirs.json"


def test_a_good_one_stands_beside_ours(tmp_path: Path) -> None:
    results = with_submission(OURS, read_submission(write(tmp_path, content())))
    assert [encoder.name for encoder in results.encoders] == ["theirs"] and len(results.cells) == 1


def wrong(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    values = content()
    change(values)
    return values


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(format=2), "submission.format is 2"),
        (lambda v: v.update(cell=[]), "unknown key 'cell'"),
        (lambda v: v.pop("splits"), "lacks splits"),
        (lambda v: v["cells"][0].pop("scores"), r"cells\[0\] lacks scores"),
        (lambda v: v["cells"][0].update(scores=[]), r"cells\[0\].scores is empty"),
        (lambda v: v["cells"][0]["scores"][0].update(estimate="0.7"), r"cells\[0\].scores\[0\].estimate must be"),
        (lambda v: v["cells"][0]["scores"][0].update(estimate=70.0), r"scores\[0\].estimate is 70.0; scores lie in 0 to 1"),
        (lambda v: v["cells"][0]["scores"][0].update(low=None), r"scores\[0\] has only one end"),
        (lambda v: v["cells"][0]["scores"][0].update(low=0.75), r"estimate 0.7 lies outside 0.75 to 0.8"),
        (lambda v: v["cells"][0].update(encoder="others"), r"cells\[0\].encoder is 'others'"),
        (lambda v: v["cells"][0].update(split="mine"), r"cells\[0\] is of cholec80/mine, of which splits gives no hash"),
        (lambda v: v["cells"].append(v["cells"][0]), r"cells\[1\] is there twice"),
        (lambda v: v["encoders"][0].update(kind="best"), r"encoders\[0\].kind is 'best'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_submission(write(tmp_path, wrong(change)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["splits"].update({"cholec80/official": "f" * 16}), "it is of other rows"),
        (lambda v: v["splits"].update({"cholec80/other": "f" * 16}), "'cholec80/other', which this benchmark does not"),
        (lambda v: v["cells"][0].update(confusion=[[1]]), "has 1 rows, cholec80 has 2 classes"),
    ],
)
def test_numbers_of_other_rows_stand_in_no_common_table(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        with_submission(OURS, read_submission(write(tmp_path, wrong(change))))


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    submission = read_submission(write(tmp_path, content()))
    with pytest.raises(UserError, match="a name that this benchmark has too"):
        with_submission(with_submission(OURS, submission), submission)


def test_what_is_no_file_or_no_json_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no submission"):
        read_submission(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON file"):
        read_submission(tmp_path / "bad.json")
