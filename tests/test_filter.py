"""`surgrec filter`: what it writes, that it goes on where it was, and what it does where something is wrong."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surgrec import filter as command
from surgrec import index as index_command
from surgrec.core.errors import UserError
from surgrec.core.lock import only_writer
from surgrec.corpus import surveys as surveys_module
from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest, ManifestError
from surgrec.corpus.removal import remove
from surgrec.corpus.scan import scan
from surgrec.corpus.survey import read_survey
from surgrec.data.mixture import Mixture
from surgrec.synthetic import blemishes
from tests.corpus.filters.pictures import moving
from tests.killed import killed_at_random, killed_before_renaming

FPS = 8
SECONDS = 8
BLACK = (2.0, 4.0)


def write(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": "16"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos: black in its middle; in bars; nothing but black."""
    root = tmp_path_factory.mktemp("filter")
    (root / "videos").mkdir()
    frames = moving(FPS * SECONDS)
    black = np.zeros(frames.shape[1:], np.uint8)
    write(root / "videos" / "a.mp4", blemishes.replaced(frames, int(FPS * BLACK[0]), int(FPS * BLACK[1]), black))
    write(root / "videos" / "b.mp4", blemishes.letterboxed(moving(FPS * SECONDS, seed=1), 24, 0))
    write(root / "videos" / "c.mp4", np.repeat(black[None], FPS * SECONDS, axis=0))
    return root


@pytest.fixture
def manifest(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written / "videos", tmp_path / "videos")
    path = tmp_path / "m.parquet"
    Manifest(scan(tmp_path / "videos", Card("hospital", "laparoscopy")).rows).write(path)
    return path


def run(manifest: Path, *more: str) -> int:
    return command.main(["--manifest", str(manifest), "--workers", "0", *more])


def by_name(manifest: Path) -> dict[str, dict]:
    return {row["path"]: row for row in Manifest.read([manifest]).table.to_pylist()}


