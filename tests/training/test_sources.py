"""Laws of what is told of sources: failures are counted once and of finished steps alone, the worst are shown first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surgrec.training.sources import FailureCount, describe_sources, source_numbers


def line(step: int, source: str) -> str:
    return json.dumps({"step": step, "source": source}) + "\n"


def test_failures_are_those_of_the_steps_before(tmp_path: Path) -> None:
    file = tmp_path / "failures.jsonl"
    count = FailureCount(file)
    assert count.before(3) == {}
    file.write_text(line(2, "a") + line(4, "a") + line(3, "b") + '{"step": 5, "sou')  # another rank is writing
    assert count.before(4) == {"a": 1, "b": 1}
    assert count.before(5) == {"a": 2, "b": 1}
    file.write_text(line(2, "a") + line(4, "a") + line(3, "b") + line(5, "b"))
    assert count.before(6) == {"a": 2, "b": 2}
    assert FailureCount(file).before(6) == {"a": 2, "b": 2}


def test_the_line_shows_what_fails_and_what_is_repeated() -> None:
    hours = {f"s{index}": 1.0 + index for index in range(9)}
    numbers = source_numbers(dict.fromkeys(hours, 7200.0), hours, {"s8": 4}, dict.fromkeys(hours, 1 / 9))
    assert numbers["source_shares"]["s3"] == pytest.approx(1 / 9, abs=1e-6)
    assert numbers["source_passes"]["s1"] == 1.0 and numbers["source_hours"]["s8"] == 2.0
    told = describe_sources(dict.fromkeys(hours, 3), numbers)
    assert told.startswith("sources  s8 3 clips 2.00 h 0.22 passes 4 failed; s0 3 clips 2.00 h 2.00 passes; s1")
    assert told.endswith("and 3 more in metrics.jsonl")
