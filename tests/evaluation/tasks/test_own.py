"""One's own footage: a manifest and labels become both forms of task, on the same cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.tasks.own import Footage, read_footage
from tests.data.conftest import VIDEO_SECONDS, manifest_of
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


def labelled(tmp_path: Path, marks: dict[str, str]) -> tuple[Path, Path]:
    """A manifest of videos of four seconds and their labels over time, as lines `seconds,phase`."""
    rows = [{"video_id": name, "source": "one", "usable": [(0.0, 4.0)]} for name in marks]
    manifest_of(rows).write(tmp_path / "m.parquet")
    lines = [f"{name},{line}" for name, each in marks.items() for line in each.split()]
    (tmp_path / "labels.csv").write_text("\n".join(("video_id,time_seconds,phase", *lines)) + "\n")
    return tmp_path / "m.parquet", tmp_path / "labels.csv"


def test_a_video_without_a_window_moves_no_other_to_another_part(tmp_path: Path) -> None:
    """Clips lie in the parts of their videos, also where a video has no stretch that is long enough for one."""
    marks = {f"v{number:02d}": "0,a 2,b" if number % 4 == 0 else f"0,{'ab'[number % 2]}" for number in range(16)}
    manifest, labels = labelled(tmp_path, marks)
    for seed in range(5):
        dense, clips = read_footage(Footage("own", manifest, labels, "phase", clip_seconds=3.0), seed)
        part_of = {dense.groups[row]: part for part, rows in dense.splits[0].parts().items() for row in rows}
        assert len(clips.clips) == 12
        for part, rows in clips.splits[0].parts().items():
            assert {part_of[group] for group in clips.groups[rows]} == {part}


def test_a_label_holds_to_the_end_of_the_video_and_no_longer(tmp_path: Path) -> None:
    marks = {f"v{number}": "0,a 2,b 6,a" for number in range(3)}
    _, clips = read_footage(Footage("own", *labelled(tmp_path, marks), "phase"))
    assert {(clip.start_seconds, clip.end_seconds) for clip in clips.clips} == {(0.0, 2.0), (2.0, 4.0)}


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
