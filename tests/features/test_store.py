"""Both formats keep the same, whole or not at all, readable without torch, and refuse what another model made."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from surgrec.core.errors import UserError
from surgrec.features.origin import Origin, joined
from surgrec.features.parts import Parts
from surgrec.features.store import FeatureStore, check_video_id, claim_store, open_store
from surgrec.features.windows import WindowFeatures

FORMATS = ("zarr", "parquet")
ORIGIN = Origin("ab" * 32, {"num_frames": 4}, "pooled", (6,), 0.8, 0.8)


def windows(num: int, shape: tuple[int, ...] = (6,), seed: int = 0) -> WindowFeatures:
    features = np.random.default_rng(seed).standard_normal((num, *shape)).astype(np.float32)
    is_valid = np.arange(num) != 1
    features[~is_valid] = np.nan
    start = np.arange(num) * 0.8
    return WindowFeatures(start, start + 0.8, is_valid, np.arange(num) == num - 1, features)


def part(batch: WindowFeatures, span: slice) -> WindowFeatures:
    return WindowFeatures(*(column[span] for column in vars(batch).values()))


def add(store: FeatureStore, video_id: str, batch: WindowFeatures, step: int = 2) -> None:
    with store.writer(video_id, len(batch)) as writer:
        for first in range(0, len(batch), step):
            writer.append(part(batch, slice(first, first + step)))


def assert_same(one: WindowFeatures, two: WindowFeatures) -> None:
    for name, column in vars(one).items():
        np.testing.assert_array_equal(column, vars(two)[name], err_msg=name)


@pytest.mark.parametrize("layout, shape", [("pooled", (6,)), ("time", (2, 3)), ("all", (4, 5))])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_read_and_formats_agree(
    tmp_path: Path, layout: str, shape: tuple[int, ...], dtype: str
) -> None:
    origin = replace(ORIGIN, layout=layout, feature_shape=shape, dtype=dtype)
    batch = windows(7, shape)
    kept = replace(batch, features=batch.features.astype(dtype))
    for file_format in FORMATS:
        add(claim_store(tmp_path / file_format, file_format, origin), "a_1", batch)
        store = open_store(tmp_path / file_format)
        assert store.origin == origin and store.video_ids() == {"a_1"}
        assert store.read("a_1").features.dtype == dtype
        assert_same(store.read("a_1"), kept)
        with pytest.raises(KeyError):
            store.read("b_2")


@pytest.mark.parametrize("file_format", FORMATS)
def test_chunks_do_not_depend_on_batches(tmp_path: Path, file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Origin, "windows_per_chunk", 5)
    batch = windows(23)
    for step in (1, 4, 5, 23):
        store = claim_store(tmp_path / f"{step}", file_format, ORIGIN)
        add(store, "a_1", batch, step)
        assert_same(store.read("a_1"), batch)
        if file_format == "parquet":
            metadata = pq.ParquetFile(tmp_path / f"{step}" / "a_1.parquet").metadata
            assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_interrupted_video_is_not_there(tmp_path: Path, file_format: str) -> None:
    store = claim_store(tmp_path / "out", file_format, ORIGIN)
    add(store, "a_1", windows(3))
    with pytest.raises(KeyboardInterrupt), store.writer("b_2", 9) as writer:
        writer.append(windows(2))
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="2 windows were given, not 9"), store.writer("b_2", 9) as writer:
        writer.append(windows(2))
    assert open_store(tmp_path / "out").video_ids() == {"a_1"}
    assert not [path for path in (tmp_path / "out").iterdir() if "partial" in path.name]


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_a_killed_process_left_is_removed(tmp_path: Path, file_format: str) -> None:
    store = claim_store(tmp_path / "out", file_format, ORIGIN)
    add(store, "a_1", windows(3))
    left = tmp_path / "out" / (".b_2.77.partial/b_2/zarr.json" if file_format == "zarr" else ".b_2.77.partial.parquet")
    part = tmp_path / "out" / ".partial" / "b_2" / "000000000-000000002.npz"
    for file in (left, part):
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("half")
    assert store.video_ids() == {"a_1"}
    claim_store(tmp_path / "out", file_format, ORIGIN, is_shared=True)
    assert left.exists(), "another shard may be writing it"
    claim_store(tmp_path / "out", file_format, ORIGIN)
    assert not left.exists() and store.video_ids() == {"a_1"} and part.exists(), "a part of a video is whole"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_stranger_can_check_the_checksum(tmp_path: Path, file_format: str, dtype: str) -> None:
    add(claim_store(tmp_path, file_format, replace(ORIGIN, dtype=dtype)), "a_1", windows(7))
    if file_format == "zarr":
        group: Any = zarr.open_group(tmp_path, mode="r")["a_1"]
        array, said = group["features"][:], group.attrs["features_sha256"]
    else:
        table = pq.read_table(tmp_path / "a_1.parquet")
        array = table["feature"].combine_chunks().flatten().to_numpy()
        said = pq.ParquetFile(tmp_path / "a_1.parquet").metadata.metadata[b"features_sha256"].decode()
    assert array.dtype == dtype and hashlib.sha256(array.tobytes()).hexdigest() == said


def test_shards_that_begin_at_once_find_one_store(tmp_path: Path) -> None:
    for file_format in FORMATS:
        with ThreadPoolExecutor(8) as pool:
            stores = list(
                pool.map(lambda _, kind=file_format: claim_store(tmp_path / kind, kind, ORIGIN, True), range(8))
            )
        assert all(store.origin == ORIGIN for store in stores)
        assert len(list((tmp_path / file_format).iterdir())) == 1


def test_parts_are_read_from_the_first_window_on(tmp_path: Path) -> None:
    batch, parts = windows(9), Parts(tmp_path, "a_1")
    for first in (0, 2, 4):
        parts.add(part(batch, slice(first, first + 2)))
        parts.save()
    again = Parts(tmp_path, "a_1")
    assert again.num_done == 6
    assert_same(joined(list(again)), part(batch, slice(0, 6)))
    (tmp_path / ".partial" / "a_1" / "000000002-000000004.npz").unlink()
    assert Parts(tmp_path, "a_1").num_done == 2, "what comes after a gap is not counted"
    again.remove()
    assert not (tmp_path / ".partial").exists()


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_video_whose_name_begins_another_leaves_that_alone(tmp_path: Path, file_format: str) -> None:
    """Two shards at once, and ids with dots in them."""
    store = claim_store(tmp_path / "out", file_format, ORIGIN)
    with store.writer("case.b", 5) as writer:
        writer.append(windows(5))
        add(store, "case", windows(3))
    assert store.video_ids() == {"case", "case.b"}
    assert_same(store.read("case.b"), windows(5))


@pytest.mark.parametrize("file_format", FORMATS)
def test_parts_of_a_video_that_is_whole_are_removed(tmp_path: Path, file_format: str) -> None:
    store = claim_store(tmp_path, file_format, ORIGIN)
    add(store, "a_1", windows(3))
    for name in ("a_1", "b_2"):
        parts = Parts(tmp_path, name)
        parts.add(windows(3))
        parts.save()
    claim_store(tmp_path, file_format, ORIGIN)
    assert [entry.name for entry in (tmp_path / ".partial").iterdir()] == ["b_2"]


def test_parts_are_saved_while_another_shard_tidies_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, removed = os.mkdir, list[Path]()

    def make_and_lose(path: Any, *arguments: Any, **options: Any) -> None:
        make(path, *arguments, **options)
        if Path(path).name == ".partial" and not removed:
            removed.append(Path(path))
            Path(path).rmdir()

    monkeypatch.setattr(os, "mkdir", make_and_lose)
    parts = Parts(tmp_path, "a_1")
    parts.add(windows(3))
    parts.save()
    assert removed and Parts(tmp_path, "a_1").num_done == 3


def test_a_part_is_saved_half_a_minute_after_its_first_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at once, where the video's turn came late: a short one is whole before."""
    now = [0.0]
    monkeypatch.setattr("surgrec.features.parts.time.monotonic", lambda: now[0])
    parts = Parts(tmp_path, "a_1")
    for seconds, are_saved in ((1000.0, False), (1029.0, False), (1031.0, True), (1032.0, True)):
        now[0] = seconds
        parts.add(windows(2))
        assert parts.folder.exists() == are_saved, seconds
    assert Parts(tmp_path, "a_1").num_done == 6


