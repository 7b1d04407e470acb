"""`surgrec corpus`: what it shows, what it writes down, and what it says has seen a removed video."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from surgrec.__main__ import main as console
from surgrec.config.build import build_data
from surgrec.config.compose import claim_folder, compose_config
from surgrec.config.footage import cache_of
from surgrec.config.seen import note_release
from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.corpus.clusters import Clusters
from surgrec.corpus.ledger import Ledger, ledger_file
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.mapped import open_manifest
from surgrec.corpus_command import main
from surgrec.features.origin import Origin
from surgrec.features.store import claim_store
from surgrec.features.windows import WindowFeatures
from surgrec.training.folder import RunFolder
from surgrec.training.footage import record_footage
from tests.corpus.test_manifest import manifest as manifest_of
from tests.corpus.test_manifest import row
from tests.training.tiny import overrides


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Forty videos of one source, four of another, each with one of four seconds."""
    rows = [
        row(i, source="large", video_id=f"large_{i:03d}", group_id=f"large_g{i // 2}", licence="MIT") for i in range(40)
    ]
    rows += [row(100 + i, source="small", video_id=f"small_{i:03d}", group_id=f"small_g{i}") for i in range(4)]
    manifest_of(*rows).write(tmp_path / "m.parquet")
    return tmp_path / "m.parquet"


def corpus(*arguments: object) -> int:
    return run_command(lambda: main(list(map(str, arguments))))


def test_notes_are_shown_and_imported(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpus("ledger", "--manifest", manifest) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["source", "videos", "licence", "provenance", "consent", "removed"],
        ["large", "40", "MIT", "unknown", "unknown", "0"],
        ["small", "4", "unknown", "unknown", "unknown", "0"],
    ]
    table = tmp_path / "notes.csv"
    table.write_text(
        "\ufeffvideo_id,licence,consent\nsmall_000,own,broad\nsmall_001,,broad\nlarge_000,,\n", encoding="utf-8"
    )
    assert (
        corpus("ledger", "--manifest", manifest, "--import", table, "--set", "small_001", "consent=narrow", "notes=a b")
        == 0
    )
    assert "noted for 2 videos" in capsys.readouterr().out
    assert Ledger.of_manifest(manifest).notes["small_001"] == {"consent": "narrow", "notes": "a b"}
    assert Manifest.read([manifest]).table.to_pylist()[40]["licence"] == "own"
    assert corpus("ledger", "--manifest", manifest) == 0
    assert "small   4       unknown 3, own 1  unknown     unknown 2, broad 1, narrow 1  0" in capsys.readouterr().out
    assert corpus("remove", "small_000", "--manifest", manifest, "--reason", "withdrawn") == 0
    capsys.readouterr()
    assert corpus("ledger", "--manifest", manifest, "--videos") == 0
    said = capsys.readouterr().out.splitlines()
    assert (
        len(said) == 45 and said[-1].split()[:3] == ["small_000", "own", "unknown"] and said[-1].endswith("withdrawn")
    )


