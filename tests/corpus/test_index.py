"""`surgrec index`: adds, keeps, drops, and ends with one sentence where the user must mend something."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from surgrec.core.console import run_command
from surgrec.core.lock import only_writer
from surgrec.corpus import scan as scan_module
from surgrec.corpus.journal import Journal
from surgrec.corpus.lines import read_lines
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
    assert shown.err.startswith(f"refused 1: 1 not_a_video; which, is in {out.with_name('manifest.refusals.jsonl')}")
    assert "broken" not in shown.err
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


def test_show_paths_names_what_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.mp4").write_bytes(b"x" * 999)
    assert index(folder, tmp_path / "m.parquet", "--show-paths") == 0
    assert "\n  broken.mp4: not_a_video (" in capsys.readouterr().err


def test_sources_and_roots_live_side_by_side(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifest.parquet"
    assert index(folder / "case_1", out, source="first") == 0
    assert index(folder / "case_2", out, source="second") == 0
    assert sorted(Manifest.read([out]).sources) == ["first", "first", "second"]
    (folder / "case_3").mkdir()
    (folder / "case_1" / "b.mkv").rename(folder / "case_3" / "b.mkv")
    assert index(folder / "case_3", out, source="first") == 0  # a second folder of the first source
    assert sorted(Manifest.read([out]).sources) == ["first", "first", "second"]


def test_order_of_work_does_not_matter(folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    for out, numbers in ((one, (1, 2)), (two, (2, 1))):
        for number in numbers:
            assert index(folder / f"case_{number}", out, source=f"source{number}") == 0
    assert Manifest.read([one]).table.equals(Manifest.read([two]).table)


# -- the same bytes twice


def test_bytes_of_another_source_stay_out_and_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "m.parquet", tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "case_1" / "a.mp4", other / "renamed.mp4")
    shutil.copy(folder / "case_1" / "b.mkv", other / "new.mkv")
    with (other / "new.mkv").open("ab") as file:
        file.write(bytes(9))  # other bytes
    shutil.copy(other / "new.mkv", other / "new2.mkv")
    assert index(folder, out, source="first") == 0
    first = Manifest.read([out]).table.to_pylist()[0]
    capsys.readouterr()
    assert index(other, out, source="second") == 0
    said = capsys.readouterr()
    assert "the same bytes: 1 twice in this folder, 1 in first; each is listed once" in said.out
    assert "refused 2: 1 duplicate, 1 in_other_source" in said.err or "1 in_other_source, 1 duplicate" in said.err
    assert sorted(Manifest.read([out]).sources) == ["first"] * 3 + ["second"]
    lines = [json.loads(line) for line in out.with_name("m.refusals.jsonl").read_text().splitlines()]
    (refused,) = [line for line in lines if line["reason"] == "in_other_source"]
    assert refused["same_bytes"] == first["video_id"] and refused["video_id"].startswith("second_")
    assert refused["group_id"].startswith("second_g")

    assert index(folder, out, source="first") == 0  # who was first stays
    assert sorted(Manifest.read([out]).sources) == ["first"] * 3 + ["second"]
    assert index(other, out, "--keep-duplicates", source="second") == 0
    assert sorted(Manifest.read([out]).sources) == ["first"] * 3 + ["second"] * 2
    for root, source in ((folder, "first"), (other, "second")):  # and what is listed stays, whoever is looked at again
        assert index(root, out, source=source) == 0
        assert sorted(Manifest.read([out]).sources) == ["first"] * 3 + ["second"] * 2


def test_a_source_of_copies_alone_changes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.parquet"
    assert index(folder, out, source="first") == 0
    before = out.read_bytes()
    assert index(folder, out, source="second") == 2
    assert "none of 3 videos" in (said := capsys.readouterr().err) and "3 in_other_source" in said
    assert out.read_bytes() == before


def test_the_same_video_under_another_root_moves(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.parquet"
    assert index(folder, out) == 0
    names = set(Manifest.read([out]).video_ids.tolist())
    copied = shutil.copytree(folder / "case_1", tmp_path / "copied")
    capsys.readouterr()
    assert index(Path(copied), out) == 0
    assert (
        "2 were listed under another folder of this source and are taken from this one now" in capsys.readouterr().out
    )
    assert set(Manifest.read([out]).video_ids.tolist()) == names


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


def test_nothing_readable_writes_no_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "videos", tmp_path / "manifest.parquet"
    root.mkdir()
    (root / "a.mp4").touch()
    (root / "b.mp4").write_bytes(b"garbage" * 100)
    assert index(root, out) == 2
    said = capsys.readouterr().err
    assert "refused 2: " in said and "a.mp4" not in said
    assert "none of 2 videos" in said.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.refusals.jsonl", "videos"]


# -- interruptions


def test_interrupting_keeps_what_was_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "manifest.parquet"
    shutil.copytree(folder / "case_2", tmp_path / "old")
    with (next((tmp_path / "old").iterdir())).open("ab") as file:
        file.write(bytes(9))
    assert index(tmp_path / "old", out, source="old") == 0
    before = out.read_bytes()
    with monkeypatch.context() as patched:
        for count in (0, 2):
            patched.setattr(scan_module, "map_isolated", interrupted_after(count))
            assert index(folder, out) == 130
            assert out.read_bytes() == before
    assert "run the same command again" in capsys.readouterr().err
    assert index(folder, out) == 0
    assert "1 read, 2 known already" in capsys.readouterr().out
    assert sorted(Manifest.read([out]).sources) == ["old", "src", "src", "src"]
    assert not out.with_name("manifest.journal.jsonl").exists()


def test_dying_between_manifest_and_journal_is_no_matter(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.parquet"
    (tmp_path / ".m.4711.partial.parquet").write_bytes(b"half")  # of a process that was killed while it wrote
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "forget", interrupt)
        assert index(folder, out) == 130
    before = out.read_bytes()
    assert index(folder, out) == 0
    assert "nothing is left to do" in capsys.readouterr().out and out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.parquet", "videos"]


def test_two_at_once_are_one_too_many(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with only_writer(tmp_path / "m.parquet"):
        assert index(folder, tmp_path / "m.parquet") == 2
    assert "another surgrec command is writing" in capsys.readouterr().err
    assert index(folder, tmp_path / "m.parquet") == 0


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def copies(root: Path, video: Path, count: int) -> None:
    """`count` playable files of different bytes: an mp4 may end with a box that players skip."""
    content = video.read_bytes()
    for number in range(count):
        file = root / f"case_{number % 7}" / f"{number}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content + b"\0\0\0\x10free" + number.to_bytes(8, "big"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_ends_with_the_same_manifest(folder: Path, tmp_path: Path, seed: int) -> None:
    """Some files are damaged; what was read is not read again, and the manifest is at all times whole or absent."""
    root, out, chance = tmp_path / "many", tmp_path / "killed.parquet", random.Random(seed)
    copies(root, folder / "case_1" / "a.mp4", 400)
    for number in range(0, 400, 40):
        (root / f"broken{number}.mp4").write_bytes(b"x" * (number + 1))
    shutil.copy(root / "case_0" / "0.mp4", root / "case_1" / "copy.mp4")
    assert index(root, tmp_path / "whole.parquet", "--workers", "2") == 0

    command = [sys.executable, "-m", "surgrec.index", "--root", str(root), "--out", str(out)]
    command += ["--source", "src", "--domain", "other", "--workers", "2"]
    journal, num_kept, num_kills = out.with_name("killed.journal.jsonl"), 0, 0
    while not out.exists():
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wanted = num_kept + chance.randint(0, 150)
            while process.poll() is None and (journal.read_bytes().count(b"\n") if journal.exists() else 0) < wanted:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.02))
            if process.poll() is None:
                num_kills += 1
            process.kill()
        if journal.exists():
            assert len(read_lines(journal)[0]) >= num_kept  # nothing is lost
            num_kept = len(read_lines(journal)[0])
        assert num_kills < 60
    assert num_kills >= 3
    assert index(root, out, "--workers", "2") == 0  # after a kill that came once the manifest was written
    whole, killed = (Manifest.read([tmp_path / f"{name}.parquet"]).table for name in ("whole", "killed"))
    assert killed.equals(whole) and len(whole) == 400
    lists = [(tmp_path / f"{name}.refusals.jsonl").read_text() for name in ("whole", "killed")]
    assert lists[0] == lists[1] and lists[0].count("\n") == 11
    assert {path.name for path in tmp_path.iterdir()} == {
        *("videos", "many", "whole.parquet", "whole.refusals.jsonl", "killed.parquet", "killed.refusals.jsonl")
    }


@pytest.mark.slow
def test_as_a_program(folder: Path, tmp_path: Path) -> None:
    """Through the interpreter, with worker processes, silent where stderr is no terminal."""
    command = [sys.executable, "-m", "surgrec.index", "--root", str(folder), "--out", str(tmp_path / "m.parquet")]
    done = subprocess.run([*command, "--source", "s", "--domain", "other"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 read" in done.stdout
    helped = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, check=True)
    assert "example: surgrec index" in helped.stdout
