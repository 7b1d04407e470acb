"""Results as JSON: what is written is read again, and what is not results is refused with its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.results_json import plain, read_results, write_results
from tests.evaluation.report.example import example


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    results = example()
    write_results(results, tmp_path / "results.json")
    assert plain(read_results(tmp_path / "results.json")) == plain(results)
    assert "class" in json.loads((tmp_path / "results.json").read_text())["cells"][0]["per_class"][0]


DAMAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another format": (lambda content: content.update(format=2), "format 2"),
    "a key too many": (lambda content: content.update(extra=1), "unknown key 'extra'"),
    "a key too few": (lambda content: content.pop("tasks"), "lacks tasks"),
    "a number as text": (
        lambda content: content["cells"][1]["scores"][0].update(estimate="0.9"),
        "cells[1].scores[0].estimate must be",
    ),
    "a number that is none": (
        lambda content: content["cells"][0].update(seconds=float("nan")),
        "cells[0].seconds must be a finite number",
    ),
    "true as a count": (
        lambda content: content["cells"][0].update(num_fits=True),
        "cells[0].num_fits must be a whole number",
    ),
    "a text as a list": (lambda content: content["tasks"][0].update(classes="abc"), "tasks[0].classes must be a list"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_results_is_refused_with_its_key(damage: str, tmp_path: Path) -> None:
    content, (change, told) = plain(example(2, 1)), DAMAGES[damage]
    change(content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_results(tmp_path / "results.json")
    assert told in str(caught.value) and str(tmp_path) in str(caught.value)


def test_what_is_not_there_or_no_json_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results at"):
        read_results(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match="is not a JSON file"):
        read_results(tmp_path / "results.json")
