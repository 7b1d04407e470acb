"""SAR-RARP50: 50 operations, suturing in prostatectomy, an action ten times a second (Psychogyios et al., arXiv 2401.00496)."""

from __future__ import annotations

from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive, is_count
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import Span, of_frames
from surgrec.evaluation.tasks.task import Task

VIDEO_FPS = 60.0  # labels are of every sixth frame, and numbered as the video's frames are
COUNTS = {"train": 40, "test": 10}  # operations; of some there are two recordings, video_11_1 and video_11_2


def read(archive: Archive) -> tuple[Task, ...]:
    """Gestures over whole recordings, and clips of one gesture; the recordings of one operation are one group."""
    operations, part_of = [], dict[str, str]()
    for part, count in COUNTS.items():
        videos = archive.find(
            f"{part}*/video_*/video_left.avi",
            rf"{part}[^/]*/(video_\d+(?:_\d+)?)/video_left\.avi",
            f"recordings of {count} operations",
        )
        group_of = {key: f"operation {int(key.split('_')[1])}" for key in videos}
        archive.expect(set(group_of.values()), count, f"operations in {part}")
        for key, video in videos.items():
            if part_of.setdefault(group_of[key], part) != part:
                raise archive.wrong("each operation in train or in test", f"video_{key.split('_')[1]} is in both")
            spans = _spans(archive, video.parent / "action_discrete.txt")
            operations.append(Operation(key, video, group_of[key], spans, max(span.end_seconds for span in spans)))
    notes = archive.missing_note(sum(COUNTS.values()), len(part_of), "operation")
    return dense(archive, "gesture", operations, {"40_10": part_of}, notes), clips(
        archive, operations, {"40_10": part_of}, notes
    )


def _spans(archive: Archive, path: Path) -> list[Span]:
    rows = [line.split(",") for line in archive.text(path).splitlines() if line.strip()]
    if not rows or any(len(row) != 2 or not is_count(row[0].strip()) for row in rows):
        raise UserError(f"{archive.card.name}: {path} must have a frame and an action a line, with a comma between")
    labels = [archive.label("gesture", row[1], path) for row in rows]
    try:
        return of_frames([int(row[0]) for row in rows], labels, VIDEO_FPS)
    except ValueError as error:
        raise UserError(f"{archive.card.name}: {path}: {error}") from None
