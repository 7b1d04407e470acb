"""The command: any kind of input, continued where it was left, and one sentence for what the user must mend."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from surgrec import extract
from surgrec.core.console import run_command
from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from surgrec.features import extraction
from surgrec.features.store import open_store
from tests.hub.build import written

VideoOf = Callable[[float], Path]


@pytest.fixture
def folder(tmp_path: Path, video: VideoOf) -> Path:
    """Three videos of a patient whose name is in every path."""
    place = tmp_path / "Erika_Muster"
    place.mkdir()
    for seconds in (0.4, 2.0, 4.2):
        shutil.copy(video(seconds), place / f"Muster_{seconds}.mp4")
    return place


@pytest.fixture
def manifest(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "manifest.parquet"
    Manifest(scan(folder, Card("cholec", "laparoscopy")).rows).write(path)
    return path


def run(*arguments: object) -> int:
    return run_command(lambda: extract.main(["--threads", "1", "--device", "cpu", *map(str, arguments)]))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        extract.main(["--help"])
    assert caught.value.code == 0
    assert "example: surgrec extract" in capsys.readouterr().out


def test_both_formats_of_a_manifest_hold_the_same(release: Path, manifest: Path, tmp_path: Path) -> None:
    for file_format in ("zarr", "parquet"):
        out = tmp_path / file_format
        assert run("--model", release, "--videos", manifest, "--out", out, "--format", file_format) == 0
    one, two = open_store(tmp_path / "zarr"), open_store(tmp_path / "parquet")
    ids = set(Manifest.read([manifest]).video_ids.tolist())
    assert one.video_ids() == two.video_ids() == ids and one.origin == two.origin
    for video_id in ids:
        for name, column in vars(one.read(video_id)).items():
            np.testing.assert_array_equal(column, vars(two.read(video_id))[name])


def test_the_same_command_has_nothing_left_to_do(
    release: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("--model", release, "--videos", manifest, "--out", tmp_path / "out")
    assert run(*command) == 0
    assert "3 videos added" in capsys.readouterr().out
    before = files(tmp_path / "out")
    assert run(*command) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("file_format", ["zarr", "parquet"])
def test_an_interrupted_extraction_continues_to_the_same_bytes(
    release: Path, manifest: Path, tmp_path: Path, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(out: str) -> int:
        return run("--model", release, "--videos", manifest, "--out", tmp_path / out, "--format", file_format)

    assert command("whole") == 0
    extract_one, seen = extraction.Extractor.extract, []

    def interrupted(self: extraction.Extractor, path: Path, seconds: float):  # type: ignore[no-untyped-def]
        seen.append(path)
        for batch in extract_one(self, path, seconds):
            yield batch
            if len(seen) == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(extraction.Extractor, "extract", interrupted)
        assert command("parts") == 130
    assert len(open_store(tmp_path / "parts").video_ids()) == 1
    assert command("parts") == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_another_model_is_refused(
    release: Path, video: VideoOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(tmp_path / "other", seed=1)
    assert run("--model", release, "--videos", video(2.0), "--out", tmp_path / "out") == 0
    assert run("--model", other, "--videos", video(2.0), "--out", tmp_path / "out") == 2
    assert "another extraction (different: model_sha256)" in capsys.readouterr().err


def test_a_folder_gets_a_ledger_and_the_features_name_nobody(
    release: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.mp4").write_bytes(b"nothing" * 50)
    out = tmp_path / "features"
    assert run("--model", release, "--videos", folder, "--out", out) == 0
    said = capsys.readouterr()
    assert "refused 1: 1 not_a_video" in said.err and "broken" not in said.err and "features.videos.parquet" in said.out
    ledger = Manifest.read([tmp_path / "features.videos.parquet"])
    assert open_store(out).video_ids() == set(ledger.video_ids.tolist()) and len(ledger) == 3
    for name, content in files(out).items():
        assert b"Muster" not in content and "Muster" not in name
    assert run("--model", release, "--videos", folder, "--out", out) == 0
    assert "nothing is left to do" in capsys.readouterr().out


def test_a_single_file_is_named_by_its_content(
    release: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--model", release, "--videos", folder / "Muster_2.0.mp4", "--out", tmp_path / "out") == 0
    (video_id,) = open_store(tmp_path / "out").video_ids()
    said = capsys.readouterr().out
    assert video_id in said and "Muster" not in said
    shutil.copy(folder / "Muster_2.0.mp4", tmp_path / "renamed.mp4")
    assert run("--model", release, "--videos", tmp_path / "renamed.mp4", "--out", tmp_path / "out") == 0
    assert "nothing is left to do" in capsys.readouterr().out


def test_short_videos_can_be_left_out(
    release: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("--model", release, "--videos", manifest, "--out", tmp_path / "out", "--short", "skip")
    assert run(*command) == 0
    assert len(open_store(tmp_path / "out").video_ids()) == 2
    assert "1 video shorter than a window left out" in capsys.readouterr().err


def test_a_video_that_is_gone_does_not_stop_the_others(
    release: Path, manifest: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "Muster_2.0.mp4").rename(folder / "away")
    command = ("--model", release, "--videos", manifest, "--out", tmp_path / "out")
    assert run(*command) == 2
    error = capsys.readouterr().err
    assert "1 video could not be read: cholec_" in error and "(missing)" in error and "Muster" not in error
    assert len(open_store(tmp_path / "out").video_ids()) == 2
    (folder / "away").rename(folder / "Muster_2.0.mp4")
    assert run(*command) == 0
    assert len(open_store(tmp_path / "out").video_ids()) == 3


def test_what_the_user_must_mend_is_one_sentence(
    release: Path, video: VideoOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no video")
    out = tmp_path / "out"
    for arguments in (
        ("--model", tmp_path / "absent", "--videos", video(2.0), "--out", out),
        ("--model", release, "--videos", tmp_path / "absent.mp4", "--out", out),
        ("--model", release, "--videos", tmp_path / "empty", "--out", out),
        ("--model", release, "--videos", tmp_path / "notes.txt", "--out", out),
        ("--model", release, "--videos", video(2.0), "--out", out, "--stride-seconds", 0),
        ("--model", release, "--videos", video(2.0), "--out", out, "--batch-size", 0),
        ("--model", release, "--videos", video(2.0), "--out", tmp_path / "notes.txt"),
    ):
        assert run(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, error
