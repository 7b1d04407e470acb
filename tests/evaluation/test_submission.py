"""Results of others stand beside ours where they are of the same rows; whatever is wrong is named by its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.report import write_report
from surgrec.evaluation.results import FORMAT, Results, SplitFacts, TaskFacts
from surgrec.evaluation.submission import read_submission, with_submission

SPLIT = SplitFacts("official", "official", "0123456789abcdef", {"test": 9}, {"test": 3})
TASK = TaskFacts("cholec80", "Cholec80", "laparoscopy", "clips", ("a", "b"), (SPLIT,))
CLASS = {"class": "a", "precision": 0.8, "recall": 0.8, "f1": 0.8, "support": 5}
TIMELINE = {"video_id": "v", "times": [0, 1], "truth": [0, -1], "predicted": [0, 1]}
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


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


def write(folder: Path, values: dict[str, Any]) -> Path:
    (folder / "theirs.json").write_text(json.dumps(values))
    return folder / "theirs.json"


def test_a_good_one_stands_beside_ours(tmp_path: Path) -> None:
    results = with_submission(OURS, read_submission(write(tmp_path, content())))
    assert [encoder.name for encoder in results.encoders] == ["theirs"] and len(results.cells) == 1


def test_the_least_one_of_the_docs_is_read_and_shown(tmp_path: Path) -> None:
    said = (Path(__file__).parents[2] / "docs/benchmark.md").read_text()
    values = json.loads(said.partition("```json\n")[2].partition("```")[0])
    (place,) = values["splits"]
    task, _, split = place.partition("/")
    splits = (replace(SPLIT, name=split, hash=values["splits"][place]),)
    ours = replace(OURS, tasks=(replace(TASK, name=task, splits=splits),))
    write_report(with_submission(ours, read_submission(write(tmp_path, values))), tmp_path)
    assert "0.710" in (tmp_path / "report.md").read_text()


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
        (lambda v: v["encoders"].append(v["encoders"][0]), r"encoders\[1\].name is 'theirs', which another one has"),
        (lambda v: v["encoders"][0].update(num_parameters=-1), r"num_parameters is -1; it must not be below 0"),
        (lambda v: v["encoders"][0].update(title="\ud800"), "half a character"),
        (lambda v: v["encoders"][0]["weights"].update(id=[float("nan")]), r"weights.id\[0\] must be a finite number"),
        (lambda v: v["encoders"][0]["weights"].update(id=nested(30)), r"weights.id.* is nested deeper than 20 levels"),
        (lambda v: v["encoders"][0].update(num_parameters=10**400), r"num_parameters must be a whole number of at most"),
        (lambda v: v["cells"][0].update(seconds=10**400), r"seconds must be a finite number of at most"),
        (lambda v: v["cells"][0].update(seconds=-1.0), r"seconds is -1.0; it must not be below 0"),
        (lambda v: v["cells"][0].update(num_seeds=0), r"num_seeds is 0; it must be 1 or more"),
        (lambda v: v["cells"][0]["scores"].append(v["cells"][0]["scores"][0]), "scores has a metric twice"),
        (lambda v: v["cells"][0]["scores"][0].update(level=95.0), r"level is 95.0; it lies between 0 and 1"),
        (lambda v: v["cells"][0]["scores"][0].update(high=1.2), r"high is 1.2; scores lie in 0 to 1"),
        (lambda v: v["cells"][0]["scores"][0].update(seeds=[7.0]), r"seeds\[0\] is 7.0; scores lie in 0 to 1"),
        (lambda v: v["cells"][0]["scores"][0].update(seeds=[0.7, 0.7]), "seeds has 2 values, num_seeds is 1"),
        (lambda v: v["cells"][0].update(confusion=[[4, 1], [1]]), r"confusion\[1\] has 1 columns, there are 2 rows"),
        (lambda v: v["cells"][0].update(confusion=[[4, -1], [1, 3]]), r"confusion\[0\]\[1\] is -1"),
        (lambda v: v["cells"][0].update(per_class=[CLASS | {"recall": 1.5}]), r"per_class\[0\].recall is 1.5"),
        (lambda v: v["cells"][0].update(timelines=[TIMELINE | {"truth": [0]}]), r"timelines\[0\] has more times than labels"),
        (lambda v: v["cells"][0].update(timelines=[TIMELINE | {"times": [1, 0]}]), r"timelines\[0\].times do not ascend"),
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
        (lambda v: v["cells"][0].update(per_class=[CLASS | {"class": "c"}]), "per_class has 'c'; the classes of cholec80 are a, b"),
        (lambda v: v["cells"][0].update(timelines=[TIMELINE | {"truth": [0, 2]}]), "a class that is none of the 2 of cholec80"),
        (lambda v: v["cells"][0]["scores"][0].update(metric="balanced"), "metric is 'balanced'; choose of balanced accuracy"),
        (lambda v: v["cells"][0]["scores"][0].update(metric="F1@10"), r"metric is 'F1@10'; choose of balanced accuracy"),
    ],
)  # fmt: skip
def test_numbers_of_other_rows_stand_in_no_common_table(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        with_submission(OURS, read_submission(write(tmp_path, wrong(change))))


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    submission = read_submission(write(tmp_path, content()))
    with pytest.raises(UserError, match="a name that this benchmark has too"):
        with_submission(with_submission(OURS, submission), submission)


def test_whatever_may_stand_in_one_is_read_and_shown(tmp_path: Path) -> None:
    values = content()
    values["cells"][0] |= {"per_class": [CLASS], "timelines": [TIMELINE]}
    results = with_submission(OURS, read_submission(write(tmp_path, values)))
    page, text = write_report(results, tmp_path)
    assert "Theirs" in page.read_text() and "Theirs" in text.read_text()


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """A reader that takes the last one, and one that takes the first, would show two numbers."""
    text = json.dumps(content()).replace('"estimate": 0.7', '"estimate": 0.1, "estimate": 0.7')
    (tmp_path / "twice.json").write_text(text)
    with pytest.raises(UserError, match="the key 'estimate' is there twice"):
        read_submission(tmp_path / "twice.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_finite_number_is_refused_wherever_it_stands(tmp_path: Path, number: str) -> None:
    text = json.dumps(content()).replace('"frames": 16', f'"frames": {number}')
    (tmp_path / "numbers.json").write_text(text)
    with pytest.raises(UserError, match=r"encoders\[0\].geometry.frames must be a finite number"):
        read_submission(tmp_path / "numbers.json")


def test_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_submission(tmp_path)


def test_what_is_no_file_or_no_json_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no submission"):
        read_submission(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON file"):
        read_submission(tmp_path / "bad.json")
