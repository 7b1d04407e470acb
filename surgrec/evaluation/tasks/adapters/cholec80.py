"""Cholec80: 80 cholecystectomies, a phase text file a video (Twinanda et al. 2017, arXiv 1602.03012)."""

from __future__ import annotations

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.phase_text import read_phase_text
from surgrec.evaluation.tasks.task import Task

VIDEO_FPS = 25.0
KEYS = [f"video{number:02d}" for number in range(1, 81)]
TRAIN = dict.fromkeys(KEYS[:40], "train")
SPLITS = {
    "40_40": {**TRAIN, **dict.fromkeys(KEYS[40:], "test")},
    "40_8_32": {**TRAIN, **dict.fromkeys(KEYS[40:48], "validation"), **dict.fromkeys(KEYS[48:], "test")},
}


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase."""
    videos = archive.find("videos/*.mp4", r"videos/(video\d\d)\.mp4", "80 videos")
    keys = archive.present(KEYS, videos, "video")
    operations = []
    for key in keys:
        text = archive.file(f"phase_annotations/{key}-phase.txt", "the phases of a video, a line a frame")
        operations.append(Operation(key, videos[key], key, *read_phase_text(archive, text, VIDEO_FPS)))
    notes = archive.missing_note(len(KEYS), len(keys), "video")
    return dense(archive, "phase", operations, SPLITS, notes), clips(archive, operations, SPLITS, notes)