CHANGES: list[dict[str, Any]] = [
    {"model_sha256": "cd" * 32},
    {"stride_seconds": 0.4},
    {"layout": "time"},
    {"preprocessing": {}},
    {"precision": "bfloat16"},
    {"layers": ("norm",)},
]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("change", CHANGES)
def test_features_of_another_extraction_are_refused(tmp_path: Path, file_format: str, change: dict[str, Any]) -> None:
    add(claim_store(tmp_path / "out", file_format, ORIGIN), "a_1", windows(3))
    with pytest.raises(UserError, match=f"another extraction .*{next(iter(change))}"):
        claim_store(tmp_path / "out", file_format, replace(ORIGIN, **change))
    claim_store(tmp_path / "out", file_format, ORIGIN)


def test_another_format_or_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    claim_store(tmp_path / "out", "zarr", ORIGIN)
    with pytest.raises(UserError, match="--format"):
        claim_store(tmp_path / "out", "parquet", ORIGIN)
    (tmp_path / "notes" / ".partial").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no features"):
        claim_store(tmp_path / "notes", "zarr", ORIGIN)
    assert (tmp_path / "notes" / ".partial").is_dir(), "a foreign folder is left as it was"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="holds no features"):
        claim_store(tmp_path / "file", "parquet", ORIGIN)
    zarr.create_group(store=tmp_path / "theirs")
    with pytest.raises(UserError, match="did not write"):
        claim_store(tmp_path / "theirs", "zarr", ORIGIN)
    with pytest.raises(UserError, match="holds no features"):
        open_store(tmp_path / "nowhere")


