"""Adapters: each reads a miniature archive in its official layout, and refuses another with a sentence."""

from __future__ import annotations

import re
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


def test_datasets_with_common_videos_know_of_each_other(minis: Callable[[str], Path]) -> None:
    for name, other in (("cholec80", "m2cai16_workflow"), ("m2cai16_workflow", "cholec80"), ("cholect50", "cholec80")):
        assert all(other in task.overlapping for task in read_tasks(name, minis(name)))
    assert all(task.overlapping == () for task in read_tasks("jigsaws", minis("jigsaws")))


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
        assert all(re.fullmatch(name + "_[0-9a-f]{12}", row.video_id) for row in rows)
        assert task.splits, "a task without a split has no test"
        assert task.dataset == name
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


@pytest.mark.parametrize(
    ("name", "lost", "said"),
    [
        ("aixsuture", "OSATS.csv", "OSATS.xlsx, or OSATS.csv"),
        ("autolaparo", "labels/label_09.txt", "labels/label_09.txt"),
        ("cataract_101", "videos.csv", "videos.csv"),
        ("cataract_1k", "Phase_recognition_dataset/videos/case_5014.mp4", "56 videos.* 1 are missing: case_5014"),
        ("cataract_21", "validation/case_20.mp4", "4 videos in validation .*found 3"),
        ("cholec80", "phase_annotations/video80-phase.txt", "phase_annotations/video80-phase.txt"),
        ("cholect50", "CholecT50/labels/VID111.json", "50 label files.* missing: VID111"),
        ("colonoscopic", "Adenoma Hyperplasic", "two or more classes"),
        ("grasp", "GraSP_1fps/annotations/grasp_long-term_test.json", "grasp_long-term_test.json"),
        ("gyn_events", "AbdominalAccess Bleeding Coag-Transection", "two or more classes"),
        ("hyper_kvasir", "labeled-videos/upper-gi-tract", "two or more classes"),
        ("jigsaws", "Knot_Tying/transcriptions", "the folder Knot_Tying/transcriptions"),
        ("kvasir_capsule", "metadata.csv", "metadata.csv"),
        ("ldpolypvideo", "Test/Annotations/6/0003.txt", "Test/Annotations/6/0003.txt"),
        ("m2cai16_workflow", "test_dataset", "41 videos.* 14 are missing: test_workflow_video_01"),
        ("multibypass140", "labels/strasbourg/labels_by70_splits/labels/val/1fps_3.pickle", "val/1fps_3.pickle"),
        ("pitvis", "video_07.mp4", "25 videos.* missing: 7"),
        ("sar_rarp50", "test/video_41/action_discrete.txt", "test/video_41/action_discrete.txt"),
        ("surgicalactions160", "16_endobag-out/16_10.mp4", "160 clips.* found 159"),
    ],
)
def test_what_is_missing_is_told_with_its_place(
    name: str, lost: str, said: str, minis: Callable[[str], Path], tmp_path: Path
) -> None:
    root = copied(minis, name, tmp_path)
    for path in lost.split():
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
    with pytest.raises(UserError, match=f"{name}: expected .*{said}"):
        read_tasks(name, root)


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
        "1 video of 80 missing" in note and "not on the published split" in note
        for note in (*dense.notes, *clips.notes)
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
    assert len(suturing.recordings) == 39 and any("1 trial without a transcript" in note for note in suturing.notes)
    assert [split.name for split in suturing.splits] == [f"user_out_{number}" for number in range(1, 9)]
    passing = tasks["jigsaws_needle_passing_gesture"]
    assert not any("without a transcript" in note for note in passing.notes), "which is one of suturing"
    assert [split.name[-1] for split in passing.splits] == list("1234578"), "one surgeon never passed needles"
    assert groups_of(passing, passing.split("user_out_7"))["test"] == {"H"}
    assert groups_of(suturing, suturing.splits[7]) == {"train": set("CDEFGH"), "validation": {"B"}, "test": {"I"}}
    knots = tasks["jigsaws_knot_tying_gesture"]
    assert knots.classes == (
        "reaching for needle with right hand",
        "reaching for needle with left hand",
        "pulling suture with both hands",
    ), "no class that no knot is tied with"
    assert len(clips.classes) == 14
    first = suturing.recordings[0]  # a second before the first gesture; three gestures of two seconds
    assert np.array_equal(
        first.labels, np.repeat([-1, 0, 1, suturing.classes.index("loosening more suture")], [10, 20, 20, 20])
    )
    assert len(clips.clips) == 3 * (39 + 36 + 28) and {clip.video.name[-5] for clip in clips.clips} == {"1"}


