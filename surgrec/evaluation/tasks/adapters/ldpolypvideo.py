"""LDPolypVideo: 160 annotated sequences of pictures and videos without polyps (Ma et al. 2021)."""

from __future__ import annotations

from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.clips import pictures_in
from surgrec.evaluation.tasks.archive import Archive, is_count, short
from surgrec.evaluation.tasks.partition import seeded_splits
from surgrec.evaluation.tasks.spans import of_frames
from surgrec.evaluation.tasks.task import Clip, Task
from surgrec.video.errors import VideoError

NUM_SEQUENCES = 160
SEQUENCE_FPS = 25.0  # assumed, see the card; it decides how long a stretch of pictures is


def read(archive: Archive) -> tuple[Task, ...]:
    """Stretches of the annotated sequences with and without a polyp, and each video without polyps as one clip."""
    sequences = archive.find(
        ("TrainValid/Images/*", "Test/Images/*"), r"(?:TrainValid|Test)/Images/(\d+)", "a folder of pictures a sequence"
    )
    videos = archive.find(
        ("videos without polyps/*.avi", "videos without polyps/*.mp4"),
        r"videos without polyps/([^/]+)\.\w+",
        "videos without polyps",
    )
    clips: list[Clip] = []
    for key, pictures in sequences.items():
        spans = of_frames(*_polyps(archive, pictures), SEQUENCE_FPS)
        clips += archive.clips(f"sequence {key}", pictures, f"sequence {key}", spans, SEQUENCE_FPS)
    clips += [archive.whole(f"video {key}", path, f"video {key}", 0) for key, path in videos.items()]
    groups = [clip.group for clip in clips]
    splits = seeded_splits(groups, archive.seed, archive.card.split.folds, [group.split()[0] for group in groups])
    return (archive.clip_task(clips, splits, archive.missing_note(NUM_SEQUENCES, len(sequences), "sequence")),)


def _polyps(archive: Archive, pictures: Path) -> tuple[range, list[int]]:
    """Whether each picture of a sequence, in order, shows a polyp: the first line of its annotation counts them."""
    folder = pictures.parent.parent / "Annotations" / pictures.name
    try:
        shown = pictures_in(pictures)  # in the order in which they will be read
    except VideoError:
        raise archive.wrong(f"pictures in {pictures.relative_to(archive.root)}", "there is none") from None
    labels = []
    for picture in shown:
        path = folder / f"{picture.stem}.txt"
        first = archive.text(path).split("\n", 1)[0].strip()
        if not is_count(first):
            raise UserError(f"{archive.card.name}: {path} must begin with the number of polyps, not {short(first)}")
        labels.append(int(int(first) > 0))
    return range(len(labels)), labels
