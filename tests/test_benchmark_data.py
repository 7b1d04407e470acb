"""`surgrec benchmark.data`: what is there, what is missing where, and the hashes of splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.__main__ import main
from surgrec.evaluation.tasks.catalog import read_tasks
from tests.corpus.published_splits import write_leaking_set
from tests.evaluation.tasks import archives


def test_check_says_what_is_ready_and_what_is_missing_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archives.autolaparo(tmp_path / "autolaparo")
    archives.cholec80(tmp_path / "cholec80")
    for number in (3, 77):
        (tmp_path / f"cholec80/phase_annotations/video{number:02d}-phase.txt").unlink()
    assert main(["benchmark.data", "check", "--root", str(tmp_path)]) == 2
    told = capsys.readouterr().out
    assert "autolaparo: ready" in told and "there   21 of 21 videos/[0-9][0-9].mp4" in told
    task = read_tasks("autolaparo", tmp_path / "autolaparo")[0]
    assert f"official split 10_4_7: 10 / 4 / 7, hash {task.split_hash(task.splits[0])}" in told
    assert "cholec80: not ready" in told and "MISSING 78 of 80 phase_annotations/video*-phase.txt" in told
    assert "expected phase_annotations/video03-phase.txt" in told
    assert "pitvis: absent; its archive belongs in a folder of that name" in told and "1 of 19 datasets ready" in told


def test_what_was_not_asked_for_may_be_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archives.autolaparo(tmp_path / "autolaparo")
    assert main(["benchmark.data", "check", "--root", str(tmp_path)]) == 0
    assert main(["benchmark.data", "check", "--root", str(tmp_path / "autolaparo"), "autolaparo"]) == 0, (
        "the folder itself"
    )
    assert main(["benchmark.data", "check", "--root", str(tmp_path), "autolaparo", "grasp"]) == 2
    assert "grasp: absent" in capsys.readouterr().out
    assert main(["benchmark.data", "check", "--root", str(tmp_path / "nowhere")]) == 2
    assert main(["benchmark.data", "check", "--root", str(tmp_path), "autolapro"]) == 2
    errors = capsys.readouterr().err
    assert "there is no folder" in errors and "did you mean 'autolaparo'" in errors


def test_odd_input_is_a_sentence_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archives.put(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    for flags, said in (
        (["check", "--root", str(tmp_path / "file")], "there is no folder"),
        (["check", "--root", str(tmp_path / "empty"), "cholec80"], "80 videos"),
        (["audit", "--lists", str(tmp_path / "file"), "--root", str(tmp_path)], "expected train.csv"),
        (["audit", "--lists", str(tmp_path / "nowhere"), "--root", str(tmp_path)], "expected train.csv"),
    ):
        assert main(["benchmark.data", *flags]) == 2
        told = capsys.readouterr()
        assert said in told.out + told.err and "Traceback" not in told.err
    archives.put(tmp_path / "cholec80")
    assert main(["benchmark.data", "check", "--root", str(tmp_path)]) == 0, "a file of that name is no archive"
    assert "cholec80: absent" in capsys.readouterr().out


def test_one_archive_that_fails_leaves_what_is_said_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("autolaparo", "pitvis"):
        getattr(archives, name)(tmp_path / name)
    is_file = Path.is_file

    def refused(path: Path) -> bool:
        if path.name == "label_03.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    assert main(["benchmark.data", "check", "--root", str(tmp_path)]) == 2
    told = capsys.readouterr().out
    assert "autolaparo: not ready" in told and "Permission denied" in told and "pitvis: ready" in told


def test_list_names_every_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark.data", "list"]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 38 and "GraSP (robotic, an extra)" in told


def test_audit_prints_the_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_leaking_set(tmp_path / "set", tmp_path / "data")
    flags = ["--lists", str(tmp_path / "set"), "--root", str(tmp_path / "data")]
    assert main(["benchmark.data", "audit", *flags]) == 2
    told = capsys.readouterr().out
    assert "hash " in told and "beside each number: " in told and "error" in told
