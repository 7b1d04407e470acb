"""From recordings to a run, by the commands that a user types, on real surgery: what is planted in it is found, and no name comes out."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from surgrec.corpus.manifest import Manifest
from surgrec.synthetic.disguises import read_frames, write_copy
from tests.conftest import REPOSITORY, surgery_in
from tests.data.conftest import write_video
from tests.test_privacy import told_in
from tests.training.tiny import overrides

NAME = "Jane_Roe_1957"
WORKERS = ("--workers", "2")
# They map ids to files, or list files that were refused: private, as docs/ledger.md and `surgrec index` say.
PRIVATE = {"corpus.parquet", "tests.parquet", "corpus.refusals.jsonl"}
FRAMES = "data.frame_interval_seconds=0.1"  # four frames are in a clip of less than a second, too


class Told:
    """Runs commands as users do, and keeps all that they print."""

    def __init__(self) -> None:
        self.said = ""

    def __call__(self, command: str, *arguments: object, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "surgrec", command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=REPOSITORY,
        )
        assert done.returncode == status, done.stdout
        self.said += done.stdout
        return done.stdout


@pytest.fixture
def folders(clips: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Recordings of six patients, all of one name, and a test set: two of the recordings in disguise, one rendered that is innocent."""
    corpus, tests = tmp_path / "recordings", tmp_path / "held_out"
    for number, clip in enumerate(surgery_in(clips)):
        place = corpus / f"{NAME}_{number}" / f"{NAME}_left_eye_{number}.mp4"
        place.parent.mkdir(parents=True)
        place.symlink_to(clip)
    (corpus / f"{NAME}_broken.mp4").write_bytes(b"nothing" * 99)
    tests.mkdir()
    for clip, disguise in (("abdomen_540p25", "mirrored"), ("versius_cholecystectomy_254p10", "letterboxed")):
        (recording,) = (path for path in surgery_in(clips) if path.stem == clip)
        (tests / f"{NAME}_{disguise}").mkdir()
        write_copy(*read_frames(recording, 240), tests / f"{NAME}_{disguise}" / "copy.mp4", disguise, seed=0)
    (tests / f"{NAME}_new").mkdir()
    write_video(tests / f"{NAME}_new" / "innocent.mp4", 5, 96, 64)
    return corpus, tests


FOUND = r"the mixture shows material of test set [0-9a-f]{8} \(3 videos\) in 2 videos"


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_from_recordings_to_a_run(folders: tuple[Path, Path], tmp_path: Path) -> None:
    told, work = Told(), tmp_path / "work"
    corpus, tests, prepared = work / "corpus.parquet", work / "tests.parquet", work / "prepared" / "manifest.parquet"

    told("index", "--root", folders[0], "--out", corpus, "--source", "theatre", "--domain", "other", *WORKERS)
    told("index", "--root", folders[1], "--out", tests, "--source", "benchmark", "--domain", "other", *WORKERS)
    paths = dict(zip(*(Manifest.read([corpus]).table[name].to_pylist() for name in ("video_id", "path")), strict=True))
    assert len(paths) == 6 and all(NAME in path for path in paths.values())

    told("filter", "--manifest", corpus, *WORKERS)
    filtered = Manifest.read([corpus]).table.to_pylist()
    assert all(row["content_box"] for row in filtered) and sum(bool(row["usable"]) for row in filtered) >= 5

    audit = ("contamination", "--pretrain", corpus, "--downstream", tests, "--out", work / "audit.html", *WORKERS)
    told("audit", *audit, "--json", work / "audit.json", status=2)
    evidence = json.loads((work / "audit.json").read_text())["evidence"]
    originals = {(folders[0] / paths[one["video_id"]]).resolve().stem for one in evidence}
    assert originals == {"abdomen_540p25", "versius_cholecystectomy_254p10"}
    assert len({one["test_video_id"] for one in evidence}) == 2  # and nothing is said of the innocent one

    told("prepare", "--manifest", corpus, "--out", prepared.parent, "--short-side", 96, "--crf", 30, *WORKERS)
    assert set(Manifest.read([prepared]).video_ids.tolist()) == set(paths)

    told("corpus", "report", "--manifest", corpus, "--out", work / "report.html", *WORKERS)
    page = (work / "report.html").read_text()
    assert "Test material in 2 videos of 6." in page and page.count("data:image/jpeg") >= 6

    for variant in ("mae", "jepa"):
        run = overrides(variant, prepared, work / "runs", variant, "trainer.steps=3", FRAMES)
        if variant == "mae":  # the verdict on the recordings holds for their copies
            refused = told("train", *run, status=2)
            assert re.search(FOUND, refused) and not (work / "runs").exists()
        told("train", *run, "allow_contamination=true")
        assert len(losses(work / "runs" / variant)) == 3 and all(map(math.isfinite, losses(work / "runs" / variant)))
        told("export", "--run", work / "runs" / variant, "--out", work / f"{variant}-release")
        card = (work / f"{variant}-release" / "README.md").read_text()
        assert re.search(FOUND, card) and "allow_contamination was set" in card

    told("corpus", "ledger", "--manifest", corpus, "--videos")
    told("corpus", "remove", next(iter(paths)), "--manifest", corpus, prepared, "--runs", work / "runs")

    assert NAME not in told.said and "refused 1" in told.said
    files = [file for file in work.rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {
        *PRIVATE,
        "audit.html",
        "metrics.jsonl",
        "SHA256SUMS",
        "corpus.filters.parquet",
    }
    assert not any(NAME in str(file.relative_to(work)) for file in files)
    assert {file.name for file in files if NAME in told_in(file)} == PRIVATE
    columns = pq.read_table(corpus).drop_columns(["root", "path"]).to_pydict()
    assert NAME not in str(columns), "the map is the column of paths alone"
