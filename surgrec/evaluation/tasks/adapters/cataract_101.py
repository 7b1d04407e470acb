"""Cataract-101: 101 cataract operations, the frame where each phase begins (Schoeffmann et al. 2018)."""

from __future__ import annotations

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import Span
from surgrec.evaluation.tasks.task import Task

NUM_VIDEOS = 101


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase; a phase lasts until the next begins, the last to the end of the video."""
    videos = archive.find("videos/case_*.mp4", r"videos/case_(\d+)\.mp4", "101 videos")
    facts_file = archive.file("videos.csv", "frames and rate of each video")
    facts = {row["VideoID"]: row for row in archive.table(facts_file, ("VideoID", "Frames", "FPS"), ";")}
    labels_file = archive.file("annotations.csv", "the frame where each phase begins")
    starts: dict[str, list[tuple[int, int]]] = {}
    for row in archive.table(labels_file, ("VideoID", "FrameNo", "Phase"), ";"):
        frame = int(archive.number(row["FrameNo"], labels_file))
        starts.setdefault(row["VideoID"], []).append((frame, archive.label("phase", row["Phase"], labels_file)))
    keys = archive.present(sorted(starts, key=lambda key: (len(key), key)), videos, "video")
    if unknown := [key for key in keys if key not in facts]:
        raise UserError(f"{archive.card.name}: {facts_file} has no line for the video {unknown[0]} of annotations.csv")
    operations = []
    for key in keys:
        fps, num_frames = (archive.number(facts[key][name], facts_file) for name in ("FPS", "Frames"))
        if not fps:
            raise UserError(f"{archive.card.name}: {facts_file} says that the video {key} has 0 frames a second")
        ordered = sorted(starts[key])
        ends = [*(frame for frame, _ in ordered[1:]), num_frames]
        spans = [
            Span(frame / fps, end / fps, label)
            for (frame, label), end in zip(ordered, ends, strict=True)
            if end > frame
        ]
        operations.append(Operation(f"case_{key}", videos[key], f"case_{key}", spans, num_frames / fps))
    notes = archive.missing_note(max(NUM_VIDEOS, len(starts)), len(keys), "video")
    return dense(archive, "phase", operations, None, notes), clips(archive, operations, None, notes)
