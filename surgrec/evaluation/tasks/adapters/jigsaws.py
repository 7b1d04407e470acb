"""JIGSAWS: eight surgeons, three bench tasks, a transcript of gestures a trial (Gao et al. 2014)."""

from __future__ import annotations

from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import Span
from surgrec.evaluation.tasks.task import Task

VIDEO_FPS = 30.0
BENCH_TASKS = ("Suturing", "Knot_Tying", "Needle_Passing")


def read(archive: Archive) -> tuple[Task, ...]:
    """Gestures over the trials of each bench task, and clips of one gesture over all three; of two cameras the first."""
    operations: dict[str, list[Operation]] = {}
    unread = 0
    for bench in BENCH_TASKS:
        videos = archive.find(
            f"{bench}/video/*.avi", rf"{bench}/video/({bench}_[A-Z]\d{{3}})_capture1\.avi", "the first camera's videos"
        )
        archive.folder(f"{bench}/transcriptions", "a text file a trial: first frame, last frame, gesture")
        transcribed = [key for key in videos if (archive.root / bench / "transcriptions" / f"{key}.txt").is_file()]
        unread += len(videos) - len(transcribed)
        operations[bench] = [_operation(archive, bench, key, videos[key]) for key in transcribed]
        if not transcribed:
            raise archive.wrong(f"{bench}/transcriptions/{bench}_SNNN.txt beside the videos", "there is none")
    notes = [f"{counted(unread, 'trial')} without a transcript are left out"] if unread else []
    tasks: list[Task] = [
        dense(archive, "gesture", found, _user_out(found), notes, bench.lower()) for bench, found in operations.items()
    ]
    everything = [each for found in operations.values() for each in found]
    return (*tasks, clips(archive, everything, _user_out(everything), notes))


def _operation(archive: Archive, bench: str, key: str, video: Path) -> Operation:
    path = archive.root / bench / "transcriptions" / f"{key}.txt"
    spans = []
    for line in filter(None, map(str.split, archive.text(path).splitlines())):
        if len(line) != 3 or not (line[0].isdigit() and line[1].isdigit()) or int(line[1]) < int(line[0]):
            raise UserError(
                f"{archive.card.name}: {path} has the line {' '.join(line)!r}; expected first frame, last frame, gesture"
            )
        label = archive.label("gesture", line[2], path)
        spans.append(Span(int(line[0]) / VIDEO_FPS, (int(line[1]) + 1) / VIDEO_FPS, label))
    if not spans:
        raise UserError(f"{archive.card.name}: {path} has no line with a gesture")
    return Operation(key, video, key.rpartition("_")[2][0], spans, spans[-1].end_seconds)


def _user_out(operations: list[Operation]) -> dict[str, dict[str, str]]:
    """Leave one user out: each surgeon is the test once, and the next one in the alphabet the validation."""
    users = sorted({each.group for each in operations})
    if len(users) < 3:
        raise UserError(f"jigsaws: leaving one user out needs three surgeons or more, found {', '.join(users)}")
    return {
        f"user_out_{user}": {
            **dict.fromkeys(users, "train"),
            users[(at + 1) % len(users)]: "validation",
            user: "test",
        }
        for at, user in enumerate(users)
    }
