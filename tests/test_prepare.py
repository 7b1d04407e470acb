"""`surgrec prepare`: stopped anywhere, in parts or at once, it ends in the same folder, and names no patient."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from surgrec import prepare
from surgrec.core.errors import UserError
from surgrec.corpus import copies
from surgrec.corpus.card import Card
from surgrec.corpus.isolated import Limits, map_isolated
from surgrec.corpus.ledger import ledger_file
from surgrec.corpus.manifest import SCHEMA, Manifest, ManifestError
from surgrec.corpus.removal import remove
from surgrec.corpus.scan import scan
from surgrec.video.decode import open_video
from surgrec.video.errors import REASONS, VideoError
from surgrec.video.transcode import CopySpec
from tests.data.test_clips import SPEC, reader_of
from tests.killed import killed_at_random, killed_before_renaming
from tests.video.make_videos import Coded, indices_in, write

PATIENT = "Jane_Doe"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 2, 1.6 and 1.2 seconds in two sources and a manifest of them."""
    root = tmp_path_factory.mktemp("corpus")
    for number, name in enumerate((f"a/{PATIENT}_1.mp4", f"a/{PATIENT}_2.mkv", f"b/{PATIENT}_3.avi")):
        (root / name).parent.mkdir(exist_ok=True)
        frames = range(100 * number, 100 * number + 50 - 10 * number)
        write(root, Coded(name, times=[Fraction(i, 25) for i in range(len(frames))], shown=frames))
    tables = [scan(root / name, Card(name, "other", licence="CC-BY-4.0"), num_workers=0).rows for name in "ab"]
    Manifest(pa.concat_tables(tables)).write(root / "manifest.parquet")
    return root


@pytest.fixture
def corpus(written: Path, tmp_path: Path) -> Path:
    """A copy for one test; returns the manifest."""
    folder = Path(shutil.copytree(written, tmp_path / "corpus"))
    change(folder / "manifest.parquet", lambda row: row.update(root=str(folder / row["source"])))
    return folder / "manifest.parquet"


def change(path: Path, edit: Callable[[dict], object]) -> None:
    """Apply `edit` to every row of a manifest."""
    rows = Manifest.read([path]).table.to_pylist()
    for row in rows:
        edit(row)
    Manifest(pa.Table.from_pylist(rows, schema=SCHEMA)).write(path)


