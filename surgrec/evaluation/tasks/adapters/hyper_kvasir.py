"""HyperKvasir: labelled videos of gastroscopy and colonoscopy in a folder a finding (Borgli et al. 2020)."""

from __future__ import annotations

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.folder_classes import Filed, clips_of_files
from surgrec.evaluation.tasks.task import Task

NUM_VIDEOS = 373  # the paper counts 374


def read(archive: Archive) -> tuple[Task, ...]:
    """Each video as one clip of its finding. Pieces of one video would be one patient on both sides."""
    videos = archive.find(
        "labeled-videos/*/*/*/*.avi",
        r"labeled-videos/(lower|upper)-gi-tract/[^/]+/([^/]+)/([^/]+)\.avi",
        "labelled videos",
    )
    files = []
    for key, path in videos.items():
        tract, finding, name = key.split("/")
        files.append(Filed(name, path, name, f"{tract} {finding}"))
    return (clips_of_files(archive, files, archive.missing_note(NUM_VIDEOS, len(files), "video")),)
