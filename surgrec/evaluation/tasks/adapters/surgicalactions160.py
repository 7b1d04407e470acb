"""SurgicalActions160: ten short clips of each of sixteen actions in gynaecologic laparoscopy (Schoeffmann et al. 2017)."""

from __future__ import annotations

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.folder_classes import Filed, clips_of_files
from surgrec.evaluation.tasks.task import Task


def read(archive: Archive) -> tuple[Task, ...]:
    """Each video as a clip. No name tells the recording, so each clip is a group of its own, and the notes say what that means."""
    videos = archive.find("*/*.mp4", r"(\d\d_[^/]+)/(\d\d_\d\d)\.mp4", "160 clips in 16 folders")
    archive.expect(videos, 160, "clips")
    files = [Filed(key, path, key, path.parent.name[3:]) for key, path in videos.items()]
    return (clips_of_files(archive, files),)
