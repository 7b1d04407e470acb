"""`surgrec index`: adds, keeps, drops, and ends with one sentence where the user must mend something."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec.core.console import run_command
from surgrec.corpus import scan as scan_module
from surgrec.corpus.manifest import Manifest
from surgrec.index import main
from tests.corpus.conftest import NAME_OF_PATIENT
from tests.corpus.test_scan import interrupted_after


def index(root: Path, out: Path, *flags: str, source: str = "src") -> int:
    """Exit status of the command, in this process."""
    owner = () if "--card" in flags else ("--source", source, "--domain", "other")
    arguments = ["--root", str(root), "--out", str(out), *owner, "--workers", "0", *flags]
    return run_command(lambda: main(arguments))


def test_index_and_index_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "manifest.parquet"
    (folder / "broken.mp4").write_bytes(b"x" * 999)
    assert index(folder, out) == 0
    assert len(Manifest.read([out])) == 3
    shown = capsys.readouterr()
    assert "refused broken.mp4: not_a_video" in shown.err
    assert "3 read, 0 known already, 1 refused" in shown.out
    assert NAME_OF_PATIENT not in shown.out + shown.err
    refusals = [json.loads(line) for line in (out.parent / "manifest.refusals.jsonl").read_text().splitlines()]
    assert [(entry["source"], entry["path"], entry["reason"]) for entry in refusals] == [
        ("src", "broken.mp4", "not_a_video")
    ]

    written = out.read_bytes()
    assert index(folder, out) == 0
    assert "0 read, 3 known already" in (said := capsys.readouterr().out)
    assert "nothing is left to do" in said
    assert out.read_bytes() == written

    (folder / "broken.mp4").unlink()
    shutil.copy(folder / "case_1" / "b.mkv", tmp_path / "kept.mkv")
    (folder / "case_1" / "b.mkv").unlink()
    assert index(folder, out) == 0
    assert "1 dropped" in capsys.readouterr().out
    assert len(Manifest.read([out])) == 2
    assert not (out.parent / "manifest.refusals.jsonl").exists()

    shutil.copy(tmp_path / "kept.mkv", folder / "new.mkv")
    assert index(folder, out) == 0
    assert "1 read, 2 known already" in capsys.readouterr().out
    assert len(Manifest.read([out])) == 3


def test_sources_and_roots_live_side_by_side(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifest.parquet"
    assert index(folder / "case_1", out, source="first") == 0
    assert index(folder / "case_2", out, source="second") == 0
    assert sorted(Manifest.read([out]).sources) == ["first", "first", "second"]
    assert index(folder / "case_2", out, source="first") == 0  # a second folder of the first source
    assert sorted(Manifest.read([out]).sources) == ["first", "first", "first", "second"]


def test_order_of_work_does_not_matter(folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    for out, sources in ((one, ("a", "b")), (two, ("b", "a"))):
        for source in sources:
            assert index(folder, out, source=source) == 0
    assert Manifest.read([one]).table.equals(Manifest.read([two]).table)


def test_a_card(folder: Path, tmp_path: Path) -> None:
    card, out = tmp_path / "card.yaml", tmp_path / "manifest.parquet"
    card.write_text("name: eyes\ndomain: cataract\nlicence: MIT\n")
    assert index(folder, out, "--card", str(card), "--procedure", "phaco") == 0
    row = Manifest.read([out]).table.to_pylist()[0]
    assert (row["source"], row["domain"], row["licence"], row["procedure"]) == ("eyes", "cataract", "MIT", "phaco")


def test_a_shipped_card_by_its_name(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "manifest.parquet"
    (folder / "case_1" / "a.mp4").rename(folder / "video_07.mp4")
    assert index(folder, out, "--card", "pitvis") == 0
    (row,) = Manifest.read([out]).table.to_pylist()  # the others fit no file pattern of the card
    assert (row["source"], row["licence"]) == ("pitvis", "CC-BY-NC-ND-4.0")
    assert row["procedure"] == "endoscopic pituitary surgery" and row["path"] == "video_07.mp4"
    assert index(folder, out, "--card", "gynsurg") == 0
    assert {row["licence"] for row in Manifest.read([out]).table.to_pylist() if row["source"] == "gynsurg"} == {None}
    assert (
        index(folder, out, "--card", "gynsurg", "--licence", "own", "--group-pattern", "(.)", "--procedure", "x") == 0
    )
    rows = [row for row in Manifest.read([out]).table.to_pylist() if row["source"] == "gynsurg"]
    assert {(row["licence"], row["procedure"]) for row in rows} == {("own", "x")}
    for name, words in (("cholect50", "is given out as frames"), ("pitviz", "did you mean pitvis")):
        assert index(folder, out, "--card", name) == 2
        assert words in capsys.readouterr().err


def test_mistakes_end_with_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "manifest.parquet"
    (tmp_path / "empty").mkdir()
    (tmp_path / "card.yaml").write_text("name: eyes\ndomain: cataract\n")
    (tmp_path / "text.parquet").write_text("no manifest")
    base = ["--root", str(folder), "--out", str(out)]
    owner = ["--source", "src", "--domain", "other"]
    for arguments, words in (
        (["--root", str(tmp_path / "nowhere"), "--out", str(out), *owner], "there is no folder"),
        (["--root", str(tmp_path / "empty"), "--out", str(out), *owner], "there are no video files"),
        (base, "--card CARD.yaml, or --source NAME and --domain DOMAIN"),
        ([*base, "--source", "src"], "--card CARD.yaml, or --source NAME and --domain DOMAIN"),
        ([*base, "--source", "src", "--domain", "eye"], "choose one of endoscopy"),
        ([*base, *owner, "--card", str(tmp_path / "card.yaml")], "not both"),
        ([*base, "--card", str(tmp_path / "none.yaml")], "there is no card"),
        ([*base, *owner, "--group-pattern", "("], "no regular expression"),
        (["--root", str(folder), "--out", str(tmp_path), *owner], "is a folder"),
        (["--root", str(folder), "--out", str(tmp_path / "text.parquet"), *owner], "not a Parquet file"),
    ):
        status = run_command(lambda arguments=arguments: main(arguments))
        said = capsys.readouterr().err
        assert status == 2, arguments
        assert words in said
        assert len(said.strip().splitlines()) == 1
        assert not out.exists()


def test_nothing_readable_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "videos", tmp_path / "manifest.parquet"
    root.mkdir()
    (root / "a.mp4").touch()
    (root / "b.mp4").write_bytes(b"garbage" * 100)
    assert index(root, out) == 2
    said = capsys.readouterr().err
    assert "refused a.mp4: empty" in said
    assert "none of the 2 videos" in said.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_interrupting_keeps_the_old_and_the_finished(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "manifest.parquet"
    assert index(folder / "case_2", out, source="old") == 0
    with monkeypatch.context() as patched:
        patched.setattr(scan_module, "map_isolated", interrupted_after(0))
        before = out.read_bytes()
        assert index(folder, out) == 130
        assert out.read_bytes() == before
        patched.setattr(scan_module, "map_isolated", interrupted_after(2))
        assert index(folder, out) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert sorted(Manifest.read([out]).sources) == ["old", "src", "src"]
    assert index(folder, out) == 0
    assert "1 read, 2 known already" in capsys.readouterr().out
    assert sorted(Manifest.read([out]).sources) == ["old", "src", "src", "src"]


def test_interrupting_forgets_no_row_that_was_not_reached(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "manifest.parquet"
    assert index(folder, out) == 0
    for path in folder.rglob("*.m*"):
        path.touch()  # all must be read again
    monkeypatch.setattr(scan_module, "map_isolated", interrupted_after(1))
    assert index(folder, out) == 130
    assert len(Manifest.read([out])) == 3


def test_as_a_program(folder: Path, tmp_path: Path) -> None:
    """Through the interpreter, with worker processes, silent where stderr is no terminal."""
    command = [sys.executable, "-m", "surgrec.index", "--root", str(folder), "--out", str(tmp_path / "m.parquet")]
    done = subprocess.run([*command, "--source", "s", "--domain", "other"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 read" in done.stdout
    helped = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, check=True)
    assert "example: surgrec index" in helped.stdout
