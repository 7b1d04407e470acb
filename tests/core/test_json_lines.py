"""A look at a large file of JSON lines finds what reading it whole would find, and passes over what is torn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surgrec.core.json_lines import JsonLines


def write(path: Path, number: int, end: str = "") -> Path:
    lines = [json.dumps({"step": step, **({"alarm": f"at {step}"} if step % 7 == 3 else {})}) for step in range(number)]
    path.write_text("".join(line + "\n" for line in lines) + end)
    return path


@pytest.mark.parametrize("number", [1, 2, 50])
@pytest.mark.parametrize("end", ["", '{"step": 99, "alarm": "ha'])
def test_lines_are_found_from_either_end_and_by_key(number: int, end: str, tmp_path: Path) -> None:
    with JsonLines(write(tmp_path / "lines", number, end)) as lines:
        assert len(lines) == number
        for wanted in (1, 3, 1000):
            assert [line["step"] for line in lines.last(wanted)] == list(range(number))[-wanted:]
        assert [line["alarm"] for line in lines.having("alarm")] == [f"at {step}" for step in range(3, number, 7)]
        assert list(lines.having("step 1")) == []
        assert (lines.is_unfinished, lines.num_torn) == (bool(end), 0)


def test_a_place_in_the_middle_is_a_whole_line_near_it(tmp_path: Path) -> None:
    with JsonLines(write(tmp_path / "lines", 1000)) as lines:
        found = [lines.at(share) for share in (0.0, 0.25, 0.5, 0.999, 1.0)]
    steps = [line["step"] for line in found[:4] if line is not None]
    assert len(steps) == 4 and found[4] is None
    assert steps == pytest.approx([0, 250, 500, 999], abs=15)


def test_torn_lines_are_passed_over_and_counted_once(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text('{"step": 1}\n{"step": 2, "al\n[3]\n\n{"step": 4, "alarm": "a"}\n')
    with JsonLines(tmp_path / "lines") as lines:
        for _ in range(2):
            assert [line["step"] for line in lines.last(9)] == [1, 4]
            assert [line["step"] for line in lines.having("alarm")] == [4]
        assert lines.num_torn == 3 and not lines.is_unfinished and len(lines) == 5


@pytest.mark.parametrize("text", [None, "", '{"step": 1'])
def test_no_whole_line_is_none(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "lines").write_text(text)
    with JsonLines(tmp_path / "lines") as lines:
        assert (len(lines), lines.last(3), lines.at(0.5), list(lines.having("step"))) == (0, [], None, [])
        assert lines.is_unfinished == bool(text)
