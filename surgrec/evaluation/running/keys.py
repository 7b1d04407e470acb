"""What of a task decides its cells, beyond the hash of its split.

In: a task, digests of videos. Out: two digests. It is its own file because the hash of a split is for others to compare, and knows videos
by the names that a dataset gives them: a video replaced under its name, or rows put into other groups, change numbers and not that hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from surgrec.core.console import progress
from surgrec.evaluation.running.contents import Contents
from surgrec.evaluation.tasks.task import ClipTask, Task


def key_of(facts: dict[str, Any]) -> str:
    """A digest of all that decides a cell."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def rows_digest(task: Task) -> str:
    """Of the group of every row: intervals and few-shot draws are made of them."""
    if isinstance(task, ClipTask):
        return _digest(
            f"{c.video_id}\t{c.start_seconds}\t{c.end_seconds}\t{c.frames_fps}\t{c.group}" for c in task.clips
        )
    return _digest(f"{each.video_id}\t{each.frames_fps}\t{each.group}" for each in task.recordings)


def videos_digest(task: Task, contents: Contents) -> str:
    """Of the bytes of all its videos. Raises `UserError` where one is not there."""
    videos = {row.video: row.video_id for row in (task.clips if isinstance(task, ClipTask) else task.recordings)}
    lines = []
    with progress(f"looking at the videos of {task.name}", len(videos)) as advance:
        for video, name in videos.items():
            lines.append(f"{name}\t{contents.of(video)}")
            advance()
    contents.save()
    return _digest(lines)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:32]