def test_a_trial_whose_transcript_has_no_line_is_left_out(minis: Callable[[str], Path], tmp_path: Path) -> None:
    """As one of the archive has none; a further one is a trial that is missing."""
    root = copied(minis, "jigsaws", tmp_path)
    (root / "Knot_Tying/transcriptions/Knot_Tying_C001.txt").write_text("\n")
    with pytest.raises(UserError, match=r"36 videos of Knot_Tying with a transcript .*found 35"):
        read_tasks("jigsaws", root)
    tasks = read_tasks("jigsaws", root, allow_missing=True)
    assert any("1 trial of 103 missing" in note and "not on the published split" in note for note in tasks[1].notes)


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


def test_autolaparo(read: Callable[[str], dict[str, Task]]) -> None:
    dense = read("autolaparo")["autolaparo_phase"]
    assert isinstance(dense, DenseTask) and len(dense.classes) == 7
    assert dense.recordings[0].labels.tolist() == [phase for phase in range(7) for _ in range(3)], "line 1 is second 0"
    assert [sizes(split) for split in dense.splits] == [[10, 4, 7]] and dense.splits[0].name == "10_4_7"


def test_m2cai16_has_eight_phases_and_the_header_is_none_of_them(read: Callable[[str], dict[str, Task]]) -> None:
    tasks = read("m2cai16_workflow")
    dense, clips = tasks["m2cai16_workflow_phase"], tasks["m2cai16_workflow_clips"]
    assert isinstance(dense, DenseTask) and isinstance(clips, ClipTask)
    assert len(dense.classes) == 8 and "phase" not in dense.classes and len(clips.clips) == 41 * 8
    assert sizes(dense.splits[0]) == [22, 5, 14]
    assert groups_of(dense, dense.splits[0])["test"] == {f"test_workflow_video_{number:02d}" for number in range(1, 15)}


def test_cataract_101(read: Callable[[str], dict[str, Task]]) -> None:
    tasks = read("cataract_101")
    dense, clips = tasks["cataract_101_phase"], tasks["cataract_101_clips"]
    assert isinstance(dense, DenseTask) and isinstance(clips, ClipTask)
    expected = (
        [-1] * 2 + [0] * 3 + [1] * 3 + [2] * 3 + [1] * 3 + [9] * 6
    )  # the last phase lasts to the end of the video
    assert dense.recordings[0].labels.tolist() == expected
    assert len(clips.clips) == 505 and dense.splits[0].origin == "seeded" and sizes(dense.splits[0]) == [61, 20, 20]


def test_cataract_1k(read: Callable[[str], dict[str, Task]]) -> None:
    dense = read("cataract_1k")["cataract_1k_phase"]
    assert isinstance(dense, DenseTask) and len(dense.classes) == 12
    labels = dense.recordings[0].labels
    assert len(labels) == 30 and labels[[4, 6, 18, 27]].tolist() == [-1, 0, 1, 5] and (labels[7:17] == -1).all(), (
        "idle is no phase"
    )


def test_cataract_21_speaks_english(read: Callable[[str], dict[str, Task]]) -> None:
    dense = read("cataract_21")["cataract_21_phase"]
    assert isinstance(dense, DenseTask) and len(dense.classes) == 11
    assert not {"Phako", "not_initialized", "Antibiotikum"} & set(dense.classes)
    named = [dense.classes[label] if label >= 0 else "" for label in dense.recordings[0].labels]
    assert named == [
        "",
        "",
        "incision",
        "incision",
        "phacoemulsification",
        "phacoemulsification",
        "antibiotics",
        "antibiotics",
    ]
    assert sizes(dense.splits[0]) == [14, 3, 4]


def test_colonoscopic_keeps_both_lights_of_a_lesion_together(read: Callable[[str], dict[str, Task]]) -> None:
    (task,) = read("colonoscopic").values()
    assert isinstance(task, ClipTask) and len(task.clips) == 152 and len(set(task.groups)) == 76
    assert len(task.splits) == 5 and np.array_equal(
        np.sort(np.concatenate([split.test for split in task.splits])), np.arange(152)
    )
    assert all(len(set(task.labels[split.test])) == 3 for split in task.splits), "each histology is divided alike"


def test_colonoscopic_is_read_as_lists_name_its_files(read: Callable[[str], dict[str, Task]], tmp_path: Path) -> None:
    archives.colonoscopic_as_listed(tmp_path)
    (listed,) = read_tasks("colonoscopic", tmp_path)
    (official,) = read("colonoscopic").values()
    assert isinstance(listed, ClipTask) and isinstance(official, ClipTask)
    assert sorted(zip(listed.groups, listed.labels, strict=True)) == sorted(
        zip(official.groups, official.labels, strict=True)
    )