def test_rows_of_one_video_are_taken_together_and_none_is_lost(manifest: Path, tmp_path: Path) -> None:
    table = tmp_path / "notes.csv"
    table.write_text("video_id,consent,notes\nsmall_000,broad,\nsmall_000,,seen\nsmall_001,narrow\n,,\n")
    assert corpus("ledger", "--manifest", manifest, "--import", table) == 0
    assert Ledger.of_manifest(manifest).notes == {
        "small_000": {"consent": "broad", "notes": "seen"},
        "small_001": {"consent": "narrow"},
    }


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("small_000,broad,\n,narrow,\n", "row 2 of .* has no video_id"),
        ("small_000,broad,\nsmall_000,narrow,\n", "row 2 of .* says another consent"),
        ("small_000,broad,seen,what\n", "row 1 of .* has more cells"),
    ],
)
def test_a_table_that_cannot_be_taken_at_its_word_notes_nothing(
    rows: str, words: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.csv").write_text(f"video_id,consent,notes\n{rows}")
    assert corpus("ledger", "--manifest", manifest, "--import", tmp_path / "notes.csv") == 2
    assert re.search(words, capsys.readouterr().err) and not ledger_file(manifest).exists()


def test_mistakes_are_one_sentence_and_change_nothing(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, table = manifest.read_bytes(), tmp_path / "notes.csv"
    table.write_text("video_id,colour\nsmall_000,red\n")
    (tmp_path / "no_id.csv").write_text("licence\nMIT\n")
    for arguments, words in (
        (["ledger", "--set", "small_000", "colour=red"], "one of licence, provenance, consent, notes"),
        (["ledger", "--set", "small_000"], "say what to note"),
        (["ledger", "--set", "nobody", "consent=broad"], "nobody among them; nothing was noted"),
        (["ledger", "--import", table], "it has colour too"),
        (["ledger", "--import", tmp_path / "no_id.csv"], "must have a column video_id"),
        (["ledger", "--import", tmp_path / "none.csv"], "cannot be read as a CSV file"),
        (["remove", "nobody"], "no manifest lists nobody"),
        (["remove", "--group"], "name at least one"),
    ):
        assert corpus(*arguments, "--manifest", manifest) == 2, arguments
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, said
    assert corpus("remove", "--manifest", manifest, "small_000") == 2
    assert "there is no manifest at small_000; name videos before --manifest" in capsys.readouterr().err
    assert manifest.read_bytes() == before and not ledger_file(manifest).exists()


def test_removing_tells_what_has_seen_it(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose first steps did not draw the video, and one that never listed it."""
    names = ("large_007", "small_001")
    for run, table in (("both", Manifest.read([manifest])), ("none", manifest_of(row(7777)))):
        config = compose_config(overrides("mae", manifest, tmp_path / "runs", run, "data.global_batch_size=2"))
        folder = RunFolder(tmp_path / "runs" / run)
        for step in (1, 100):
            (folder.checkpoints / f"step_{step:08d}").mkdir(parents=True)
        claim_folder(config, folder.config_file)
        record_footage(folder, table, 0)
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "SHA256SUMS").write_text("x")
    note_release(RunFolder(tmp_path / "runs" / "both"), 100, tmp_path / "release")

    assert corpus("remove", *names, "--manifest", manifest, "--runs", tmp_path / "runs") == 0
    said = capsys.readouterr().out
    assert f"{manifest}: 2 taken out" in said and "removed: large_007, small_001" in said
    assert f"{tmp_path / 'runs' / 'both'}: drew " in said and "saw them   step_00000100\n" in said
    assert "did not    step_00000001\n" in said and f"{tmp_path / 'release'}, step 100" in said
    assert "1 of 2 runs never listed them" in said
    assert corpus("remove", "large_007", "--manifest", manifest, "--runs", tmp_path / "runs") == 0  # asked again
    again = capsys.readouterr().out
    assert "nothing is left to do" in again and "(1 of them earlier)" in again and "step_00000100" in again
    assert corpus("remove", "large_007", "--manifest", manifest, "--runs", tmp_path / "misspelt") == 2
    assert "the videos are removed, but there is no folder" in capsys.readouterr().err


def made_of(name: str, folder: Path) -> list[Path]:
    """What `surgrec prepare` and `surgrec filter` leave of a video, and half of a file of one that was killed."""
    prepared, surveys = folder / "prepared", folder / "m.surveys"
    files = [prepared / "videos" / "large" / f"{name}.mp4", prepared / "records" / "large" / f"{name}.json"]
    files += [surveys / f"{name}.npz", surveys / f".{name}.7.partial.npz"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"picture")
    return files


def test_copies_of_a_removed_video_are_listed_and_deleted_when_asked(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, kept = made_of("large_007", tmp_path), made_of("large_0071", tmp_path) + made_of("large_008", tmp_path)
    prints = [tmp_path / "m.surveys" / f"fingerprints_0.{ending}" for ending in ("npz", "bin")]
    for file in prints:
        file.touch()
    prepared = tmp_path / "prepared" / "manifest.parquet"
    Manifest.read([manifest]).write(prepared)
    (tmp_path / "prepared" / "prepared.json").write_text("{}")

    assert corpus("remove", "large_007", "--manifest", manifest) == 0  # the copies are not named
    said = capsys.readouterr().out
    assert (
        "they still show them; --delete-copies deletes: 4 files" in said
        and str(gone[2]) in said
        and str(gone[0]) not in said
    )
    assert corpus("remove", "large_007", "--manifest", manifest, prepared) == 0
    said = capsys.readouterr().out
    assert f"{prepared}: 1 taken out" in said and "deletes: 6 files" in said and all(str(file) in said for file in gone)
    assert all(file.is_file() for file in [*gone, *prints])
    assert corpus("remove", "large_007", "--manifest", manifest, prepared, "--delete-copies") == 0
    assert "deleted: 6 files" in capsys.readouterr().out
    assert not any(file.exists() for file in [*gone, *prints]) and all(file.is_file() for file in kept)
    assert corpus("remove", "large_007", "--manifest", manifest, prepared) == 0
    assert "file" not in capsys.readouterr().out


def test_files_beside_the_runs_that_name_a_removed_video_are_listed_and_deleted_when_asked(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_of(tmp_path / "runs")
    folder = cache / open_manifest([manifest], cache, 1).name
    other = tmp_path / "other.parquet"
    Manifest(Manifest.read([manifest]).table.slice(0, 1)).write(other)
    kept = cache / open_manifest([other], cache, 1).name
    assert Manifest.read([other]).id_of(0) != "large_007"
    command = ("remove", "large_007", "--manifest", manifest, "--runs", tmp_path / "runs")
    assert corpus(*command) == 0
    assert f"deletes: 1 file\n    {folder}\n" in capsys.readouterr().out and folder.is_dir()
    assert corpus(*command, "--delete-copies") == 0
    assert not folder.exists() and kept.is_dir()


def test_no_run_is_made_from_a_manifest_that_lists_what_was_removed(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = manifest.read_bytes()
    assert corpus("remove", "large_007", "--manifest", manifest) == 0
    manifest.write_bytes(old)
    config = compose_config(overrides("mae", manifest, tmp_path, "run"))
    with pytest.raises(UserError, match=r"lists 1 removed video, such as large_007; `surgrec corpus remove --manifest"):
        build_data(config)
    capsys.readouterr()
    assert corpus("remove", "--manifest", manifest) == 0
    assert capsys.readouterr().out == f"{manifest}: 1 taken out\n"
    assert len(build_data(config).manifest) == 43


@pytest.mark.slow
def test_as_a_program_by_both_names(manifest: Path) -> None:
    for command in (["-m", "surgrec.corpus"], ["-m", "surgrec", "corpus"]):
        done = subprocess.run(
            [sys.executable, *command, "ledger", "--manifest", str(manifest)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "large   40" in done.stdout and done.stderr == ""
    helped = subprocess.run(
        [sys.executable, "-m", "surgrec.corpus", "remove", "--help"], capture_output=True, text=True, check=True
    )
    assert "example: surgrec corpus remove" in helped.stdout


# -- cluster


@pytest.mark.parametrize("file_format", ["zarr", "parquet"])
def test_clusters_of_extracted_features(file_format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = Origin("0" * 64, {}, "time", (2, 4), 1.0, 2.0)
    store = claim_store(tmp_path / "features", file_format, origin)
    for video in range(3):
        features = np.zeros((4, 2, 4), dtype=np.float32)
        features[..., video] = 1.0
        features[3] = np.nan  # a window that could not be read
        start, is_valid = np.arange(4.0), np.array([True, True, True, False])
        with store.writer(f"v{video}", 4) as chunks:
            chunks.append(WindowFeatures(start, start + 2, is_valid, np.zeros(4, dtype=bool), features))
    out = tmp_path / "clusters.parquet"
    assert (
        console(
            ["corpus", "cluster", "--features", str(tmp_path / "features"), "--clusters", "3", "2", "--out", str(out)]
        )
        == 0
    )
    assert "9 moments of 3 videos in 3 clusters of the lowest level" in capsys.readouterr().out
    clusters = Clusters.read(out)
    assert len(set(zip(clusters.video_ids.to_pylist(), clusters.leaves.tolist(), strict=True))) == 3
    arguments = ["corpus", "cluster", "--features", str(tmp_path), "--clusters", "3", "--out", str(out)]
    assert console(arguments) == 2 and "holds no features" in capsys.readouterr().err
