"""What is refused: the private list, what the console says, and what the page says about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surgrec.corpus import refusal as module
from surgrec.corpus.refusal import Refusal, refusals_file, tell_refusals, write_refusals
from surgrec.video.errors import REASONS

PAGE = Path(__file__).parent.parent.parent / "docs" / "corpus_index.md"


def test_the_page_explains_every_reason() -> None:
    ours = {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}
    assert len(ours) == 7
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert [reason for reason in sorted(ours | REASONS.keys()) if not any(f"`{reason}`" in row for row in rows)] == []


def test_lines_of_other_sources_and_roots_stay(tmp_path: Path) -> None:
    file = refusals_file(tmp_path / "m.parquet")
    refusal = Refusal("a.mp4", "empty", "no bytes")
    for source, root in (("a", "one"), ("a", "two"), ("b", "one")):
        write_refusals(file, source, tmp_path / root, [refusal])
    assert len(file.read_text().splitlines()) == 3
    write_refusals(file, "a", tmp_path / "one", [refusal, Refusal("b.mp4", "duplicate", "", "a_1", "a_g", "a_0")])
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(entries) == 4 and entries[-1]["same_bytes"] == "a_0" and "same_bytes" not in entries[0]
    for source, root in (("a", "one"), ("a", "two"), ("b", "one")):
        write_refusals(file, source, tmp_path / root, [])
    assert not file.exists()


def test_names_are_told_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    refusals = [Refusal(f"{number}.mp4", "empty", "no bytes") for number in range(25)]
    tell_refusals(refusals, None, show_paths=False)
    assert capsys.readouterr().err == "refused 25: 25 empty\n"
    tell_refusals(refusals, Path("list"), show_paths=True)
    said = capsys.readouterr().err
    assert (
        "which, is in list" in said
        and "  19.mp4: empty (no bytes)" in said
        and "20.mp4" not in said
        and "5 more" in said
    )
    tell_refusals([], None, show_paths=True)
    assert capsys.readouterr().err == ""
