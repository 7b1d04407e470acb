"""Damaged and awkward files: each is accepted or refused with a reason, by index and by prepare; the parent does not notice."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from surgrec.corpus.card import Card
from surgrec.corpus.copies import look, make_copies, prepared_manifest
from surgrec.corpus.manifest import SCHEMA, SCHEMA_VERSION, Manifest
from surgrec.corpus.scan import scan
from surgrec.video.errors import REASONS
from surgrec.video.probe import probe
from surgrec.video.transcode import CopySpec
from tests.corpus.damage import KINDS, write_damaged
from tests.video.make_videos import Coded, variable_times, write

_GROWTH_BYTES = 40 << 20  # of the parent over hundreds of files: caches of its own, no file's content


def rendered(folder: Path) -> list[Path]:
    """Sound videos of four containers, where there is no real footage."""
    folder.mkdir()
    coded = (
        Coded("a.mp4", times=variable_times(60), ticks_per_second=1000),
        Coded("b.mkv", times=variable_times(60), ticks_per_second=1000),
        Coded("c.avi", codec="mpeg4", options={"g": "12", "bf": "2"}),
        Coded("d.mpg", codec="mpeg2video", options={"g": "12", "bf": "2"}),
    )
    return [write(folder, video) for video in coded]


@pytest.fixture
def sources(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """Real clips below 2 MB and one awkward file of each container; rendered ones where those are absent."""
    try:
        clips = request.getfixturevalue("clips")
    except pytest.skip.Exception:
        return rendered(tmp_path / "whole")
    small = [path for path in sorted(clips.glob("*/*.mp4")) if path.stat().st_size < 2_000_000]
    return [
        *small,
        *(clips / "formats" / name for name in ("av1_video.mkv", "flipping_a_pancake.mkv", "unordered.mov")),
    ]


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def check_all(paths: list[Path], out: Path, num_workers: int, spec: CopySpec) -> tuple[Counter[str], Counter[str]]:
    """Index and prepare `paths`; how often each reason was given, "accepted" among them, by either."""
    root = paths[0].parent
    result = scan(root, Card("damaged", "other"), num_workers)
    refused = {refusal.path: refusal.reason for refusal in result.refusals}
    accepted = result.rows["path"].to_pylist()
    assert {*refused, *accepted} == {path.name for path in paths}
    assert set(refused.values()) <= {*REASONS, "duplicate"}

    # What the index refuses is put before `prepare` as well, with what the row of a sound file would say.
    rows = [*result.rows.to_pylist(), *(_pretended(root, name) for name in refused)]
    manifest = Manifest(pa.Table.from_pylist(rows, schema=SCHEMA))
    state = look(manifest, out, spec)
    records = {job.row["video_id"]: record for job, record in make_copies(state.jobs, num_workers)}
    assert len(records) == len(rows) == len(paths)
    for record in records.values():
        assert "copy" in record or record["refused"]["reason"] in REASONS
        assert not any(path.stem in json.dumps(record.get("refused")) for path in paths)
    for row in prepared_manifest(manifest, out, records).table.to_pylist():
        info = probe(out / row["path"])
        assert (info.num_frames, info.width, info.height) == (row["num_frames"], row["width"], row["height"])
    assert not list(out.rglob("*.partial.*"))
    outcomes = [record["refused"]["reason"] if "refused" in record else "accepted" for record in records.values()]
    return Counter([*refused.values(), *("accepted" for _ in accepted)]), Counter(outcomes)


def _pretended(root: Path, name: str) -> dict:
    facts = {"num_frames": 100, "duration_seconds": 10.0, "fps": 10.0, "width": 128, "height": 96, "codec": "h264"}
    names = {"source": "damaged", "domain": "other", "group_id": "g", "root": str(root), "path": name, "sha256": name}
    return {
        "video_id": f"refused_{hashlib.sha256(name.encode()).hexdigest()[:12]}",
        **names,
        **facts,
        "usable": [],
        "schema_version": SCHEMA_VERSION,
    }


def test_damage_of_each_kind(tmp_path: Path) -> None:
    paths = write_damaged(rendered(tmp_path / "whole"), tmp_path / "damaged", 16, seed=1)
    assert {path.stem.partition("_")[2] for path in paths} == set(KINDS)
    indexed, _ = check_all(paths, tmp_path / "out", 2, CopySpec(short_side_pixels=64, fps=5))
    assert 0 < indexed["accepted"] < 16


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", [CopySpec(short_side_pixels=64, fps=5), CopySpec("frames", short_side_pixels=64, fps=5)]
)
def test_two_hundred_damaged_files(spec: CopySpec, sources: list[Path], tmp_path: Path) -> None:
    first = write_damaged(sources, tmp_path / "first", 20, seed=2)
    check_all(first, tmp_path / "out_first", 2, spec)  # what the parent loads once
    before = resident_bytes()
    paths = write_damaged(sources, tmp_path / "damaged", 200, seed=3)
    indexed, prepared = check_all(paths, tmp_path / "out", 2, spec)
    growth = resident_bytes() - before
    print(f"indexed {dict(indexed)}, prepared {dict(prepared)}, the parent grew by {growth / 2**20:.1f} MiB")
    assert growth < _GROWTH_BYTES
    assert indexed["accepted"] and prepared["accepted"]


@pytest.mark.slow
def test_awkward_files(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "awkward"
    root.mkdir()
    for path in sorted((clips / "formats").iterdir()):
        (root / path.name).symlink_to(path)
    (root / "zero.mp4").touch()
    (root / "garbage.mp4").write_bytes(bytes(range(256)) * 100)
    (root / "text.avi").write_text("notes\n" * 500)
    (root / "no_index.mp4").write_bytes((clips / "formats" / "dog.mp4").read_bytes()[:50_000])
    (root / "gone.mkv").symlink_to(tmp_path / "nowhere")
    paths = sorted(root.iterdir())
    assert len(paths) >= 20
    indexed, prepared = check_all(paths, tmp_path / "out", 2, CopySpec(short_side_pixels=128, fps=5))
    print(f"indexed {dict(indexed)}, prepared {dict(prepared)}")
    assert (indexed["accepted"], prepared["accepted"]) == (15, 14)  # one is damaged in its middle: found by decoding
