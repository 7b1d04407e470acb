"""A patient's name in folders, file names and metadata comes out nowhere but in the manifest and the private list of refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from surgrec.corpus.journal import Journal
from surgrec.corpus.manifest import Manifest
from tests.data.conftest import write_video
from tests.training.tiny import REPOSITORY, overrides

NAME = "DOE_JANE_1961"
PRIVATE = {"m.parquet", "m.refusals.jsonl", "features.videos.parquet", "features.videos.refusals.jsonl"}


def with_metadata(path: Path, number: int, **metadata: str) -> None:
    """A video whose container and stream carry the name, as recorders write it."""
    plain = path.with_name(f"plain{number}.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(plain, number, 64, 48)
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        new.metadata.update(metadata)
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.metadata.update(metadata)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    plain.unlink()
    assert all(text.encode() in path.read_bytes() for text in metadata.values())


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    for number in range(4):
        with_metadata(root / NAME / f"{NAME}_{number}.mp4", number, title=NAME, comment=f"patient {NAME}", artist=NAME)
    (root / NAME / f"{NAME} broken.mp4").write_bytes(b"nothing" * 99)
    (root / NAME / f"{NAME} copy.mp4").write_bytes((root / NAME / f"{NAME}_0.mp4").read_bytes())
    (root / f"{NAME} link.mp4").symlink_to(root / NAME / "gone.mp4")
    os.mkfifo(root / f"{NAME} pipe.mp4")
    return root


def said_by(*arguments: object, status: int = 0) -> str:
    """All that a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def told_in(file: Path) -> str:
    """All that a file says, compressed tables too."""
    table = str(pq.read_table(file, partitioning=None).to_pydict()) if file.suffix == ".parquet" else ""
    return table + file.read_bytes().decode(errors="replace")


@pytest.mark.slow
def test_from_folder_to_features(videos: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    manifest, runs = work / "m.parquet", work / "runs"
    index = ("surgrec.index", "--root", videos, "--out", manifest, "--source", "src", "--domain", "other")
    said = said_by(*index) + said_by(*index, "--workers", 0)
    said += said_by(*index, "--group-pattern", "matches(nothing)", status=2)
    said += said_by(
        "surgrec.index", "--root", videos, "--out", manifest, "--source", "two", "--domain", "other", status=2
    )
    first, *_ = Manifest.read([manifest]).table.to_pylist()
    assert NAME in first["path"] and NAME not in str({key: first[key] for key in first.keys() - {"path"}})
    said += said_by(
        "surgrec.corpus", "remove", first["video_id"], "--manifest", manifest, "--group", "--runs", work, status=0
    )
    assert len(Manifest.read([manifest], as_is=True)) == 0  # all of one patient
    manifest.unlink()
    (work / "m.ledger.jsonl").unlink()

    said += said_by(*index)
    (videos / NAME / f"{NAME}_3.mp4").unlink()  # a failure to be listed
    mae = overrides("mae", manifest, runs, "run", "trainer.steps=2")
    said += said_by("surgrec.train", *mae)
    assert (runs / "run" / "failures.jsonl").is_file()
    said += said_by("surgrec.corpus", "ledger", "--manifest", manifest, "--videos")
    said += said_by("surgrec.corpus", "report", "--manifest", manifest, "--out", work / "report.html")
    said += said_by("surgrec.export", "--run", runs / "run", "--out", work / "release")
    said += said_by("surgrec.extract", "--model", work / "release", "--videos", videos, "--out", work / "features")
    said += said_by("surgrec.corpus", "remove", first["video_id"], "--manifest", manifest, "--runs", runs)
    assert NAME not in said and "refused" in said

    files = [file for file in work.rglob("*") if file.is_file()]
    assert {file.name for file in files} >= PRIVATE | {"footage.jsonl", "metrics.jsonl", "m.ledger.jsonl", "README.md"}
    named = {file.name for file in files if NAME in told_in(file)}
    assert named == PRIVATE
    assert not any(NAME in str(file.relative_to(work)) for file in files)


def test_ids_hold_after_moving_and_renaming_and_say_nothing(videos: Path, tmp_path: Path) -> None:
    from surgrec.corpus.card import Card
    from surgrec.corpus.scan import scan

    before = scan(videos, Card("src", "other")).rows
    moved = videos.rename(tmp_path / "elsewhere")
    for number, file in enumerate(sorted((moved / NAME).glob(f"{NAME}_?.mp4"))):
        (moved / f"{number}").mkdir()
        file.rename(moved / f"{number}" / "video.mp4")
    (moved / NAME / f"{NAME} copy.mp4").unlink()
    after = scan(moved, Card("src", "other")).rows
    assert sorted(after["video_id"].to_pylist()) == sorted(before["video_id"].to_pylist())
    for rows in (before, after):
        assert all(NAME not in str(rows[name].to_pylist()) for name in ("video_id", "group_id", "source", "sha256"))


def test_the_journal_goes_with_the_last_of_its_names(videos: Path, tmp_path: Path) -> None:
    """While an index is interrupted its journal names files, as the manifest does; afterwards there is none."""
    with Journal(tmp_path / "j", "src", videos) as journal:
        journal.add(path=NAME)
        journal.forget()
    assert not (tmp_path / "j").exists()
