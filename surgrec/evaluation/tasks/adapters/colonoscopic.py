"""Gastrointestinal lesions in regular colonoscopy: 76 lesions, each in white light and narrow band (Mesejo et al. 2016)."""

from __future__ import annotations

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.folder_classes import Filed, clips_of_files
from surgrec.evaluation.tasks.task import Task


def read(archive: Archive) -> tuple[Task, ...]:
    """Each video as a clip; the two of a lesion are one group."""
    videos = archive.find("*/*.mp4", r"([^/]+)/(WL|NBI) ?\((\d+)\)\.mp4", "videos of lesions")
    files = []
    for key, path in videos.items():
        histology, _, lesion = key.split("/")
        files.append(Filed(key, path, f"{histology}/{lesion}", histology))
    return (clips_of_files(archive, files),)
