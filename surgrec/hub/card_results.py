"""Results in a model card: where there are any, for people and for the hub's tables.

In: a file of results, or the probe of a run. Out: `Result`s, a Markdown table, and the hub's `model-index`. It is its own file because a
result is only worth something with its task, data and uncertainty, so a file that lacks one of the first two is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from surgrec.core.errors import UserError
from surgrec.hub.card_footage import UNKNOWN, cell


@dataclass(frozen=True)
class Result:
    """`value` of `metric` for `task` on `data`; `low` and `high` bound it where an interval was computed; `note`: how it was measured."""

    task: str
    data: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def read_results(path: Path) -> tuple[Result, ...]:
    """A JSON list of objects with the fields of `Result`. Raises `UserError`, naming the entry, for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there are no results at {path}; give --results a JSON file, or leave it out") from None
    except (ValueError, OSError) as error:
        raise UserError(f"the results {path} cannot be read as JSON: {' '.join(str(error).split())}") from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(f"the results {path} are no list of objects; see docs/releases.md")
    return tuple(_result(path, number, entry) for number, entry in enumerate(content))


def _result(path: Path, number: int, entry: dict[str, Any]) -> Result:
    known = {field.name for field in fields(Result)}
    lacking = {"task", "data", "metric", "value"} - entry.keys()
    if lacking or entry.keys() - known:
        wrong = (
            f"lacks {', '.join(sorted(lacking))}"
            if lacking
            else f"has the unknown {', '.join(sorted(entry.keys() - known))}"
        )
        raise UserError(f"entry {number} of the results {path} {wrong}; see docs/releases.md")
    for name in ("value", "low", "high"):
        value = entry.get(name)
        if name in entry and (
            isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
        ):
            raise UserError(f"entry {number} of the results {path} has {name} {value!r}, which is no number; mend it")
    for name in ("task", "data", "metric", "note"):
        if not isinstance(entry.get(name, ""), str):
            raise UserError(
                f"entry {number} of the results {path} has {name} {entry[name]!r}, which is no text; mend it"
            )
    return Result(**entry)


def evaluation(results: Sequence[Result]) -> str:
    """The section on results."""
    if not results:
        return f"Results on downstream tasks: {UNKNOWN}; none were recorded with this release."
    rows = [
        f"| {cell(one.task)} | {cell(one.data)} | {cell(one.metric)} | {one.value:.4g}{_interval(one)} | {cell(one.note)} |"
        for one in results
    ]
    return "\n".join(["| task | data | metric | value | how |", "|---|---|---|---|---|", *rows])


def model_index(name: str, results: Sequence[Result]) -> list[dict[str, Any]]:
    """The hub's form of the same (https://huggingface.co/docs/hub/model-cards#evaluation-results)."""
    return [
        {
            "name": name,
            "results": [
                {
                    "task": {"type": "video-classification", "name": one.task},
                    "dataset": {"name": one.data, "type": "-".join(one.data.lower().split())},
                    "metrics": [{"type": "-".join(one.metric.lower().split()), "value": one.value, "name": one.metric}],
                }
                for one in results
            ],
        }
    ]


def _interval(one: Result) -> str:
    return "" if one.low is None or one.high is None else f" ({one.low:.4g} to {one.high:.4g})"
