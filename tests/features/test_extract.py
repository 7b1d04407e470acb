"""The command: any kind of input, continued where it was left, and one sentence for what the user must mend."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from surgrec import extract
from surgrec.core.console import run_command
from surgrec.core.lock import only_writer
from surgrec.corpus.card import Card
from surgrec.corpus.ledger import Tombstone, add_tombstones
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from surgrec.features.extractor import Extractor
from surgrec.features.parts import Parts
from surgrec.features.store import open_store
from surgrec.video.decode import open_video
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


class Interrupted:
    """Ctrl-C at the n-th batch, the parts so far in files."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        features, count = Extractor.features, iter(range(1000))

        def counted(extractor: Extractor, clips: torch.Tensor) -> torch.Tensor:
            if next(count) == at:
                raise KeyboardInterrupt
            return features(extractor, clips)

        patch.setattr(Extractor, "features", counted)


@pytest.mark.parametrize("file_format", ["zarr", "parquet"])
def test_an_interrupted_extraction_continues_to_the_same_bytes(
    release: Path, manifest: Path, tmp_path: Path, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(out: str) -> int:
        more = ("--format", file_format, "--stride-seconds", "0.1", "--batch-size", "3")
        return run("--model", release, "--videos", manifest, "--out", tmp_path / out, *more)

    assert command("whole") == 0
    for at in (0, 1, 5, 13):
        with monkeypatch.context() as patch:
            Interrupted(patch, at)
            assert command(f"parts {at}") == 130
        assert len(open_store(tmp_path / f"parts {at}").video_ids()) < 3
        assert command(f"parts {at}") == 0
        assert files(tmp_path / f"parts {at}") == files(tmp_path / "whole")


def test_what_was_computed_of_a_video_is_not_computed_again(
    release: Path, video: VideoOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "--model",
        release,
        "--videos",
        video(4.2),
        "--out",
        tmp_path / "out",
        "--stride-seconds",
        "0.1",
        "--batch-size",
        "2",
    )
    with monkeypatch.context() as patch:
        Interrupted(patch, 9)
        assert run(*command) == 130
    computed, features = [], Extractor.features
    monkeypatch.setattr(Extractor, "features", lambda self, clips: computed.append(len(clips)) or features(self, clips))
    assert run(*command) == 0
    assert sum(computed) == 34 - 18


@pytest.mark.parametrize("file_format", ["zarr", "parquet"])
def test_two_shards_together_are_one_run(
    release: Path, manifest: Path, tmp_path: Path, file_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (
        "--model",
        release,
        "--videos",
        manifest,
        "--format",
        file_format,
        "--batch-size",
        "2",
        "--stride-seconds",
        "0.1",
    )
    assert run(*more, "--out", tmp_path / "one") == 0
    counts = []
    for part in ("1/2", "0/2"):
        assert run(*more, "--out", tmp_path / "two", "--shard", part) == 0
        counts.append(len(open_store(tmp_path / "two").video_ids()))
    assert 0 < counts[0] < counts[1] == 3, "each did a part"
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert "of part 0 of 2" in capsys.readouterr().out
    assert run(*more, "--out", tmp_path / "two") == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert run(*more, "--out", tmp_path / "two", "--shard", "0/2", "--videos", manifest.parent / "Erika_Muster") == 2
    assert "surgrec index" in capsys.readouterr().err


def test_one_part_is_computed_once_at_a_time(release: Path, manifest: Path, tmp_path: Path) -> None:
    command = ("--model", release, "--videos", manifest, "--out", tmp_path / "out")
    with only_writer(tmp_path / "out"):
        assert run(*command) == 2
    with only_writer(tmp_path / "out.0-of-2"):
        assert run(*command, "--shard", "0/2") == 2
        assert run(*command, "--shard", "1/2") == 0


@pytest.mark.slow
def test_processes_together_are_one(release: Path, manifest: Path, folder: Path, tmp_path: Path) -> None:
    more = ("--model", release, "--videos", manifest, "--batch-size", "2", "--stride-seconds", "0.1")
    (folder / "Muster_2.0.mp4").write_bytes(b"nothing any more")
    for out, count in (("one", 1), ("three", 3)):
        assert run(*more, "--out", tmp_path / out, "--processes", count) == 2, (
            "one cannot be read, the others are there"
        )
    assert len(open_store(tmp_path / "one").video_ids()) == 2
    assert files(tmp_path / "three") == files(tmp_path / "one")


KILLED = """
import os, signal, sys
from surgrec import extract
from surgrec.features import parts
from surgrec.features.extractor import Extractor

at, features = int(sys.argv.pop(1)), Extractor.features
parts.SAVE_SECONDS = 0.0
count = iter(range(1000))

def killed(extractor, clips):
    if next(count) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return features(extractor, clips)

Extractor.features = killed
extract.main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["zarr", "parquet"])
def test_killed_at_any_batch_it_continues_to_the_same_bytes(
    release: Path, manifest: Path, tmp_path: Path, file_format: str
) -> None:
    more = ["--model", release, "--videos", manifest, "--format", file_format, "--threads", "1", "--device", "cpu"]
    more += ["--stride-seconds", "0.2", "--batch-size", "4"]
    assert run(*more, "--out", tmp_path / "whole") == 0
    for at in (1, 2, 1):
        command = [sys.executable, "-c", KILLED, at, *more, "--out", tmp_path / "parts"]
        done = subprocess.run(list(map(str, command)), check=False)
        assert done.returncode == -signal.SIGKILL
        assert (tmp_path / "parts" / ".partial").is_dir()
    assert run(*more, "--out", tmp_path / "parts") == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_the_store_says_what_made_it(release: Path, video: VideoOf, tmp_path: Path) -> None:
    options = ("--layers", "blocks.0", "norm", "--tokens", "time", "--dtype", "float16", "--precision", "bfloat16")
    assert run("--model", release, "--videos", video(2.0), "--out", tmp_path / "out", *options) == 0
    store = open_store(tmp_path / "out")
    assert store.origin.model == "surgrec jepa step 300" and store.origin.layers == ("blocks.0", "norm")
    assert store.origin.precision == "bfloat16" and store.origin.feature_shape == (2, 2, 48)
    (video_id,) = store.video_ids()
    group: Any = zarr.open_group(tmp_path / "out", mode="r")[video_id]
    assert group["features"].shape == (3, 2, 2, 48) and group["features"].dtype == "float16"
    assert group["features"].metadata.dimension_names == ("window", "layer", "time", "feature")


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
        ("--model", release, "--videos", video(2.0), "--out", out, "--stride-seconds", "inf"),
        ("--model", release, "--videos", video(2.0), "--out", out, "--device", "nowhere"),
        ("--model", release, "--videos", video(2.0), "--out", out, "--device", "nowhere", "--processes", 2),
        ("--model", release, "--videos", video(2.0), "--out", out, "--device", "cpu:3"),
        ("--model", release, "--videos", video(2.0), "--out", tmp_path / "notes.txt"),
    ):
        assert run(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, error
    assert not out.exists()


class Vanishing:
    """A reader whose file goes away before `until` seconds are read, as on a disk that is unplugged."""

    def __init__(self, path: Path, until: float) -> None:
        self._path, self._until, self._reader = path, until, open_video(path)

    def read(self, times: Any) -> Any:
        if times[-1] >= self._until:
            self._path.rename(self._path.with_suffix(".away"))
            raise OSError(5, "Input/output error", str(self._path))
        return self._reader.read(times)

    def close(self) -> None:
        self._reader.close()


def test_a_file_that_goes_away_while_it_is_read_is_not_a_damaged_one(
    release: Path, video: VideoOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from surgrec.features import frames, parts

    path = tmp_path / "Muster.mp4"
    shutil.copy(video(8.2), path)
    command = ("--model", release, "--videos", path, "--batch-size", 1, "--out")
    assert run(*command, tmp_path / "expected") == 0
    monkeypatch.setattr(parts, "SAVE_SECONDS", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(frames, "open_video", lambda path, *_, **__: Vanishing(Path(path), 6.0))
        assert run(*command, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "1 video could not be read" in said and "(missing)" in said and "Muster" not in said
    assert open_store(tmp_path / "out").video_ids() == set()
    assert list((tmp_path / "out" / ".partial").rglob("*.npz")), "what was computed before is kept"
    path.with_suffix(".away").rename(path)
    assert run(*command, tmp_path / "out") == 0
    assert files(tmp_path / "out") == files(tmp_path / "expected")


def test_features_that_cannot_be_kept_are_told_and_not_written(
    release: Path, video: VideoOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, command = Extractor.features, ("--model", release, "--videos", video(2.0), "--out")
    for number, (factor, options, said) in enumerate(
        (
            (1e6, ("--dtype", "float16"), "--dtype float16 cannot hold"),
            (float("inf"), ("--precision", "bfloat16"), "too large for --precision bfloat16"),
        )
    ):
        monkeypatch.setattr(Extractor, "features", lambda self, clips, factor=factor: own(self, clips) * factor)
        out = tmp_path / f"out{number}"
        assert run(*command, out, *options) == 2
        error = capsys.readouterr().err
        assert said in error and "another --out" in error and error.count("\n") == 1
        assert open_store(out).video_ids() == set() and not list(out.rglob("*.npz"))


def test_what_is_left_of_a_longer_video_is_not_taken_for_this_one(
    release: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index made anew may say another length."""
    command = ("--model", release, "--videos", manifest, "--out")
    assert run(*command, tmp_path / "expected") == 0
    out, name = tmp_path / "out", min(open_store(tmp_path / "expected").video_ids())
    with monkeypatch.context() as patch:
        Interrupted(patch, at=0)
        assert run(*command, out) == 130
    parts = Parts(out, name)
    block = open_store(tmp_path / "expected").read(name)
    for _ in range(9):
        parts.add(block)
    parts.save()
    assert run(*command, out) == 0
    assert files(out) == files(tmp_path / "expected")


def test_a_video_that_was_removed_gets_no_features(
    release: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the ledger of this machine, also where no manifest was made beforehand."""
    digest = hashlib.sha256((folder / "Muster_2.0.mp4").read_bytes()).hexdigest()
    add_tombstones(tmp_path / "removed.jsonl", [Tombstone("cholec_1", digest, "cholec", "cholec_g1", "2026-01-31")])
    command = ("--model", release, "--videos", folder, "--out", tmp_path / "out")
    assert run(*command) == 0
    before = open_store(tmp_path / "out").video_ids()
    monkeypatch.setenv("SURGREC_LEDGER", str(tmp_path / "removed.jsonl"))
    for out in ("out", "new"):
        command = ("--model", release, "--videos", folder, "--out", tmp_path / out)
        assert run(*command) == 0
        said = capsys.readouterr()
        assert "removed" in said.err and "Muster" not in said.err + said.out
        assert len(Manifest.read([tmp_path / f"{out}.videos.parquet"])) == 2
    assert len(before) == 3 and len(open_store(tmp_path / "new").video_ids()) == 2
    assert run(*command[:3], folder / "Muster_2.0.mp4", "--out", tmp_path / "one") == 2
    assert "was removed on 2026-01-31" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()


def test_another_video_in_the_place_of_a_listed_one_is_not_taken_for_it(
    release: Path, manifest: Path, folder: Path, video: VideoOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(video(4.2), folder / "Muster_2.0.mp4")
    assert run("--model", release, "--videos", manifest, "--out", tmp_path / "out") == 2
    assert "1 video could not be read" in (said := capsys.readouterr().err) and "(changed)" in said
    assert len(open_store(tmp_path / "out").video_ids()) == 2
