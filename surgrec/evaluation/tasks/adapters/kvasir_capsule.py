"""Kvasir-Capsule: 43 capsule videos and a table of frames with findings (Smedsrud et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.card import key_of
from surgrec.evaluation.tasks.folder_classes import splits_of_clips
from surgrec.evaluation.tasks.spans import Span
from surgrec.evaluation.tasks.task import Clip, Task
from surgrec.video.rate import declared_fps

MAX_GAP_SECONDS = 1.0  # frames of one finding that are farther apart are two stretches


def read(archive: Archive) -> tuple[Task, ...]:
    """Stretches of frames of one finding, of a second or more, split by video."""
    table = archive.file("metadata.csv", "a line a labelled frame")
    videos = archive.find(
        ("*.mp4", "labelled_videos/*.mp4", "*/*.mp4"), r"(?:[^/]+/)?([0-9a-f]{16})\.mp4", "43 labelled videos"
    )
    indices = archive.card.labels_of("clips").indices
    frames: dict[tuple[str, int], set[int]] = {}
    others = set()
    for row in archive.table(table, ("video_id", "frame_number", "finding_class"), ";"):
        if key_of(row["finding_class"]) not in indices:
            others.add(row["finding_class"])
            continue
        found = frames.setdefault((row["video_id"], indices[key_of(row["finding_class"])]), set())
        found.add(int(archive.number(row["frame_number"], table)))
    wanted = sorted({key for key, _ in frames})
    if not wanted:
        raise UserError(f"{archive.card.name}: {table} has no frame of a finding that is a class here")
    keys = archive.present(wanted, videos, "video")
    rates = {key: declared_fps(videos[key]) for key in keys}
    clips: list[Clip] = []
    for (key, label), numbers in sorted(frames.items()):
        if key in rates:
            clips += archive.clips(key, videos[key], key, list(_stretches(sorted(numbers), label, rates[key])))
    notes = [*archive.missing_note(len(wanted), len(keys), "video")]
    if others:
        notes.append(f"frames of {counted(len(others), 'finding')} that are no class here are left out")
    return (archive.clip_task(clips, splits_of_clips(archive, clips), notes),)


def _stretches(numbers: list[int], label: int, fps: float) -> Iterator[Span]:
    start = numbers[0]
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        if following is None or following - number > MAX_GAP_SECONDS * fps:
            yield Span(start / fps, (number + 1) / fps, label)
            start = following or 0
