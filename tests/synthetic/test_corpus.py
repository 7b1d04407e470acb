"""The corpus on disk: the same files whoever renders them, labels at the files' own times, re-runs that do nothing."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.corpus.card import load_card
from surgrec.corpus.manifest import Manifest
from surgrec.synthesize import main
from surgrec.synthetic.corpus import LABEL_COLUMNS, synthesize
from surgrec.synthetic.plan import make_plan


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny corpus, rendered in this process."""
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthesize(out, "tiny", seed=0, num_workers=0)
    return out


def digests(out: Path) -> dict[str, str]:
    """Hash of every video by relative path."""
    files = sorted(path for path in (out / "videos").rglob("*") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def times_in_file(path: Path) -> list[float]:
    """Presentation times of the decoded frames, from the first."""
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    return [time - times[0] for time in times]


@pytest.mark.slow
def test_the_files_do_not_depend_on_the_number_of_workers(corpus: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", "tiny", seed=0, num_workers=2)
    assert digests(tmp_path / "again") == digests(corpus)
    ids = [set(Manifest.read([out / "manifest.parquet"]).video_ids) for out in (corpus, tmp_path / "again")]
    assert ids[0] == ids[1]


def test_the_manifest_lists_every_video_of_the_plan(corpus: Path) -> None:
    plans = make_plan("tiny", seed=0)
    manifest = Manifest.read([corpus / "manifest.parquet"])
    assert len(manifest) == len(plans)
    assert set(manifest.column("domain")) == {"endoscopy", "laparoscopy", "cataract", "robotic"}
    assert len(set(manifest.column("group_id"))) == len({(plan.source.name, plan.case) for plan in plans})
    assert set(manifest.column("codec")) == {"h264"}
    for source in set(manifest.sources):
        assert load_card(corpus / "cards" / f"{source}.yaml").name == source


def test_labels_stand_at_the_times_of_the_frames_in_the_files(corpus: Path) -> None:
    manifest = Manifest.read([corpus / "manifest.parquet"])
    groups = manifest.column("group_id")
    assert {path.stem for path in (corpus / "labels").glob("*.csv")} == set(manifest.video_ids)
    for row, video_id in enumerate(manifest.video_ids):
        with (corpus / "labels" / f"{video_id}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert tuple(lines[0]) == LABEL_COLUMNS
        assert [int(line["frame"]) for line in lines] == list(range(len(lines)))
        labelled = [float(line["time_seconds"]) for line in lines]
        np.testing.assert_allclose(labelled, times_in_file(manifest.path_of(row)), atol=2e-6)
        assert {line["case_id"] for line in lines} == {groups[row]}
        assert {line["event"] for line in lines} <= {"normal", "black", "out_of_body", "smoke", "bleeding"}


def test_a_second_run_does_nothing(corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*") if path.is_file()}
    synthesize(corpus, "tiny", seed=0, num_workers=2)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*") if path.is_file()} == before


def test_a_lost_file_is_made_again_and_the_others_are_kept(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "moved"
    shutil.copytree(corpus, out)
    expected = digests(out)
    lost, *kept = sorted((out / "videos").rglob("video_*"))
    lost.unlink()
    before = {path: path.stat().st_mtime_ns for path in kept}
    synthesize(out, "tiny", seed=0, num_workers=0)
    assert digests(out) == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    manifest = Manifest.read([out / "manifest.parquet"])
    assert all(manifest.path_of(row).is_relative_to(out) for row in range(len(manifest)))


def test_a_damaged_file_is_named(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(corpus, out)
    damaged = sorted((out / "videos").rglob("*.mp4"))[0]
    damaged.write_bytes(b"not a video")
    (out / "manifest.parquet").unlink()
    with pytest.raises(UserError, match=damaged.name):
        synthesize(out, "tiny", seed=0, num_workers=0)


def test_another_seed_is_another_corpus(corpus: Path) -> None:
    with pytest.raises(UserError, match="another --out"):
        synthesize(corpus, "tiny", seed=1, num_workers=0)


def test_a_corpus_of_another_generator_is_not_mixed_with_this_one(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surgrec.synthetic.corpus.GENERATOR", -1)
    with pytest.raises(UserError, match="another --out"):
        synthesize(corpus, "tiny", seed=0, num_workers=0)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not an embedded corpus"):
        synthesize(tmp_path, "tiny", seed=0, num_workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "example: surgrec synthesize" in capsys.readouterr().out


def test_the_command_says_when_nothing_is_left(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(corpus), "--scale", "tiny", "--workers", "1"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out


def test_an_unknown_scale_ends_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: main(["--out", str(tmp_path / "new"), "--scale", "huge"])) == 2
    assert "quickstart, small, large" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
