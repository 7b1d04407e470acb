"""SAR-RARP50: 50 recordings of suturing in prostatectomy, an action ten times a second (Psychogyios et al., arXiv 2401.00496)."""

from __future__ import annotations

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import of_frames
from surgrec.evaluation.tasks.task import Task

VIDEO_FPS = 60.0  # labels are of every sixth frame, and numbered as the video's frames are
COUNTS = {"train": 40, "test": 10}


def read(archive: Archive) -> tuple[Task, ...]:
    """Gestures over whole recordings, and clips of one gesture."""
    operations, part_of = [], {}
    for part, pattern in (("train", "train[12]"), ("test", "test")):
        videos = archive.find(
            f"{pattern}/video_*/video_left.avi", rf"{pattern}/(video_\d+)/video_left\.avi", f"{COUNTS[part]} recordings"
        )
        archive.expect(videos, COUNTS[part], f"recordings in {pattern}")
        for key, video in videos.items():
            path = video.parent / "action_discrete.txt"
            rows = [line.split(",") for line in archive.text(path).split()]
            if not rows or any(len(row) != 2 or not row[0].isdigit() for row in rows):
                raise UserError(
                    f"{archive.card.name}: {path} must have a frame and an action a line, with a comma between"
                )
            frames = [int(row[0]) for row in rows]
            try:
                spans = of_frames(frames, [archive.label("gesture", row[1], path) for row in rows], VIDEO_FPS)
            except ValueError as error:
                raise UserError(f"{archive.card.name}: {path}: {error}") from None
            operations.append(Operation(key, video, key, spans, max(span.end_seconds for span in spans)))
            if key in part_of:
                raise archive.wrong("each recording in one folder", f"{key} is in two")
            part_of[key] = part
    notes = archive.missing_note(sum(COUNTS.values()), len(operations), "recording")
    return dense(archive, "gesture", operations, {"40_10": part_of}, notes), clips(
        archive, operations, {"40_10": part_of}, notes
    )
