"""A line of a step is written once, whatever was interrupted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from surgrec.data.clips import Failure
from surgrec.training.folder import RunFolder
from tests.training.tiny import lines_of

FAILURE = Failure(17, "alpha", "alpha_bad", "truncated", "alpha_good", "it ends early")


def folder_with_steps(path: Path, *steps: int) -> RunFolder:
    folder = RunFolder(path)
    for step in steps:
        folder.add_metrics({"step": step, "loss": 0.1 * step})
        folder.add_failures(step, [FAILURE])
    return folder


def test_lines_after_the_step_are_dropped_and_those_before_stay_as_they_are(tmp_path: Path) -> None:
    folder = folder_with_steps(tmp_path, 1, 2, 3, 4)
    before = folder.metrics_file.read_text().splitlines()
    folder.rewind(2)
    assert folder.metrics_file.read_text().splitlines() == before[:2]
    assert [line["step"] for line in lines_of(folder.failures_file)] == [1, 2]
    folder.add_metrics({"step": 3})
    assert [line["step"] for line in lines_of(folder.metrics_file)] == [1, 2, 3]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    folder = folder_with_steps(tmp_path, 1, 2)
    for torn in ('{"step": 1', '{"step": 2, "loss": 0.', "{", '{"loss": 1}', "null"):
        with folder.metrics_file.open("a") as file:
            file.write(torn)
        folder.rewind(2)
        assert [line["step"] for line in lines_of(folder.metrics_file)] == [1, 2]
        assert folder.metrics_file.read_text().endswith("}\n")


def test_a_line_is_whole_also_where_the_disk_takes_it_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    folder = folder_with_steps(tmp_path, 1, 2)
    assert [line["step"] for line in lines_of(folder.metrics_file)] == [1, 2]
    assert [line["step"] for line in lines_of(folder.failures_file)] == [1, 2]


def test_temporary_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    folder = folder_with_steps(tmp_path, 1)
    left = [folder.path / ".config.17.partial.yaml", folder.checkpoints / ".latest.17.partial"]
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.write_text("half a fi")
    folder.rewind(1)
    assert not any(file.exists() for file in left)
    assert len(lines_of(folder.metrics_file)) == 1


def test_rewinding_an_empty_folder_writes_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path).rewind(0)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_says_where_and_what_replaced_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.add_failures(4, [])
    assert not folder.failures_file.exists()
    folder.add_failures(5, [FAILURE, FAILURE])
    text = folder.failures_file.read_text()
    assert text.endswith("\n") and len(text.splitlines()) == 2
    assert json.loads(text.splitlines()[0]) == {
        "step": 5,
        "position": 17,
        "source": "alpha",
        "video_id": "alpha_bad",
        "reason": "truncated",
        "replaced_by": "alpha_good",
        "detail": "it ends early",
    }
