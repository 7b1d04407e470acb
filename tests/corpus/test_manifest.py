"""The manifest: what is written is read back, what is not a manifest is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surgrec.corpus.manifest import SCHEMA, SCHEMA_VERSION, Manifest, ManifestError

PUBLISHED = [  # the contract with users
    *("video_id", "source", "domain", "procedure", "group_id", "root", "path", "sha256"),
    *("num_frames", "duration_seconds", "fps", "width", "height", "codec", "usable"),
    *("licence", "split", "schema_version"),
]


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "video_id": f"src_{number:012x}",
        "source": "src",
        "domain": "other",
        "group_id": "src_g0",
        "root": "/videos",
        "path": f"{number}.mp4",
        "sha256": f"{number:064x}",
        "num_frames": 100,
        "duration_seconds": 4.0,
        "fps": 25.0,
        "width": 64,
        "height": 48,
        "codec": "h264",
        "usable": [{"start_seconds": 0.0, "end_seconds": 4.0}],
        "schema_version": SCHEMA_VERSION,
        **changes,
    }


def manifest(*rows: dict[str, Any]) -> Manifest:
    return Manifest(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def test_columns_are_those_that_users_know() -> None:
    assert SCHEMA.names[: len(PUBLISHED)] == PUBLISHED
    assert all(SCHEMA.field(name).nullable for name in SCHEMA.names[len(PUBLISHED) :])


def test_written_and_read_back(tmp_path: Path) -> None:
    manifest(row(1), row(2, split="train")).write(tmp_path / "a.parquet")
    manifest(row(3, source="other")).write(tmp_path / "b.parquet")
    both = Manifest.read([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert len(both) == 3
    assert both.video_ids.tolist() == [row(number)["video_id"] for number in (1, 2, 3)]
    assert both.sources.tolist() == ["src", "src", "other"]
    assert both.path_of(1) == Path("/videos/2.mp4")
    assert both.column("duration_seconds").tolist() == [4.0] * 3
    assert both.table["usable"][0].as_py() == [{"start_seconds": 0.0, "end_seconds": 4.0}]
    assert both.table.schema.equals(SCHEMA)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.parquet", "b.parquet"]


def test_a_manifest_with_only_the_published_columns_is_read(tmp_path: Path) -> None:
    pq.write_table(manifest(row(1)).table.select(PUBLISHED), tmp_path / "a.parquet")
    assert Manifest.read([tmp_path / "a.parquet"]).table.schema.equals(SCHEMA)


def test_other_string_and_number_types_are_accepted(tmp_path: Path) -> None:
    """As pandas or polars would write them."""
    table = manifest(row(1)).table
    table = table.set_column(0, "video_id", table["video_id"].cast(pa.large_string()))
    table = table.set_column(11, "width", table["width"].cast(pa.int64()))
    pq.write_table(table, tmp_path / "a.parquet")
    assert Manifest.read([tmp_path / "a.parquet"]).table.schema.equals(SCHEMA)


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    one = manifest(row(1), row(2))
    assert one.fingerprint == manifest(row(2), row(1)).fingerprint
    assert one.fingerprint == manifest(row(1, root="/moved", modified_nanoseconds=5), row(2)).fingerprint
    assert one.fingerprint != manifest(row(1), row(3)).fingerprint
    assert one.fingerprint != manifest(row(1), row(2, usable=[])).fingerprint
    one.write(tmp_path / "a.parquet")
    assert Manifest.read([tmp_path / "a.parquet"]).fingerprint == one.fingerprint


def refused(*paths: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        Manifest.read(paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_manifests_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    assert "no manifest was named" in refused()
    assert f"no manifest at {path}" in refused(path)
    path.write_text("video_id,source\n")
    assert "not a Parquet file" in refused(path)
    path.write_bytes(b"")
    assert "not a Parquet file" in refused(path)
    pq.write_table(pa.table({"video_id": ["a"]}), path)
    assert "lacks the columns source, domain" in refused(path)
    manifest().write(path)
    assert "lists no videos" in refused(path)
    manifest(row(1, schema_version=SCHEMA_VERSION + 1)).write(path)
    assert "newer surgrec" in refused(path)
    manifest(row(1), row(1)).write(path)
    assert "listed twice" in refused(path)
    manifest(row(1)).write(path)
    assert "listed twice" in refused(path, path)
    nullable = pa.schema([field.with_nullable(True) for field in SCHEMA])
    pq.write_table(pa.Table.from_pylist([row(1, source=None)], schema=nullable), path)
    assert "source" in refused(path)
    table = manifest(row(1)).table
    pq.write_table(table.set_column(8, "num_frames", pa.array(["many"])), path)
    assert "wrong type" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"usable": [{"start_seconds": 0.0, "end_seconds": 60.0}]},
        {"usable": [{"start_seconds": -1.0, "end_seconds": 2.0}]},
        {"usable": [{"start_seconds": 3.0, "end_seconds": 2.0}]},
        {"usable": [{"start_seconds": 0.0, "end_seconds": float("nan")}]},
        {"usable": [{"start_seconds": 0.0, "end_seconds": None}]},
        {"duration_seconds": float("inf")},
        {"fps": float("nan")},
    ],
)
def test_footage_outside_a_video_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Audits look at `duration_seconds` of a video, training at `usable`."""
    manifest(row(1), row(2, usable=[]), row(3, **changes)).write(tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match=rf"a\.parquet: usable of {row(3)['video_id']} lies outside"):
        Manifest.read([tmp_path / "a.parquet"])


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/x", "a/b", "..", ".hidden", "", "a\n", "a b", "x" * 300])
@pytest.mark.parametrize("column", ["source", "video_id"])
def test_names_that_would_lead_out_of_a_folder_are_refused(column: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    manifest(row(1), row(2, **{column: name})).write(path)
    assert f"the {column} in row 1" in refused(path)
