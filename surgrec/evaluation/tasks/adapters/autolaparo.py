"""AutoLaparo, task 1: 21 hysterectomies, a phase a second (Wang et al. 2022, arXiv 2208.02049)."""

from __future__ import annotations

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.phase_text import read_phase_text
from surgrec.evaluation.tasks.task import Task

KEYS = [f"{number:02d}" for number in range(1, 22)]
SPLITS = {
    "10_4_7": {
        **dict.fromkeys(KEYS[:10], "train"),
        **dict.fromkeys(KEYS[10:14], "validation"),
        **dict.fromkeys(KEYS[14:], "test"),
    }
}


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase."""
    videos = archive.find("videos/*.mp4", r"videos/(\d\d)\.mp4", "21 videos")
    keys = archive.present(KEYS, videos, "video")
    operations = []
    for key in keys:
        text = archive.file(f"labels/label_{key}.txt", "the phases of a video, a line a second")
        operations.append(Operation(key, videos[key], key, *read_phase_text(archive, text, 1.0)))
    notes = archive.missing_note(len(KEYS), len(keys), "video")
    return dense(archive, "phase", operations, SPLITS, notes), clips(archive, operations, SPLITS, notes)
