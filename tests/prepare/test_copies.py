"""`surgrec prepare`: in parts or at once it makes the same copies, which training reads as the originals, and names no patient."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from surgrec import prepare
from surgrec.core.errors import UserError
from surgrec.corpus import copies
from surgrec.corpus.manifest import Manifest
from surgrec.video.decode import open_video
from surgrec.video.errors import REASONS
from surgrec.video.transcode import CopySpec
from tests.conftest import REPOSITORY
from tests.data.test_clips import SPEC, reader_of
from tests.prepare.conftest import PATIENT, change, contents, run
from tests.video.make_videos import indices_in


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


def test_a_new_content_box_makes_a_new_copy(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    run(corpus, out)
    box = {"left": 32, "top": 32, "right": 128, "bottom": 96}
    change(corpus, lambda row: row["source"] == "b" and row.update(content_box=box))
    assert run(corpus, out) == 0
    manifest = Manifest.read([out / "manifest.parquet"])
    sizes = [(row["width"], row["height"], row["content_box"]) for row in manifest.table.to_pylist()]
    assert sizes == [(128, 96, None), (128, 96, None), (96, 64, None)]


def test_the_page_says_what_is_so() -> None:
    """Every reason with its sentence, and the defaults of the command."""
    page = (REPOSITORY / "docs" / "prepare.md").read_text(encoding="utf-8")
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


# -- shards


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


# -- packs


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
