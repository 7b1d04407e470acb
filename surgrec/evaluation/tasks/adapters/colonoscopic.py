"""Gastrointestinal lesions in regular colonoscopy: 76 lesions, each in white light and narrow band (Mesejo et al. 2016)."""

from __future__ import annotations

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.folder_classes import Filed, clips_of_files
from surgrec.evaluation.tasks.task import Task

NUM_VIDEOS = 152
HISTOLOGIES = "Adenoma|Hyperplasic|Serrated"


def read(archive: Archive) -> tuple[Task, ...]:
    """Each video as a clip; the two of a lesion are one group. Read as the authors' site has them, HISTOLOGY/NAME_NN/videos/WL.mp4, or as
    others' lists have them, HISTOLOGY/WL(N).mp4."""
    what = "a video of each lesion in each light"
    if any(archive.root.glob("*/*/videos/*.mp4")):
        videos = archive.find("*/*/videos/*.mp4", rf"({HISTOLOGIES})/[A-Za-z]+_0*(\d+)/videos/(WL|NBI)\.mp4", what)
        named = {key: (key.split("/")[0], key.split("/")[1]) for key in videos}
    else:
        videos = archive.find(
            ("Adenoma/*.mp4", "Hyperplasic/*.mp4", "Serrated/*.mp4"), rf"({HISTOLOGIES})/(WL|NBI) ?\((\d+)\)\.mp4", what
        )
        named = {key: (key.split("/")[0], key.split("/")[2]) for key in videos}
    files = [Filed(key, path, "/".join(named[key]), named[key][0]) for key, path in videos.items()]
    return (clips_of_files(archive, files, archive.missing_note(NUM_VIDEOS, len(files), "video")),)
