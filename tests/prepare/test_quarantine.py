"""What `surgrec prepare` cannot or may not copy: it has a reason, costs one copy, and leaves no file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus import copies
from surgrec.corpus.isolated import Limits, map_isolated
from surgrec.corpus.manifest import Manifest, ManifestError
from surgrec.corpus.removal import remove
from surgrec.video.errors import VideoError
from surgrec.video.transcode import CopySpec
from tests.prepare.conftest import PATIENT, change, jobs_of, quarantine, run


def test_what_fails_is_put_into_quarantine_and_tried_again_when_asked(corpus: Path, tmp_path: Path) -> None:
    out, ids = tmp_path / "prepared", Manifest.read([corpus]).video_ids
    change(corpus, lambda row: row.update(modified_nanoseconds=None))  # else the damage is called a change
    first, second = corpus.parent / "a" / f"{PATIENT}_1.mp4", corpus.parent / "a" / f"{PATIENT}_2.mkv"
    whole, also = first.read_bytes(), second.read_bytes()
    first.unlink()
    second.write_bytes(also[: len(also) // 2] + bytes(len(also) - len(also) // 2))
    assert run(corpus, out) == 0
    assert quarantine(out) == {ids[0]: "missing", ids[1]: "corrupt"}
    assert Manifest.read([out / "manifest.parquet"]).video_ids.tolist() == [ids[2]]
    first.write_bytes(whole)
    second.write_bytes(also)
    assert run(corpus, out) == 0  # a file that was missing is looked for each time
    assert quarantine(out) == {ids[1]: "corrupt"}
    assert run(corpus, out, "--retry") == 0
    assert not (out / "quarantine.jsonl").exists()
    assert len(Manifest.read([out / "manifest.parquet"])) == 3


def test_a_file_that_is_not_the_indexed_one_is_refused(corpus: Path, tmp_path: Path) -> None:
    with (corpus.parent / "b" / f"{PATIENT}_3.avi").open("ab") as file:
        file.write(b"more")
    assert run(corpus, tmp_path / "prepared") == 0
    assert list(quarantine(tmp_path / "prepared").values()) == ["changed"]


def test_a_file_replaced_by_one_of_the_same_size_is_refused_and_one_that_was_only_touched_is_not(
    corpus: Path, tmp_path: Path
) -> None:
    change(corpus, lambda row: row.update(size_bytes=None))  # so that the other file need not be padded
    shutil.copyfile(corpus.parent / "a" / f"{PATIENT}_1.mp4", corpus.parent / "b" / f"{PATIENT}_3.avi")
    os.utime(corpus.parent / "a" / f"{PATIENT}_2.mkv")
    assert run(corpus, tmp_path / "prepared") == 0
    (replaced,) = [row["video_id"] for row in Manifest.read([corpus]).table.to_pylist() if row["source"] == "b"]
    assert quarantine(tmp_path / "prepared") == {replaced: "changed"}


def test_a_removed_video_stays_out_of_the_copies(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Removed from the originals: the copies are not read. Removed from the copies: making them again does not bring it back."""
    out = tmp_path / "prepared"
    run(corpus, out)
    first, second, third = Manifest.read([corpus]).video_ids.tolist()
    remove([corpus], [first])
    with pytest.raises(ManifestError, match=f"such as {first}; `surgrec corpus remove"):
        Manifest.read([out / "manifest.parquet"])
    left = remove([out / "manifest.parquet"]).files
    assert left == (out / f"records/a/{first}.json", out / f"videos/a/{first}.mp4")
    assert Manifest.read([out / "manifest.parquet"]).video_ids.tolist() == [second, third]
    remove([out / "manifest.parquet"], [second])
    capsys.readouterr()
    for _ in range(2):
        assert run(corpus, out) == 0
        assert Manifest.read([out / "manifest.parquet"]).video_ids.tolist() == [third]
        said = capsys.readouterr().err
        for name in (first, second):
            assert f"{name}.mp4" in said and f"{name}.json" in said
    assert f"{third}.mp4" not in said


def test_what_is_removed_while_copies_are_made_does_not_come_into_their_manifest(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copies.make_copies

    def meanwhile(*arguments: Any) -> Any:
        yield from real(*arguments)
        remove([corpus], [Manifest.read([corpus]).video_ids[0]])

    monkeypatch.setattr(copies, "make_copies", meanwhile)
    assert run(corpus, tmp_path / "prepared") == 0
    assert len(Manifest.read([tmp_path / "prepared" / "manifest.parquet"])) == 2


def test_a_damaged_file_that_nobody_foresaw_costs_one_copy(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(path: Path) -> Any:
        raise ZeroDivisionError if path.suffix == ".avi" else VideoError("empty")

    monkeypatch.setattr(copies, "probe", stumble)
    with pytest.raises(UserError, match="none of 3 videos"):
        run(corpus, tmp_path / "prepared")
    assert sorted(quarantine(tmp_path / "prepared").values()) == ["corrupt", "empty", "empty"]


def test_nothing_at_all(corpus: Path, tmp_path: Path) -> None:
    shutil.rmtree(corpus.parent / "a")
    shutil.rmtree(corpus.parent / "b")
    with pytest.raises(UserError, match="none of 3 videos"):
        run(corpus, tmp_path / "prepared")


@pytest.mark.parametrize(
    ("limits", "reasons"),
    [
        (Limits(seconds=0.0), {"too_slow"}),
        (Limits(memory_bytes=1 << 20), {"too_large", "corrupt"}),  # some decoders call a lack of memory damage
        (Limits(file_bytes=1000), {"too_large"}),
    ],
)
def test_what_exceeds_its_limits_leaves_a_reason_and_no_file(
    limits: Limits, reasons: set[str], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "limits_of", lambda job: limits)
    assert prepare_refusals(corpus, tmp_path / "prepared") <= reasons
    left = [path for path in (tmp_path / "prepared").rglob("*") if path.suffix == ".mp4"]
    assert left == []


def prepare_refusals(manifest: Path, out: Path) -> set[str]:
    made = copies.make_copies(jobs_of(manifest, out)[:1], 1)
    return {record["refused"]["reason"] for _, record in made}


def test_longer_and_larger_videos_have_more_time(corpus: Path, tmp_path: Path) -> None:
    job = jobs_of(corpus, tmp_path)[0]
    rows = [
        {**job.row, "duration_seconds": seconds, "width": width, "num_frames": 25 * seconds}
        for seconds, width in ((60, 96), (600, 96), (600, 40000))
    ]
    seconds = [copies.limits_of(copies.Job(tmp_path, row, CopySpec())).seconds for row in rows]
    assert seconds[0] == 720 and seconds[1] == 6120 and seconds[2] is not None and seconds[2] > 6120
    glitch = copies.Job(tmp_path, {**job.row, "duration_seconds": 432_000.0, "num_frames": 52}, CopySpec())
    assert (copies.limits_of(glitch).seconds or 1e9) < 6000, (
        "five days that 52 frames claim to last earn no days of work"
    )


def test_probing_errors_are_reasons(corpus: Path, tmp_path: Path) -> None:
    """A worker's answer is a reason, whatever is wrong with the file."""
    change(corpus, lambda row: row.update(modified_nanoseconds=None))  # else it is called a change
    job = jobs_of(corpus, tmp_path / "prepared")[0]
    path = Path(job.row["root"]) / job.row["path"]
    path.write_bytes(bytes(job.row["size_bytes"]))
    ((_, result),) = map_isolated(copies._make, [job], 1, copies.limits_of)
    assert isinstance(result, VideoError) and result.reason == "not_a_video"
