"""M2CAI16-workflow: 41 cholecystectomies of two hospitals (Twinanda et al. 2017; Stauder et al., arXiv 1610.09278)."""

from __future__ import annotations

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.phase_text import read_phase_text
from surgrec.evaluation.tasks.task import Task

VIDEO_FPS = 25.0
TRAIN = [f"workflow_video_{number:02d}" for number in range(1, 28)]
TEST = [f"test_workflow_video_{number:02d}" for number in range(1, 15)]
SPLITS = {"27_14": {**dict.fromkeys(TRAIN, "train"), **dict.fromkeys(TEST, "test")}}


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase. The header of a label file is no phase."""
    videos = archive.find(
        ("train_dataset/*.mp4", "test_dataset/*.mp4"), r"[^/]+/((?:test_)?workflow_video_\d\d)\.mp4", "27 and 14 videos"
    )
    keys = archive.present((*TRAIN, *TEST), videos, "video")
    operations = []
    for key in keys:
        text = archive.file(f"{videos[key].parent.name}/{key}.txt", "the phases of a video, a line a frame")
        operations.append(Operation(key, videos[key], key, *read_phase_text(archive, text, VIDEO_FPS)))
    notes = archive.missing_note(len(TRAIN) + len(TEST), len(keys), "video")
    return dense(archive, "phase", operations, SPLITS, notes), clips(archive, operations, SPLITS, notes)
