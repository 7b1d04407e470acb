"""One's own footage: a manifest and labels become both forms of task, on the same cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.tasks.own import Footage, read_footage
from tests.data.conftest import VIDEO_SECONDS
from tests.footage import write_corpus, write_labels


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    manifest = write_corpus(tmp_path_factory.mktemp("own"))
    return manifest, write_labels(manifest)


def with_splits(manifest: Path, names: list[str | None], out: Path) -> Path:
    """The manifest with a column of official splits and each video its own case."""
    table = Manifest.read([manifest]).table
    for name, values in (("split", names), ("group_id", [f"g{row}" for row in range(len(table))])):
        table = table.set_column(
            table.schema.get_field_index(name), table.schema.field(name), pa.array(values, pa.string())
        )
    Manifest(table).write(out)
    return out


def test_labels_over_time_become_both_forms(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = with_splits(corpus[0], [None] * 4, tmp_path / "m.parquet")
    dense, clips = read_footage(Footage("own", manifest, corpus[1], "phase", clip_seconds=1.0))
    half = VIDEO_SECONDS // 2
    assert dense.classes == ("first", "second") and dense.domain == "other"
    assert all(each.labels.tolist() == [0] * half + [1] * half for each in dense.recordings)
    assert len(clips.clips) == 4 * VIDEO_SECONDS and {
        clip.end_seconds - clip.start_seconds for clip in clips.clips if clip.end_seconds
    } == {1.0}
    assert set(clips.groups) == set(dense.groups) and dense.splits[0].origin == "seeded"
    for part, rows in dense.splits[0].parts().items():
        assert set(dense.groups[rows]) == set(clips.groups[clips.splits[0].parts()[part]])
    ids = set(Manifest.read([manifest]).video_ids)
    assert {each.video_id for each in dense.recordings} == {clip.video_id for clip in clips.clips} == ids


def test_the_manifests_own_splits_are_used(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = with_splits(corpus[0], ["train", "val", "test", "test"], tmp_path / "m.parquet")
    dense, clips = read_footage(Footage("own", manifest, corpus[1], "phase"))
    (split,) = dense.splits
    assert (split.name, split.origin) == ("manifest", "official")
    assert [rows.tolist() for rows in split.parts().values()] == [[0], [1], [2, 3]]
    assert np.array_equal(np.sort(np.concatenate(list(clips.splits[0].parts().values()))), np.arange(len(clips.clips)))


def test_videos_without_labels_are_counted(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = with_splits(corpus[0], [None] * 4, tmp_path / "m.parquet")
    first = Manifest.read([manifest]).id_of(0)
    kept = [line for line in corpus[1].read_text().splitlines() if not line.startswith(f"{first},")]
    (tmp_path / "labels.csv").write_text("\n".join(kept) + "\n")
    dense, _ = read_footage(Footage("own", manifest, tmp_path / "labels.csv", "phase"))
    assert len(dense.recordings) == 3 and dense.notes == ("1 video without labels left out",)


def test_one_label_is_no_task(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(corpus[1].read_text().replace(",second", ",first"))
    with pytest.raises(UserError, match="has 1 label; a task needs two"):
        read_footage(Footage("own", corpus[0], tmp_path / "labels.csv", "phase"))
    with pytest.raises(UserError, match=r"0.5 s are too short"):
        read_footage(Footage("own", *corpus, "phase", clip_seconds=0.5))