def test_surgicalactions160_says_that_its_groups_are_unknown(read: Callable[[str], dict[str, Task]]) -> None:
    (task,) = read("surgicalactions160").values()
    assert isinstance(task, ClipTask) and len(task.clips) == 160 and len(task.classes) == 16
    assert any("one recording may be on two sides" in note for note in task.notes)
    assert all(np.bincount(task.labels[split.test]).tolist() == [2] * 16 for split in task.splits)


def test_gyn_events_has_no_class_for_rest_and_no_case_on_two_sides(read: Callable[[str], dict[str, Task]]) -> None:
    (task,) = read("gyn_events").values()
    assert isinstance(task, ClipTask) and len(task.clips) == 48 and np.bincount(task.labels).tolist() == [12] * 4
    assert not any("Rest" in clip.video.parts for clip in task.clips)
    assert any("8 clips of Rest" in note for note in task.notes) and not any(
        "LapGyn" in text for text in (task.name, task.title)
    )


def test_sar_rarp50(read: Callable[[str], dict[str, Task]]) -> None:
    dense = read("sar_rarp50")["sar_rarp50_gesture"]
    assert isinstance(dense, DenseTask) and dense.kind == "gesture" and dense.domain == "robotic"
    assert dense.recordings[0].labels.tolist() == [0] * 20 + [1] * 20 + [2] * 20 + [3] * 20, "ten labels a second"
    assert sizes(dense.splits[0]) in ([34, 8, 10], [33, 9, 10], [32, 10, 10]), "52 recordings of 50 operations"
    assert [len(groups) for groups in groups_of(dense, dense.splits[0]).values()] == [32, 8, 10]


def test_sar_rarp50_keeps_the_recordings_of_an_operation_together(
    read: Callable[[str], dict[str, Task]], minis: Callable[[str], Path], tmp_path: Path
) -> None:
    dense = read("sar_rarp50")["sar_rarp50_gesture"]
    assert isinstance(dense, DenseTask) and len(dense.recordings) == 52 and len(set(dense.groups)) == 50
    of = {each.video.parent.name: each.group for each in dense.recordings}
    assert of["video_15_1"] == of["video_15_2"] != of["video_17_1"]
    root = copied(minis, "sar_rarp50", tmp_path)
    (root / "train1").rename(root / "one")  # all training recordings in one folder, as they are downloaded
    (root / "train2").rename(root / "train")
    for folder in (root / "one").iterdir():
        folder.rename(root / "train" / folder.name)
    found = read_tasks("sar_rarp50", root)[0]
    assert found.split_hash(found.splits[0]) == dense.split_hash(dense.splits[0])
    shutil.rmtree(root / "test/video_41")
    (root / "train/video_15_2").rename(root / "test/video_15_2")
    with pytest.raises(UserError, match=r"each operation in train or in test.* video_15 is in both"):
        read_tasks("sar_rarp50", root)


def test_multibypass140(read: Callable[[str], dict[str, Task]]) -> None:
    tasks = read("multibypass140")
    phase, step = tasks["multibypass140_phase"], tasks["multibypass140_step"]
    assert isinstance(phase, DenseTask) and isinstance(step, DenseTask)
    assert (
        len(phase.classes) == 12
        and len(step.classes) == 46
        and not {"severe index", "out of body"} & set(phase.classes)
    )
    assert phase.recordings[0].labels.tolist() == [-1, 0, 0, -1, -1, 0, 0, 0, 0, 6, 6, 6, 6, 6, 6]
    assert step.classes[step.recordings[0].labels[1]] == "Petersen space closing"
    assert [split.name for split in phase.splits] == [f"fold{number}" for number in range(5)]
    assert all(sizes(split) == [80, 20, 40] for split in phase.splits)
    assert groups_of(phase, phase.splits[0])["test"] >= {"BBP01", "SBP20"}


def test_a_pickle_is_never_loaded(minis: Callable[[str], Path], tmp_path: Path) -> None:
    """The lists of MultiBypass140 are pickles of unknown hands; here is one that would do harm."""
    root = copied(minis, "multibypass140", tmp_path)
    harm = tmp_path / "harm"
    path = root / "labels/bern/labels_by70_splits/labels/test/1fps_0.pickle"
    names = b" ".join(f"BBP{number:02d}".encode() for number in range(1, 21))
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(harm).encode() + b"'\ntR." + names)
    assert len(read_tasks("multibypass140", root)) == 3 and not harm.exists()
    path.write_bytes(b"")
    with pytest.raises(UserError, match="videos of its own"):
        read_tasks("multibypass140", root)