def test_features_of_another_shape_are_refused(tmp_path: Path) -> None:
    store = claim_store(tmp_path / "out", "zarr", ORIGIN)
    with pytest.raises(ValueError, match="do not fit"), store.writer("a_1", 3) as writer:
        writer.append(windows(3, (7,)))


def test_ids_that_are_no_file_names_are_refused() -> None:
    check_video_id("cholec.80_ab-12")
    for bad in ("", "../x", ".hidden", "a/b", "_features", "a b"):
        with pytest.raises(UserError):
            check_video_id(bad)


def test_the_formats_are_plain(tmp_path: Path) -> None:
    """A stranger's view: zarr and pyarrow alone, and no torch on the way."""
    for file_format in FORMATS:
        store = claim_store(tmp_path / file_format, file_format, ORIGIN)
        add(store, "a_1", windows(3))
        add(store, "b_2", windows(2))
    group = zarr.open_group(tmp_path / "zarr", mode="r")
    assert sorted(group) == ["a_1", "b_2"] and group.attrs["surgrec"]["model_sha256"] == "ab" * 32  # type: ignore[index]
    assert group["a_1"].attrs["surgrec"]["layout"] == "pooled"  # type: ignore[index]
    assert group["a_1/features"].shape == (3, 6)  # type: ignore[union-attr]
    table = pq.read_table(tmp_path / "parquet")
    assert table.column_names == ["video_id", "window", "start_seconds", "end_seconds", "valid", "padded", "feature"]
    assert table["video_id"].to_pylist() == ["a_1"] * 3 + ["b_2"] * 2 and table["window"].to_pylist() == [0, 1, 2, 0, 1]
    assert json.loads(table.schema.metadata[b"surgrec"])["feature_shape"] == [6]
    program = """
import sys
from surgrec.features.store import open_store
print(open_store(sys.argv[1]).video_ids(), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "parquet")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "False"
