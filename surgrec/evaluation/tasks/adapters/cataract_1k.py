"""Cataract-1K, phase recognition: 56 cataract operations, first and last second of each phase (Ghamsarian et al. 2024)."""

from __future__ import annotations

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import Span
from surgrec.evaluation.tasks.task import Task

NUM_VIDEOS = 56


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase; what lies between phases is idle, which is no phase."""
    base = archive.base("Phase_recognition_dataset")
    texts = archive.find(
        f"{base}annotations/case_*/case_*_annotations_phases.csv",
        rf"{base}annotations/(case_\d+)/case_\d+_annotations_phases\.csv",
        "the phases of a video",
    )
    videos = archive.find(f"{base}videos/case_*.mp4", rf"{base}videos/(case_\d+)\.mp4", "56 videos")
    keys = archive.present(texts, videos, "video")
    operations = []
    for key in keys:
        spans = []
        for row in archive.table(texts[key], ("comment", "sec", "endSec")):
            start, end = (archive.number(row[name], texts[key]) for name in ("sec", "endSec"))
            if end <= start:
                raise UserError(
                    f"{archive.card.name}: {texts[key]} has a phase that ends at {end} s, where it began or before"
                )
            spans.append(Span(start, end, archive.label("phase", row["comment"], texts[key])))
        operations.append(Operation(key, videos[key], key, spans, max(span.end_seconds for span in spans)))
    notes = archive.missing_note(max(NUM_VIDEOS, len(texts)), len(keys), "video")
    return dense(archive, "phase", operations, None, notes), clips(archive, operations, None, notes)
