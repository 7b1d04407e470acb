"""Adapters: each reads a miniature archive in its official layout, and refuses another with a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.catalog import ADAPTERS, read_tasks
from surgrec.evaluation.tasks.task import ClipTask, DenseTask, NamedSplit, Task
from tests.evaluation.tasks import archives


@pytest.fixture(scope="session")
def minis(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The miniature archive of a dataset, written once."""
    folder = tmp_path_factory.mktemp("archives")

    def of(name: str) -> Path:
        if not (folder / name).is_dir():
            getattr(archives, name)(folder / name)
        return folder / name

    return of


@pytest.fixture
def read(minis: Callable[[str], Path]) -> Callable[[str], dict[str, Task]]:
    return lambda name: {task.name: task for task in read_tasks(name, minis(name))}


def groups_of(task: Task, split: NamedSplit) -> dict[str, set[str]]:
    return {part: set(task.groups[rows].tolist()) for part, rows in split.parts().items()}


def sizes(split: NamedSplit) -> list[int]:
    return [len(rows) for rows in split.parts().values()]


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_archive_in_the_official_layout_is_read(name: str, minis: Callable[[str], Path]) -> None:
    """What holds of all: every form of the card is there, no id tells a file's name, splits share no group and are the same again."""
    root = minis(name)
    tasks = read_tasks(name, root)
    assert {"clips" if isinstance(task, ClipTask) else task.kind for task in tasks} == set(_forms(name))
    assert len({task.name for task in tasks}) == len(tasks)
    for task, again in zip(tasks, read_tasks(name, root), strict=True):
        rows = task.clips if isinstance(task, ClipTask) else task.recordings
        assert all(row.video.is_file() or row.video.is_dir() for row in rows)
        assert all(row.video_id.startswith(f"{name}_") and row.video.stem not in row.video_id for row in rows)
        assert task.splits, "a task without a split has no test"
        for split, same in zip(task.splits, again.splits, strict=True):
            parts = list(groups_of(task, split).values())
            assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
            assert task.split_hash(split) == again.split_hash(same)


@pytest.mark.parametrize("name", ADAPTERS)
def test_another_layout_is_refused_with_what_was_expected_where(name: str, tmp_path: Path) -> None:
    archives.put(tmp_path / "somewhere" / "else.mp4")
    with pytest.raises(UserError, match=f"{name}: expected .* below .*{tmp_path.name}") as told:
        read_tasks(name, tmp_path)
    assert "the layout is: " in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(UserError, match="there is no folder"):
        read_tasks(name, tmp_path / "nowhere")


def _forms(name: str) -> tuple[str, ...]:
    from surgrec.evaluation.tasks.card import task_card

    return task_card(name).forms


def copied(minis: Callable[[str], Path], name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(minis(name), tmp_path / name))


# -- one by one


def test_cholec80(read: Callable[[str], dict[str, Task]]) -> None:
    tasks = read("cholec80")
    dense, clips = tasks["cholec80_phase"], tasks["cholec80_clips"]
    assert isinstance(dense, DenseTask) and isinstance(clips, ClipTask)
    assert len(dense.recordings) == 80 and len(dense.classes) == 7 and dense.domain == "laparoscopy"
    first = dense.recordings[0]  # six phases of two seconds, one label a second
    assert first.labels.tolist() == [phase for phase in range(6) for _ in range(2)]
    assert first.times_seconds.tolist() == list(range(12))
    halves, thirds = dense.splits
    assert (halves.name, sizes(halves)) == ("40_40_carved0", [32, 8, 40])
    assert (thirds.name, sizes(thirds)) == ("40_8_32", [40, 8, 32])
    assert groups_of(dense, thirds)["validation"] == {f"video{number}" for number in range(41, 49)}
    assert [groups_of(clips, split) for split in clips.splits] == [groups_of(dense, split) for split in dense.splits]
    assert len(clips.clips) == sum(5 + number % 3 for number in range(1, 81))
    assert {clip.end_seconds - clip.start_seconds for clip in clips.clips if clip.end_seconds} == {2.0}


def test_a_missing_video_of_a_published_split_is_told(minis: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(minis, "cholec80", tmp_path)
    (root / "videos/video07.mp4").unlink()
    with pytest.raises(UserError, match=r"80 videos.* 1 are missing: video07"):
        read_tasks("cholec80", root)
    dense, clips = read_tasks("cholec80", root, allow_missing=True)
    assert len(dense.groups) == 79
    assert any(
        "1 video of 80" in note and "not on the published split" in note for note in (*dense.notes, *clips.notes)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Frame\tPhase\n0\tPreparation\n1\tLunch\n", "phase 'Lunch', which is none of its 7 classes"),
        ("Frame\tPhase\n", "no line with a frame and a phase"),
        ("Frame\tPhase\n5\tPreparation\n4\tPreparation\n", "must ascend"),
        ("Frame\tPhase\nPreparation\n", "expected a frame number and a phase"),
    ],
)
def test_wrong_labels_are_refused(minis: Callable[[str], Path], tmp_path: Path, text: str, said: str) -> None:
    root = copied(minis, "cholec80", tmp_path)
    (root / "phase_annotations/video03-phase.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        read_tasks("cholec80", root)


def test_jigsaws(read: Callable[[str], dict[str, Task]]) -> None:
    tasks = read("jigsaws")
    assert set(tasks) == {f"jigsaws_{bench}_gesture" for bench in ("suturing", "knot_tying", "needle_passing")} | {
        "jigsaws_clips"
    }
    suturing, clips = tasks["jigsaws_suturing_gesture"], tasks["jigsaws_clips"]
    assert isinstance(suturing, DenseTask) and isinstance(clips, ClipTask)
    assert len(suturing.recordings) == 15 and any("1 trial without a transcript" in note for note in suturing.notes)
    assert [split.name for split in suturing.splits] == [f"user_out_{user}" for user in "BCDEFGHI"]
    assert groups_of(suturing, suturing.splits[7]) == {"train": set("CDEFGH"), "validation": {"B"}, "test": {"I"}}
    first = suturing.recordings[0]  # a second before the first gesture; three gestures of two seconds
    assert np.array_equal(
        first.labels, np.repeat([-1, 0, 1, suturing.classes.index("loosening more suture")], [10, 20, 20, 20])
    )
    assert len(clips.clips) == 3 * 47 and {clip.video.name[-5] for clip in clips.clips} == {"1"}


def test_hyper_kvasir(read: Callable[[str], dict[str, Task]]) -> None:
    (task,) = read("hyper_kvasir").values()
    assert isinstance(task, ClipTask)
    named = [task.classes[label] for label in task.labels]
    assert [named.count(name) for name in ("lower tract polyps", "upper tract polyps", "upper tract pylorus")] == [
        6,
        5,
        4,
    ]
    assert len(task.clips) == 18 and any("2 videos in folders that are no class" in note for note in task.notes)
    assert {clip.end_seconds for clip in task.clips} == {None}
    (split,) = task.splits
    assert split.origin == "seeded" and sum(sizes(split)) == 18
