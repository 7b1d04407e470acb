"""Cataract-21: 21 cataract operations in two folders, a label a frame beside each video (Primus et al. 2018)."""

from __future__ import annotations

import csv
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive, is_count
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import Span, of_frames
from surgrec.evaluation.tasks.task import Task
from surgrec.video.rate import declared_fps

COUNTS = {"training": 17, "validation": 4}


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase. The authors' validation folder is the test part, since they have no other."""
    operations, part_of = [], {}
    for folder, count in COUNTS.items():
        videos = archive.find(f"{folder}/*.mp4", rf"{folder}/(case_\d+[^/]*)\.mp4", f"{count} videos")
        archive.expect(videos, count, f"videos in {folder}")
        for key, video in videos.items():
            path = archive.file(f"{folder}/{key}.csv", "a frame and its phase a line")
            operations.append(Operation(key, video, key, *_spans(archive, path, declared_fps(video))))
            part_of[key] = "train" if folder == "training" else "test"
    notes = archive.missing_note(sum(COUNTS.values()), len(operations), "video")
    return dense(archive, "phase", operations, {"17_4": part_of}, notes), clips(
        archive, operations, {"17_4": part_of}, notes
    )


def _spans(archive: Archive, path: Path, fps: float) -> tuple[list[Span], float]:
    try:
        rows = [row for row in csv.reader(archive.text(path).splitlines()) if row]
    except csv.Error as error:
        raise UserError(f"{archive.card.name}: {path} cannot be read as a table: {error}") from None
    rows = rows[1:] if rows and not is_count(rows[0][0].strip()) else rows  # a header, where there is one
    if not rows or any(len(row) < 2 or not is_count(row[0].strip()) for row in rows):
        raise UserError(
            f"{archive.card.name}: {path} must have a frame number and a phase a line, with a comma between"
        )
    frames, texts = [int(row[0]) for row in rows], [row[1].strip() for row in rows]
    labels = {text: archive.label("phase", text, path) for text in set(texts)}
    try:
        return of_frames(frames, (labels[text] for text in texts), fps), (frames[-1] + 1) / fps
    except ValueError as error:
        raise UserError(f"{archive.card.name}: {path}: {error}") from None
