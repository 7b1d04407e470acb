"""PitVis: 25 endoscopic pituitary operations, a step a second (Das et al. 2025, arXiv 2409.01184)."""

from __future__ import annotations

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import of_frames
from surgrec.evaluation.tasks.task import Task

SUGGESTED = (
    "1",
    "12",
    "21",
    "24",
    "25",
)  # validation in the authors' suggestion; their own test videos were never given out
KEYS = [str(number) for number in range(1, 26)]
WITH_STEPS = [key for key in KEYS if key != "19"]  # whose steps were not given out
SPLITS = {"20_5": {**dict.fromkeys(KEYS, "train"), **dict.fromkeys(SUGGESTED, "test")}}


def read(archive: Archive) -> tuple[Task, ...]:
    """Steps over whole operations, and clips of one step; outside of the body none holds."""
    videos = archive.find("video_*.mp4", r"video_0*(\d+)\.mp4", "25 videos")
    texts = archive.find("annotations_*.csv", r"annotations_0*(\d+)\.csv", "the steps of a video, a line a second")
    archive.present(WITH_STEPS, texts, "step file")
    keys = [key for key in archive.present(KEYS, videos, "video") if key in texts]
    operations = []
    for key in keys:
        rows = archive.table(texts[key], ("int_time", "int_step"))
        times = [int(archive.number(row["int_time"], texts[key])) for row in rows]
        labels = [archive.label("step", row["int_step"], texts[key]) for row in rows]
        try:
            spans = of_frames(times, labels, 1.0)
        except ValueError as error:
            raise UserError(f"{archive.card.name}: {texts[key]}: {error}") from None
        operations.append(Operation(f"video_{key}", videos[key], key, spans, times[-1] + 1.0))
    notes = [*archive.missing_note(len(WITH_STEPS), len(keys), "video")]
    if unread := len(set(KEYS) & set(videos)) - len(keys):
        notes.append(f"{counted(unread, 'video')} without a file of steps left out")
    return dense(archive, "step", operations, SPLITS, notes), clips(archive, operations, SPLITS, notes)
