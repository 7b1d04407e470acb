"""The audit of contamination as a user meets it: videos on disk, the command, then training and a release."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surgrec import audit, export, filter, prepare, train
from surgrec.config.compose import compose_config
from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.gate import standing_of
from surgrec.corpus.manifest import Manifest, ManifestError
from surgrec.corpus.removal import remove
from surgrec.corpus.scan import scan
from surgrec.corpus.verdict import read_known, verdict_path
from surgrec.synthetic import disguises
from surgrec.train import train as start
from tests.corpus.moving import cropped, frames_of, mirrored
from tests.training.tiny import overrides

SECONDS, PER_SECOND = 8, 10


def write_scene(path: Path, seed: int, start: float = 0.0, change=lambda frames: frames) -> None:  # type: ignore[no-untyped-def]
    """A scene as an H.264 file."""
    times = np.arange(SECONDS * PER_SECOND) / PER_SECOND
    path.parent.mkdir(parents=True, exist_ok=True)
    disguises.encode(path, change(frames_of(seed, times + start)), times, crf=26)


def index(root: Path, source: str, out: Path) -> Path:
    Manifest(scan(root, Card(source, "laparoscopy", group_pattern="(.+)"), 0).rows).write(out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four videos of a corpus; the test set has a mirrored crop of one, and one that is nowhere else."""
    folder = tmp_path_factory.mktemp("DOE_JANE_1961")
    for seed in range(4):
        write_scene(folder / "ours" / f"jane{seed}.mp4", seed)
    write_scene(folder / "theirs" / "copy.mp4", 2, 1.0, lambda frames: mirrored(cropped(frames)))
    write_scene(folder / "theirs" / "new.mp4", 9)
    index(folder / "ours", "ours", folder / "corpus.parquet")
    index(folder / "theirs", "theirs", folder / "tests.parquet")
    return folder


def audit_with(folder: Path, *more: object) -> int:
    arguments = [
        "contamination", "--pretrain", folder / "corpus.parquet", "--downstream", folder / "tests.parquet",
        "--out", folder / "report.html", "--workers", 0, *more,
    ]  # fmt: skip
    return run_command(lambda: audit.main([str(argument) for argument in arguments]))


def test_a_copy_is_found_named_by_ids_and_left_out_of_the_clean_manifest(folder, capsys):
    assert audit_with(folder, "--json", folder / "report.json", "--clean", folder / "clean.parquet") == 2
    corpus, clean = (Manifest.read([folder / f"{name}.parquet"]) for name in ("corpus", "clean"))
    (evidence,) = json.loads((folder / "report.json").read_text())["evidence"]
    row = corpus.video_ids.tolist().index(evidence["video_id"])
    assert corpus.table["path"][row].as_py() == "jane2.mp4"
    assert (evidence["kind"], evidence["is_mirrored"]) == ("footage", True)
    np.testing.assert_allclose(evidence["seconds"], (1, 8), atol=1)
    assert set(clean.video_ids) == set(corpus.video_ids) - {evidence["video_id"]}
    told = capsys.readouterr()
    for text in (
        told.out.replace(str(folder), ""),
        told.err,
        (folder / "report.html").read_text(),
        (folder / "report.json").read_text(),
    ):
        assert "jane" not in text.lower()
    assert "https://" not in (folder / "report.html").read_text()


def test_nothing_is_decoded_twice(folder):
    audit_with(folder)
    away = folder / "away"
    (folder / "ours").rename(away)
    try:
        assert audit_with(folder) == 2
    finally:
        away.rename(folder / "ours")


def test_training_refuses_the_corpus_and_takes_the_clean_one(folder, tmp_path):
    audit_with(folder, "--clean", folder / "clean.parquet")
    held_out = f"mix.held_out=[{folder / 'tests.parquet'}]"
    for more in ([], [held_out]):
        with pytest.raises(
            UserError, match=r"the mixture shows material of test set \w+ \(2 videos\) in 1 video.*--clean"
        ):
            start(compose_config(overrides("mae", folder / "corpus.parquet", tmp_path, "dirty", *more)))
    assert not (tmp_path / "dirty").exists()
    quick = (held_out, "trainer.steps=1", "data.frame_interval_seconds=0.2")
    start(compose_config(overrides("mae", folder / "clean.parquet", tmp_path, "clean", *quick)))
    assert "nothing of test set" in (tmp_path / "clean" / "contamination.jsonl").read_text()


def test_a_removal_reaches_the_clean_manifest(folder, tmp_path):
    for name in ("corpus", "tests"):
        shutil.copy(folder / f"{name}.parquet", tmp_path)
    flags = ("--surveys", folder / "corpus.surveys", "--clean", tmp_path / "clean.parquet")
    assert audit_with(tmp_path, *flags) == 2
    gone = str(Manifest.read([tmp_path / "clean.parquet"]).video_ids[0])
    remove([tmp_path / "corpus.parquet"], [gone])
    with pytest.raises(ManifestError, match=gone):
        Manifest.read([tmp_path / "clean.parquet"])


def test_a_file_that_was_replaced_is_not_looked_at_under_the_old_name(folder, tmp_path, capsys):
    shutil.copytree(folder / "ours", tmp_path / "ours")
    index(tmp_path / "ours", "ours", tmp_path / "corpus.parquet")
    shutil.copy(folder / "tests.parquet", tmp_path)
    shutil.copy(folder / "ours" / "jane1.mp4", tmp_path / "ours" / "jane2.mp4")
    assert audit_with(tmp_path) == 2
    assert "changed" in capsys.readouterr().out
    # none of the replaced one, and nothing gathered is kept
    assert len(list((tmp_path / "corpus.surveys").glob("*.npz"))) == 3