def test_ldpolypvideo(read: Callable[[str], dict[str, Task]]) -> None:
    (task,) = read("ldpolypvideo").values()
    assert isinstance(task, ClipTask) and task.classes == ("no polyp", "polyp")
    first = [clip for clip in task.clips if clip.group == "sequence 1"]
    assert [(clip.start_seconds, clip.end_seconds, clip.label, clip.frames_fps) for clip in first] == [
        (0, 1, 0, 25),
        (1, 3, 1, 25),
    ]
    assert sum(clip.end_seconds is None for clip in task.clips) == 5 and np.bincount(task.labels).tolist() == [12, 7]


def test_kvasir_capsule(read: Callable[[str], dict[str, Task]]) -> None:
    (task,) = read("kvasir_capsule").values()
    assert isinstance(task, ClipTask) and len(task.classes) == 7
    stretches = {(clip.start_seconds, clip.end_seconds) for clip in task.clips}
    assert stretches == {(0.5, 2.0), (10.0, 13.0)} and len(task.clips) == 20 and len(set(task.groups)) == 10
    assert any("1 finding that are no class" in note for note in task.notes)


def test_aixsuture_keeps_the_two_videos_of_a_student_together(read: Callable[[str], dict[str, Task]]) -> None:
    (task,) = read("aixsuture").values()
    assert isinstance(task, ClipTask) and task.classes == ("novice", "intermediate", "proficient")
    assert len(task.clips) == 314 and len(set(task.groups)) == 157
    of = {clip.video.stem: clip.label for clip in task.clips}
    assert [of[code] for code in ("A00X", "A02X", "A03X", "A07X", "B00X", "B05X")] == [0, 0, 1, 2, 0, 2]


def test_aixsuture_reads_the_sheet_itself(minis: Callable[[str], Path], tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra benchmark is not installed")
    root = copied(minis, "aixsuture", tmp_path)
    book = openpyxl.Workbook()
    for line in (root / "OSATS.csv").read_text().splitlines():
        book.active.append([int(cell) if cell.isdigit() else cell for cell in line.split(",")])
    book.save(root / "OSATS.xlsx")
    (expected,) = read_tasks("aixsuture", root)
    (root / "OSATS.csv").unlink()
    (found,) = read_tasks("aixsuture", root)
    assert found.split_hash(found.splits[0]) == expected.split_hash(expected.splits[0])


def test_pitvis(read: Callable[[str], dict[str, Task]]) -> None:
    dense = read("pitvis")["pitvis_step"]
    assert isinstance(dense, DenseTask) and len(dense.classes) == 14 and len(dense.recordings) == 24
    assert dense.recordings[0].labels.tolist() == [-1] * 3 + [0] * 3 + [1] * 3 + [13] * 3
    assert groups_of(dense, dense.splits[0])["test"] == {"1", "12", "21", "24", "25"}
    assert any("1 video without a file of steps" in note for note in dense.notes)


def test_pitvis_needs_the_steps_that_were_given_out(minis: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(minis, "pitvis", tmp_path)
    (root / "annotations_03.csv").unlink()
    with pytest.raises(UserError, match=r"24 step files.* missing: 3"):
        read_tasks("pitvis", root)
    (dense, _) = read_tasks("pitvis", root, allow_missing=True)
    assert any("1 video of 24 missing" in note for note in dense.notes)
    (root / "annotations_04.csv").write_text("int_video,int_time,int_step\n")
    with pytest.raises(UserError, match="no line below its first"):
        read_tasks("pitvis", root, allow_missing=True)


def test_cholect50(read: Callable[[str], dict[str, Task]]) -> None:
    dense = read("cholect50")["cholect50_phase"]
    assert isinstance(dense, DenseTask) and len(dense.recordings) == 50 and dense.recordings[0].frames_fps == 1.0
    assert dense.recordings[0].labels.tolist() == [phase for phase in range(7) for _ in range(2)]
    assert [sizes(split) for split in dense.splits] == [[35, 5, 10]] * 5
    assert groups_of(dense, dense.splits[0])["validation"] == {"VID01", "VID56", "VID04", "VID13", "VID92"}


def test_grasp(read: Callable[[str], dict[str, Task]]) -> None:
    dense = read("grasp")["grasp_phase"]
    assert isinstance(dense, DenseTask) and len(dense.classes) == 11 and dense.classes[0] == "idle"
    assert dense.recordings[0].labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and sizes(dense.splits[0]) == [6, 2, 5]