def test_usable_content_box_and_findings_are_written(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Manifest.read([manifest])
    assert run(manifest) == 0
    rows = by_name(manifest)
    (first, second), third = rows["a.mp4"]["usable"], rows["c.mp4"]["usable"]
    assert first["start_seconds"] == 0 and second["end_seconds"] == SECONDS and third == []
    assert first["end_seconds"] == pytest.approx(BLACK[0] - 0.25, abs=0.26) and first["end_seconds"] <= BLACK[0]
    assert second["start_seconds"] == pytest.approx(BLACK[1] + 0.25, abs=0.26) and second["start_seconds"] >= BLACK[1]
    assert rows["a.mp4"]["content_box"] == {"left": 0, "top": 0, "right": 128, "bottom": 96}
    box = rows["b.mp4"]["content_box"]
    assert (box["left"], box["right"]) == (0, 128) and abs(box["top"] - 24) <= 2 and abs(box["bottom"] - 120) <= 2
    findings = pq.read_table(manifest.with_name("m.filters.parquet")).to_pylist()
    assert [(row["reason"], row["region"]) for row in findings] == [("black", None)] * 2
    said = capsys.readouterr().out
    assert "hospital: " in said and "black 41.7%" in said and "nothing usable in 1 video" in said
    after = Manifest.read([manifest])
    kept = [name for name in before.table.column_names if name not in ("usable", "content_box")]
    assert after.table.select(kept).equals(before.table.select(kept))


def test_run_again_and_nothing_is_left_to_do(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(manifest)
    stamps = {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*.*")}
    capsys.readouterr()
    assert run(manifest) == 0
    said = capsys.readouterr().out
    assert "nothing is left to do" in said and "0 of them looked at now" in said
    assert {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*.*")} == stamps


def test_other_thresholds_need_no_decoding(manifest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(manifest)
    monkeypatch.setattr(surveys_module, "survey_video", lambda *_: pytest.fail("a video was decoded again"))
    mine = tmp_path / "mine.yaml"
    mine.write_text("black: {timing: {min_seconds: 5}}\nblur: {always: 1.0}\n")
    assert run(manifest, "--filters", str(mine), "--out", str(tmp_path / "other.parquet")) == 0
    assert len(by_name(tmp_path / "other.parquet")["a.mp4"]["usable"]) == 1
    assert len(by_name(manifest)["a.mp4"]["usable"]) == 2, "the manifest itself stays"


def test_damaged_and_older_surveys_are_made_anew(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(manifest)
    before = manifest.read_bytes()
    first, second, _ = sorted(manifest.with_name("m.surveys").iterdir())
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    with np.load(second) as file:
        np.savez_compressed(second, **{**file, "version": np.array(1)})
    capsys.readouterr()
    assert run(manifest) == 0
    assert "2 of them looked at now" in capsys.readouterr().out and manifest.read_bytes() == before
    read_survey(first)


def test_an_interrupted_run_is_continued(manifest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C in the second video: the manifest is untouched, the first survey stays; the next run ends as one that was left alone."""
    alone = tmp_path / "alone.parquet"
    run(manifest, "--out", str(alone), "--surveys", str(tmp_path / "elsewhere"))
    before, real, calls = manifest.read_bytes(), surveys_module.survey_video, []

    def stopped(path: Path, duration: float) -> object:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, duration)

    monkeypatch.setattr(surveys_module, "survey_video", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(manifest)
    assert manifest.read_bytes() == before and len(list(manifest.with_name("m.surveys").iterdir())) == 1
    monkeypatch.setattr(surveys_module, "survey_video", real)
    run(manifest)
    assert Manifest.read([manifest]).table.equals(Manifest.read([alone]).table)


# -- kill -9


def contents(folder: Path) -> dict[str, bytes]:
    """Every file beside a manifest and in its folder of surveys, but hidden ones: those are never read."""
    files = [*folder.glob("m.*"), *folder.glob("m.surveys/*")]
    return {path.name: path.read_bytes() for path in files if path.is_file() and not path.name.startswith(".")}


def corpus_beside(indexed: Path, folder: Path) -> Path:
    """A copy of a manifest in a folder of its own."""
    folder.mkdir()
    return Path(shutil.copy(indexed, folder / "m.parquet"))


@pytest.mark.slow
def test_killed_before_any_renaming_it_ends_the_same(manifest: Path, tmp_path: Path) -> None:
    """All 5 of them: three surveys, the findings, the manifest."""
    indexed = Path(shutil.copy(manifest, tmp_path / "indexed.parquet"))
    run(manifest)
    expected, before = contents(tmp_path), indexed.read_bytes()
    for num_renames in range(6):
        killed = corpus_beside(indexed, tmp_path / str(num_renames))
        status = killed_before_renaming(num_renames, lambda killed=killed: run(killed))
        assert status == (-signal.SIGKILL if num_renames < 5 else 0)
        for name, content in contents(killed.parent).items():  # what has its name is whole
            assert content == expected[name] or (name == "m.parquet" and content == before)
        assert run(killed) == 0
        assert contents(killed.parent) == expected


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(manifest: Path, tmp_path: Path) -> None:
    """The whole program with two workers, again and again until it gets through."""
    indexed = Path(shutil.copy(manifest, tmp_path / "indexed.parquet"))
    before = indexed.read_bytes()
    command = [sys.executable, "-m", "surgrec.filter", "--workers", "2", "--manifest"]
    began = time.monotonic()
    subprocess.run([*command, str(manifest)], check=True, capture_output=True)
    whole_seconds, expected = time.monotonic() - began, contents(tmp_path)
    moments, num_killed = random.Random(0), 0
    for attempt in range(12):
        if num_killed >= 3:
            break
        killed = corpus_beside(indexed, tmp_path / str(attempt))

        def look(killed: Path = killed) -> None:
            for name, content in contents(killed.parent).items():
                assert content == expected[name] or (name == "m.parquet" and content == before)

        num_killed += killed_at_random([*command, str(killed)], 1.2 * whole_seconds, moments, look)
        assert contents(killed.parent) == expected
    assert num_killed >= 3


def test_what_was_half_written_is_cleared_away_once_it_is_old(manifest: Path) -> None:
    """It may hold pictures."""
    surveys = manifest.with_name("m.surveys")
    surveys.mkdir()
    old, new = surveys / ".hospital_0.1.partial.npz", surveys / ".hospital_1.2.partial.npz"
    for path in (old, new, manifest.with_name(".m.3.partial.parquet")):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    run(manifest)
    assert not old.exists() and new.exists() and not manifest.with_name(".m.3.partial.parquet").exists()


def test_what_happens_to_the_manifest_meanwhile_is_kept(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video removed and one added while others are looked at: the first stays away, the second stays."""
    real, rows = surveys_module.survey_video, Manifest.read([manifest]).table
    gone, added = rows["video_id"][0].as_py(), {**rows.to_pylist()[1], "video_id": "hospital_added"}

    def meanwhile(path: Path, duration: float) -> object:
        if gone in Manifest.read([manifest]).video_ids:
            Manifest(pa.concat_tables([rows.slice(1), pa.Table.from_pylist([added], rows.schema)])).write(manifest)
        return real(path, duration)

    monkeypatch.setattr(surveys_module, "survey_video", meanwhile)
    assert run(manifest) == 0
    after = {row["video_id"]: row for row in Manifest.read([manifest]).table.to_pylist()}
    assert gone not in after and after["hospital_added"] == added
    findings = pq.read_table(manifest.with_name("m.filters.parquet"))["video_id"].to_pylist()
    assert set(findings) <= set(after) - {"hospital_added"}
    with only_writer(manifest), pytest.raises(UserError, match="another surgrec command is writing"):
        run(manifest)


def test_shards_together_do_what_one_run_does(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone.parquet"
    run(manifest, "--out", str(alone), "--surveys", str(tmp_path / "elsewhere"))
    said = []
    for part in range(3):
        capsys.readouterr()
        assert run(manifest, "--shard", f"{part}/3") == 0
        said.append(capsys.readouterr().out)
    assert "left to other shards" in said[0] and any("wrote" in text for text in said)
    assert Manifest.read([manifest]).table.equals(Manifest.read([alone]).table)
    for wrong in ("3/3", "1", "1/0", "a/b"):
        with pytest.raises(UserError, match="--shard"):
            run(manifest, "--shard", wrong)


@pytest.mark.slow
def test_worker_processes_give_the_same(manifest: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.parquet"
    run(manifest, "--out", str(alone))
    assert command.main(["--manifest", str(manifest), "--workers", "2", "--surveys", str(tmp_path / "elsewhere")]) == 0
    assert Manifest.read([manifest]).table.equals(Manifest.read([alone]).table)


def test_what_cannot_be_decoded_is_unusable_and_what_is_missing_stays(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifest.parent / "videos" / "a.mp4").write_bytes(b"no video")
    (manifest.parent / "videos" / "b.mp4").unlink()
    before = by_name(manifest)
    assert run(manifest) == 0
    after, said = by_name(manifest), capsys.readouterr().err
    assert after["a.mp4"]["usable"] == [] and after["a.mp4"]["content_box"] is None
    assert after["b.mp4"] == before["b.mp4"]
    assert said.count("could not decode hospital_") == 2 and "its row stays as it was" in said and ".mp4" not in said
    shutil.rmtree(manifest.parent / "videos")
    shutil.rmtree(manifest.with_name("m.surveys"))
    with pytest.raises(UserError, match="are their disks mounted"):
        run(manifest)


def test_what_comes_and_goes_while_videos_are_looked_at_is_kept(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another source is indexed and a video is removed: neither is undone by the filter, which read the manifest before."""
    gone = by_name(manifest)["b.mp4"]["video_id"]
    real, is_first = surveys_module.survey_video, [True]

    def meanwhile(path: Path, duration: float) -> object:
        if is_first.pop():
            more = Manifest(scan(tmp_path / "videos", Card("clinic", "laparoscopy")).rows).table.slice(0, 1)
            Manifest(pa.concat_tables([Manifest.read([manifest]).table, more])).write(manifest)
            remove([manifest], [gone])
        is_first.append(False)
        return real(path, duration)

    monkeypatch.setattr(surveys_module, "survey_video", meanwhile)
    assert run(manifest) == 0
    rows = Manifest.read([manifest]).table.to_pylist()
    assert sorted((row["source"], row["path"]) for row in rows) == [
        ("clinic", "a.mp4"),
        ("hospital", "a.mp4"),
        ("hospital", "c.mp4"),
    ]
    assert {row["source"]: len(row["usable"]) for row in rows if row["path"] == "a.mp4"} == {"clinic": 1, "hospital": 2}
    findings = pq.read_table(manifest.with_name("m.filters.parquet"))["video_id"].to_pylist()
    assert set(findings) <= {row["video_id"] for row in rows}


def test_nothing_is_written_while_another_command_writes(manifest: Path) -> None:
    before = manifest.read_bytes()
    with only_writer(manifest), pytest.raises(UserError, match="another surgrec command is writing"):
        run(manifest)
    assert manifest.read_bytes() == before


def test_what_was_removed_holds_for_manifests_that_were_made_of_this_one(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "derived").mkdir()
    out = tmp_path / "derived" / "out.parquet"
    run(manifest, "--out", str(out))
    name = by_name(manifest)["a.mp4"]["video_id"]
    assert remove([manifest], [name]).files == (manifest.with_name("m.surveys") / f"{name}.npz",)
    with pytest.raises(ManifestError, match="1 removed video"):
        Manifest.read([out])
    assert run(manifest, "--out", str(out)) == 0
    assert sorted(by_name(out)) == ["b.mp4", "c.mp4"]
    remove([out], [by_name(out)["b.mp4"]["video_id"]])
    assert run(manifest, "--out", str(out)) == 0
    assert sorted(by_name(out)) == ["c.mp4"] and sorted(by_name(manifest)) == ["b.mp4", "c.mp4"]


def test_a_file_replaced_by_one_of_the_same_size_is_not_judged_under_its_id(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = manifest.parent / "videos"
    shutil.copyfile(videos / "c.mp4", videos / "a.mp4")
    table = Manifest.read([manifest]).table
    sizes = pa.array([(videos / name).stat().st_size for name in table["path"].to_pylist()], pa.int64())
    column = table.column_names.index("size_bytes")
    Manifest(table.set_column(column, table.schema.field(column), sizes)).write(manifest)
    assert run(manifest) == 0
    row = by_name(manifest)["a.mp4"]
    assert f"could not decode {row['video_id']}: changed" in capsys.readouterr().err
    assert row["usable"] == [] and not (manifest.with_name("m.surveys") / f"{row['video_id']}.npz").exists()


@pytest.mark.parametrize("error", [ZeroDivisionError("of a.mp4"), OSError(5, "Input/output error")])
def test_what_nobody_foresaw_costs_one_video(
    error: Exception, manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = surveys_module.survey_video

    def stumble(path: Path, duration: float) -> object:
        if path.name == "a.mp4":
            raise error
        return real(path, duration)

    monkeypatch.setattr(surveys_module, "survey_video", stumble)
    assert run(manifest) == 0
    said = capsys.readouterr().err
    assert said.count("could not decode") == 1 and ".mp4" not in said
    assert by_name(manifest)["b.mp4"]["content_box"] is not None


def test_what_is_no_manifest_is_not_replaced(manifest: Path, tmp_path: Path) -> None:
    video = tmp_path / "videos" / "a.mp4"
    before = video.read_bytes()
    for out, said in ((video, "is no manifest"), (tmp_path / "videos", "is a folder")):
        with pytest.raises(UserError, match=said):
            run(manifest, "--out", str(out))
    assert video.read_bytes() == before and not manifest.with_name("m.surveys").exists(), "told before the work begins"


def test_the_fingerprint_knows_usable_but_not_the_box(manifest: Path) -> None:
    """A manifest without the column reads as it always did; a box alone changes no run."""
    before = Manifest.read([manifest])
    older = manifest.with_name("older.parquet")
    pq.write_table(before.table.drop_columns(["content_box"]), older)
    assert Manifest.read([older]).fingerprint == before.fingerprint
    boxes = before.table.set_column(
        before.table.column_names.index("content_box"),
        before.table.schema.field("content_box"),
        pa.array(
            [{"left": 0, "top": 0, "right": 2, "bottom": 2}] * len(before),
            before.table.schema.field("content_box").type,
        ),
    )
    assert Manifest(boxes).fingerprint == before.fingerprint
    run(manifest)
    assert Manifest.read([manifest]).fingerprint != before.fingerprint


def test_training_leaves_out_what_has_nothing_usable(manifest: Path) -> None:
    run(manifest)
    mixture = Mixture(Manifest.read([manifest]), "natural")
    assert mixture.table.num_videos.tolist() == [2] and mixture.num_left_out == 1


def test_a_run_says_what_it_leaves_out(manifest: Path) -> None:
    from surgrec.config.build import build_data, left_out_sentence
    from surgrec.config.compose import compose_config

    config = compose_config(["+variant=mae", "+experiment=quickstart", f"mix.manifests=[{manifest}]"])
    assert left_out_sentence(build_data(config)) == ""
    run(manifest)
    assert left_out_sentence(build_data(config)) == "no usable footage in 1 of 3 videos, left out"


def test_indexing_again_keeps_what_was_found_and_new_bytes_lose_it(manifest: Path) -> None:
    """Of a file that was moved, too; a file with other bytes is another video, of which nothing is known."""
    root, index = manifest.parent / "videos", ["--source", "hospital", "--domain", "laparoscopy", "--workers", "0"]
    run(manifest)
    before = by_name(manifest)
    assert len(before["a.mp4"]["usable"]) == 2 and before["b.mp4"]["content_box"]["top"] > 0
    (root / "moved").mkdir()
    (root / "b.mp4").rename(root / "moved" / "b.mp4")
    with (root / "a.mp4").open("ab") as file:
        file.write(b"\0\0\0\x10free" + bytes(8))  # a box that players skip
    assert index_command.main(["--root", str(root), "--out", str(manifest), *index]) == 0
    after = by_name(manifest)
    assert set(after) == {"a.mp4", "c.mp4", "moved/b.mp4"}
    for was, now in (("b.mp4", "moved/b.mp4"), ("c.mp4", "c.mp4")):
        assert all(after[now][name] == before[was][name] for name in ("video_id", "usable", "content_box"))
    new = after["a.mp4"]
    assert new["video_id"] != before["a.mp4"]["video_id"] and new["content_box"] is None
    assert new["usable"] == [{"start_seconds": 0.0, "end_seconds": new["duration_seconds"]}]
    run(manifest)
    assert by_name(manifest)["a.mp4"]["usable"] == before["a.mp4"]["usable"], (
        "its own survey was made, and says the same"
    )
