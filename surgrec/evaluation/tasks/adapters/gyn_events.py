"""Events in laparoscopic gynaecology, the set that is elsewhere called LapGyn4 (Nasirihaghighi et al. 2024, arXiv 2312.00593)."""

from __future__ import annotations

from surgrec.core.wording import counted
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.folder_classes import Filed, clips_of_files
from surgrec.evaluation.tasks.task import Task

REST = "rest"


def read(archive: Archive) -> tuple[Task, ...]:
    """Clips of an event. Those of a folder Rest show that event not, and perhaps another, so they have no class here.

    The folders Train and Test divide each event by itself; one case is then on both sides, so splits are drawn anew by case.
    """
    videos = archive.find(
        "*/*/*/*.mp4",
        r"([^/]+)/(Train|Test|Val)/([^/]+)/(case_\d+_[^/]+)\.mp4",
        "EVENT/Train or Test/EVENT or Rest/case_NNN_*.mp4",
    )
    files, num_rest = [], 0
    for key, path in videos.items():
        event, part, shown, stem = key.split("/")
        if shown.lower() == REST:
            num_rest += 1
            continue
        files.append(Filed(f"{event}/{part}/{stem}", path, "_".join(stem.split("_")[:2]), event))
    if not files:
        raise archive.wrong("clips of events beside those of Rest", "there are only clips of Rest")
    return (clips_of_files(archive, files, [f"{counted(num_rest, 'clip')} of Rest are left out"] if num_rest else []),)