def test_a_report_does_not_replace_the_verdict(folder, capsys):
    audit_with(folder)
    verdict = verdict_path(folder / "corpus.parquet")
    before = verdict.read_bytes()
    assert audit_with(folder, "--json", verdict) == 2
    assert "would replace" in capsys.readouterr().err and verdict.read_bytes() == before


def test_what_is_made_of_a_corpus_is_known_with_it(folder, tmp_path):
    audit_with(folder)
    corpus, copies, filtered = folder / "corpus.parquet", tmp_path / "prepared", tmp_path / "filtered.parquet"
    arguments = ["--manifest", str(corpus), "--out"]
    assert run_command(lambda: prepare.main([*arguments, str(copies), "--workers", "0", "--short-side", "32"])) == 0
    assert run_command(lambda: filter.main([*arguments, str(filtered), "--workers", "0"])) == 0
    for derived in (copies / "manifest.parquet", filtered):  # the filter may leave nothing usable of what was found
        assert read_known(verdict_path(derived)) == read_known(verdict_path(corpus))
    assert standing_of([copies / "manifest.parquet"], [folder / "tests.parquet"]).seen == standing_of([corpus], []).seen
    assert len(standing_of([corpus], []).seen) == 1


@pytest.mark.slow
def test_what_is_allowed_all_the_same_is_told_by_the_release(folder, tmp_path):
    audit_with(folder)
    held_out = f"mix.held_out=[{folder / 'tests.parquet'}]"
    with pytest.raises(UserError, match="in 1 video"):
        start(compose_config(overrides("mae", folder / "corpus.parquet", tmp_path, "dirty", held_out)))
    options = (held_out, "allow_contamination=true", "trainer.steps=1", "data.frame_interval_seconds=0.2")
    start(compose_config(overrides("mae", folder / "corpus.parquet", tmp_path, "dirty", *options)))
    assert run_command(lambda: export.main(["--run", str(tmp_path / "dirty"), "--out", str(tmp_path / "release")])) == 0
    for file in ("README.md", "config.json"):
        told = (tmp_path / "release" / file).read_text()
        assert "the mixture shows material of test set " in told
        assert "allow_contamination was set" in told
        assert "tests.parquet" not in told


def test_what_was_never_compared_is_not_called_clean_by_the_release(folder, tmp_path):
    corpus = shutil.copy(folder / "corpus.parquet", tmp_path / "corpus.parquet")
    held_out = f"mix.held_out=[{folder / 'tests.parquet'}]"
    options = (held_out, "allow_contamination=true", "trainer.steps=1", "data.frame_interval_seconds=0.2")
    start(compose_config(overrides("mae", corpus, tmp_path, "run", *options)))
    assert run_command(lambda: export.main(["--run", str(tmp_path / "run"), "--out", str(tmp_path / "release")])) == 0
    card = (tmp_path / "release" / "README.md").read_text()
    assert "the footage of the mixture was not compared with test set" in card
    assert "nothing of test set" not in card


def test_tests_that_are_away_are_no_clean_bill(folder, tmp_path, capsys):
    for name in ("corpus", "tests"):
        shutil.copy(folder / f"{name}.parquet", tmp_path)
    away = folder / "away"
    (folder / "theirs").rename(away)
    try:
        assert audit_with(tmp_path, "--surveys", tmp_path / "surveys") == 2
    finally:
        away.rename(folder / "theirs")
    told = capsys.readouterr()
    assert "no video of tests could be decoded" in told.err
    assert "nothing" not in told.out
    assert not (tmp_path / "corpus.contamination.json").exists()


def test_a_damaged_verdict_is_told_before_the_work(folder, tmp_path, capsys):
    for name in ("corpus", "tests"):
        shutil.copy(folder / f"{name}.parquet", tmp_path)
    (tmp_path / "corpus.contamination.json").write_text("{}")
    assert audit_with(tmp_path) == 2
    assert "delete it and run the audit again" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_what_cannot_be_asked_is_told(folder, tmp_path, capsys):
    assert audit_with(folder, "--clean", folder / "tests.parquet") == 2
    assert "would replace a file" in capsys.readouterr().err
    rows = Manifest.read([folder / "tests.parquet"]).table.to_pylist()
    only_training = tmp_path / "tests.parquet"
    Manifest(
        pa.Table.from_pylist(
            [row | {"split": "train"} for row in rows], schema=Manifest.read([folder / "tests.parquet"]).table.schema
        )
    ).write(only_training)
    arguments = [
        "contamination",
        "--pretrain",
        folder / "corpus.parquet",
        "--downstream",
        only_training,
        "--out",
        tmp_path / "r.html",
    ]
    assert run_command(lambda: audit.main([str(argument) for argument in arguments])) == 2
    assert "no videos of the splits test" in capsys.readouterr().err


def test_the_wrong_verdict_is_told(folder, tmp_path):
    shutil.copy(folder / "corpus.parquet", tmp_path / "corpus.parquet")
    (tmp_path / "corpus.contamination.json").write_text("{}")
    with pytest.raises(UserError, match="no verdict of"):
        train.train(compose_config(overrides("mae", tmp_path / "corpus.parquet", tmp_path, "run")))