def run(manifest: Path, out: Path, *options: str) -> int:
    return prepare.main(["--manifest", str(manifest), "--out", str(out), "--workers", "0", *options])


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below `folder`, with the folder's own place taken out of the manifest. Hidden files of the folder
    itself are locks, and what a killed process left there until a later run finds it old; the ledger says where the originals lie."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if (
            path.is_dir()
            or (path.parent == folder and path.name.startswith("."))
            or path == ledger_file(folder / "manifest.parquet")
        ):
            continue
        if path.name == "manifest.parquet":
            rows = [{**row, "root": None} for row in Manifest.read([path]).table.to_pylist()]
            found[path.name] = json.dumps(rows, sort_keys=True)
        else:
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def expected(written: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an uninterrupted run leaves."""
    out = tmp_path_factory.mktemp("expected") / "prepared"
    assert run(written / "manifest.parquet", out) == 0
    return contents(out)


def test_the_copies_and_their_manifest(corpus: Path, tmp_path: Path) -> None:
    change(
        corpus,
        lambda row: row.update(split="train", usable=[{"start_seconds": 0.5, "end_seconds": row["duration_seconds"]}]),
    )
    out = tmp_path / "prepared"
    assert run(corpus, out, "--workers", "2") == 0
    before, after = Manifest.read([corpus]), Manifest.read([out / "manifest.parquet"])
    for name in ("video_id", "source", "group_id", "split", "licence", "domain"):
        assert after.table[name].equals(before.table[name]), name
    assert after.table["original_sha256"].equals(before.table["sha256"])
    for row, original in zip(after.table.to_pylist(), before.table.to_pylist(), strict=True):
        path = Path(row["root"]) / row["path"]
        assert path == out.resolve() / "videos" / row["source"] / f"{row['video_id']}.mp4"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"] != row["original_sha256"]
        assert (row["num_frames"], row["fps"], row["codec"]) == (original["num_frames"], 25.0, "h264")
        assert row["usable"] == [{"start_seconds": 0.5, "end_seconds": row["duration_seconds"]}]
    with open_video(after.path_of(0)) as video:
        assert indices_in(video.read([0.0, 1.0]).pixels) == [0, 25]


def test_nothing_names_the_patient(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (corpus.parent / "a" / f"{PATIENT}_1.mp4").unlink()
    out = tmp_path / "prepared"
    assert run(corpus, out, "--workers", "1") == 0
    for path in out.rglob("*"):
        assert PATIENT not in path.name
        if path.is_file():
            assert PATIENT.encode() not in path.read_bytes(), path
    assert PATIENT not in "".join(capfd.readouterr())


def test_the_second_run_finds_nothing_to_do(
    corpus: Path, tmp_path: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prepared"
    assert run(corpus, out) == 0
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".mp4", ".json", ".parquet")}
    capsys.readouterr()
    assert run(corpus, out) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert contents(out) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--crf", "30"), "crf 23 and not 30"),
        (("--short-side", "64"), "short_side_pixels 288 and not 64"),
        (("--format", "frames"), "format video and not frames"),
        (("--fps", "5"), "fps 0.0 and not 5.0"),
    ],
)
def test_other_parameters_in_the_same_folder_are_an_error(
    options: tuple[str, ...], said: str, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "prepared").mkdir()
    copies.claim(tmp_path / "prepared", CopySpec())
    with pytest.raises(UserError, match=said):
        run(corpus, tmp_path / "prepared", *options)


@pytest.mark.parametrize(
    "options",
    [
        ("--shard", "3/3"),
        ("--shard", "1"),
        ("--fps", "many"),
        ("--fps", "0.0001"),
        ("--short-side", "3"),
        ("--format", "gif"),
    ],
)
def test_impossible_options_are_refused(options: tuple[str, ...], corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        run(corpus, tmp_path / "prepared", *options)


def test_shards_end_as_one_run(
    corpus: Path, tmp_path: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prepared"
    for shard in (2, 0):
        assert run(corpus, out, "--shard", f"{shard}/3") == 0
        assert not (out / "manifest.parquet").exists()
    assert "left to other shards: 1 of 3 videos" in capsys.readouterr().out
    assert run(corpus, out, "--shard", "1/3") == 0
    assert contents(out) == expected


def test_a_shard_runs_once_at_a_time(corpus: Path, tmp_path: Path) -> None:
    with copies.only_process(tmp_path / "prepared", (0, 1)), pytest.raises(UserError, match="another process"):
        run(corpus, tmp_path / "prepared")


def test_one_folder_is_divided_in_one_way_at_a_time(corpus: Path, tmp_path: Path) -> None:
    """Shards of different divisions overlap, and would clear away what the other is just writing."""
    out = tmp_path / "prepared"
    with only_process_elsewhere(out, (0, 2)):
        for shard in ("0/1", "1/3"):
            with pytest.raises(UserError, match="prepare this folder in 2 part"):
                run(corpus, out, "--shard", shard)
        assert run(corpus, out, "--shard", "1/2") == 0
    assert run(corpus, out) == 0


@contextmanager
def only_process_elsewhere(out: Path, shard: tuple[int, int]) -> Iterator[None]:
    """Another process that holds the lock of a shard."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom surgrec.corpus.copies import only_process\n"
        f"with only_process(Path({str(out)!r}), {shard}):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield
        process.communicate()


def test_packs(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    assert run(corpus, out, "--format", "frames", "--fps", "5") == 0
    manifest = Manifest.read([out / "manifest.parquet"])
    assert set(manifest.column("codec")) == {"jpeg-pack"}
    with open_video(manifest.path_of(0)) as video:
        assert indices_in(video.read([0.0, 1.0]).pixels) == [0, 25]


def test_packs_of_an_earlier_version_are_not_up_to_date(corpus: Path, tmp_path: Path) -> None:
    assert run(corpus, tmp_path / "out", "--format", "frames") == 0
    claimed = tmp_path / "out" / "prepared.json"
    content = json.loads(claimed.read_text())
    del content["parameters"]["pack_version"]  # as the first version wrote it
    claimed.write_text(json.dumps(content))
    with pytest.raises(UserError, match="are of version 1, which this version of surgrec does not read"):
        run(corpus, tmp_path / "out", "--format", "frames")


def test_training_reads_the_same_clips_from_originals_copies_and_packs(corpus: Path, tmp_path: Path) -> None:
    manifests = [corpus]
    for kind in ("video", "frames"):
        assert run(corpus, tmp_path / kind, "--format", kind) == 0
        manifests.append(tmp_path / kind / "manifest.parquet")
    readers = [reader_of(Manifest.read([path])) for path in manifests]
    for position in range(12):
        clips = [reader.read(position) for reader in readers]
        assert len({(clip.row, clip.start_seconds) for clip in clips}) == 1
        assert not any(clip.failures for clip in clips)
        frames = (clips[0].start_seconds + SPEC.offsets_seconds) * 25
        if (
            np.abs(frames - np.round(frames)).min() * 40 > 1
        ):  # Matroska's times are whole milliseconds, so nearer ones are open
            assert len({tuple(indices_in(clip.pixels.numpy())) for clip in clips}) == 1


# -- what cannot be prepared


def quarantine(out: Path) -> dict[str, str]:
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    return {entry["video_id"]: entry["reason"] for entry in map(json.loads, lines)}


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


def test_a_new_content_box_makes_a_new_copy(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    run(corpus, out)
    box = {"left": 32, "top": 32, "right": 128, "bottom": 96}
    change(corpus, lambda row: row["source"] == "b" and row.update(content_box=box))
    assert run(corpus, out) == 0
    manifest = Manifest.read([out / "manifest.parquet"])
    sizes = [(row["width"], row["height"], row["content_box"]) for row in manifest.table.to_pylist()]
    assert sizes == [(128, 96, None), (128, 96, None), (96, 64, None)]


def jobs_of(manifest: Path, out: Path) -> list[copies.Job]:
    return copies.look(Manifest.read([manifest]), out, CopySpec()).jobs


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


def test_a_full_disk_ends_the_command_and_blames_no_video(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "write_video", full)
    with pytest.raises(UserError, match="the disk is full"):
        run(corpus, tmp_path / "prepared")
    assert not (tmp_path / "prepared" / "quarantine.jsonl").exists()


def test_ctrl_c_keeps_what_is_done(
    corpus: Path, tmp_path: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(function: Callable, items: list, num_workers: int, limits_of: object) -> object:
        yield 0, function(items[0])
        raise KeyboardInterrupt

    out = tmp_path / "prepared"
    with monkeypatch.context() as patch:
        patch.setattr(copies, "map_isolated", interrupted)
        assert run(corpus, out) == 130
    assert len(list((out / "records").rglob("*.json"))) == 1
    assert run(corpus, out) == 0
    assert contents(out) == expected


# -- kill -9


def test_killed_before_any_renaming_it_ends_the_same(written: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    """All 8 of them: the parameters, a copy and a record for each of three videos, the manifest."""
    for num_renames in range(9):
        out = tmp_path / str(num_renames)
        status = killed_before_renaming(num_renames, lambda out=out: run(written / "manifest.parquet", out))
        assert status == (-signal.SIGKILL if num_renames < 8 else 0)
        for path in [*out.rglob("*.mp4"), *out.rglob("*.json")]:  # what has its name is whole
            name = str(path.relative_to(out))
            assert path.name.startswith(".") or hashlib.sha256(path.read_bytes()).hexdigest() == expected[name]
        assert run(written / "manifest.parquet", out) == 0
        assert contents(out) == expected


def test_what_a_killed_process_left_is_cleared_away_once_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".prepared.1.partial.json", tmp_path / ".manifest.2.partial.parquet"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    with copies.only_process(tmp_path, (0, 1)):
        assert not old.exists() and new.exists()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(written: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    """The whole program with two workers, killed with SIGKILL after a random time, again and again until it gets through."""
    command = [sys.executable, "-m", "surgrec.prepare", "--manifest", str(written / "manifest.parquet")]
    command += ["--workers", "2", "--out"]
    started = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    whole_seconds, moments, num_killed = time.monotonic() - started, random.Random(0), 0
    for attempt in range(12):
        if num_killed >= 4:
            break
        out = tmp_path / str(attempt)

        def look(out: Path = out) -> None:
            for path in out.rglob("[!.]*.mp4"):
                assert hashlib.sha256(path.read_bytes()).hexdigest() == expected[str(path.relative_to(out))]

        num_killed += killed_at_random([*command, str(out)], 1.2 * whole_seconds, moments, look)
        assert contents(out) == expected
    assert num_killed >= 4


def test_probing_errors_are_reasons(corpus: Path, tmp_path: Path) -> None:
    """A worker's answer is a reason, whatever is wrong with the file."""
    change(corpus, lambda row: row.update(modified_nanoseconds=None))  # else it is called a change
    job = jobs_of(corpus, tmp_path / "prepared")[0]
    path = Path(job.row["root"]) / job.row["path"]
    path.write_bytes(bytes(job.row["size_bytes"]))
    ((_, result),) = map_isolated(copies._make, [job], 1, copies.limits_of)
    assert isinstance(result, VideoError) and result.reason == "not_a_video"


def test_the_page_says_what_is_so() -> None:
    """Every reason with its sentence, and the defaults of the command."""
    page = (Path(__file__).resolve().parent.parent / "docs" / "prepare.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", page, flags=re.MULTILINE) == list(REASONS.items())
    options = prepare._parser().parse_args(["--manifest", "m", "--out", "o"])
    spec = prepare._spec(options)
    assert spec == CopySpec()
    for said in (
        f"short side {spec.short_side_pixels} pixels",
        f"a closed group every {spec.group_frames} frames",
        f"{spec.skippable_frames} of 4",
        f"`crf {spec.crf}`",
        f"`--jpeg-quality {spec.jpeg_quality}`",
    ):
        assert said in page
    assert (options.fps, spec.fps) == ("source", 0.0)
