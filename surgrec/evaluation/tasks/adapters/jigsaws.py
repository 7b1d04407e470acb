"""JIGSAWS: eight surgeons, three bench tasks, a transcript of gestures a trial (Gao et al. 2014)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.tasks.archive import Archive, is_count, short
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import Span
from surgrec.evaluation.tasks.task import NO_LABEL, DenseTask, Task

VIDEO_FPS = 30.0
NUM_TRIALS = {"Suturing": 39, "Knot_Tying": 36, "Needle_Passing": 28}  # with a transcript


def read(archive: Archive) -> tuple[Task, ...]:
    """Gestures over the trials of each bench task, and clips of one gesture over all three; of two cameras the first."""
    operations: dict[str, list[Operation]] = {}
    unread: dict[str, int] = {}
    for bench, num_trials in NUM_TRIALS.items():
        videos = archive.find(
            f"{bench}/video/*.avi", rf"{bench}/video/({bench}_[A-Z]\d{{3}})_capture1\.avi", "the first camera's videos"
        )
        archive.folder(f"{bench}/transcriptions", "a text file a trial: first frame, last frame, gesture")
        transcribed = [key for key in videos if _lines(archive, bench, key)]
        unread[bench] = len(videos) - len(transcribed)
        if not transcribed:
            raise archive.wrong(
                f"{bench}/transcriptions/{bench}_SNNN.txt beside the videos", "there is none with a line"
            )
        archive.expect(transcribed, num_trials, f"videos of {bench} with a transcript")
        operations[bench] = [_operation(archive, bench, key, videos[key]) for key in transcribed]
    num_found = sum(map(len, operations.values()))
    missing = archive.missing_note(sum(NUM_TRIALS.values()), num_found, "trial")
    tasks: list[Task] = [
        _of_its_gestures(
            dense(archive, "gesture", found, _user_out(found), [*missing, *_left_out(unread[bench])], bench.lower())
        )
        for bench, found in operations.items()
    ]
    everything = [each for found in operations.values() for each in found]
    return (*tasks, clips(archive, everything, _user_out(everything), [*missing, *_left_out(sum(unread.values()))]))


def _left_out(num_unread: int) -> list[str]:
    return [f"{counted(num_unread, 'trial')} without a transcript left out"] if num_unread else []


def _lines(archive: Archive, bench: str, key: str) -> list[list[str]]:
    """Of a transcript, in words; none where there is no file, and none in one that was left empty, as that of a trial of Suturing is."""
    path = archive.root / bench / "transcriptions" / f"{key}.txt"
    return list(filter(None, map(str.split, archive.text(path).splitlines()))) if path.is_file() else []


def _operation(archive: Archive, bench: str, key: str, video: Path) -> Operation:
    path = archive.root / bench / "transcriptions" / f"{key}.txt"
    spans = []
    for line in _lines(archive, bench, key):
        if len(line) != 3 or not (is_count(line[0]) and is_count(line[1])) or int(line[1]) < int(line[0]):
            raise UserError(
                f"{archive.card.name}: {path} has the line {short(' '.join(line))}; expected first frame, last frame, gesture"
            )
        label = archive.label("gesture", line[2], path)
        spans.append(Span(int(line[0]) / VIDEO_FPS, (int(line[1]) + 1) / VIDEO_FPS, label))
    return Operation(key, video, key.rpartition("_")[2][0], spans, max(span.end_seconds for span in spans))


def _of_its_gestures(task: DenseTask) -> DenseTask:
    """The task with the gestures that its trials have, in order: a knot is tied with six of fourteen, and others are never right."""
    kept = sorted({int(label) for each in task.recordings for label in np.unique(each.labels) if label != NO_LABEL})
    index = np.full(len(task.classes) + 1, NO_LABEL)  # the last stands for no label
    index[kept] = np.arange(len(kept))
    recordings = tuple(replace(each, labels=index[each.labels]) for each in task.recordings)
    return replace(task, classes=tuple(task.classes[label] for label in kept), recordings=recordings)


def _user_out(operations: list[Operation]) -> dict[str, dict[str, str]]:
    """Leave one user out: each surgeon is the test once, and the next one in the alphabet the validation. Numbered from
    surgeon B on, as the setup that is given out numbers them (1_Out, ...): numbers tell a benchmark that these are folds of one experiment.
    """
    users = sorted({each.group for each in operations})
    if len(users) < 3:
        raise UserError(f"jigsaws: leaving one user out needs three surgeons or more, found {', '.join(users)}")
    return {
        f"user_out_{ord(user) - ord('A')}": {
            **dict.fromkeys(users, "train"),
            users[(at + 1) % len(users)]: "validation",
            user: "test",
        }
        for at, user in enumerate(users)
    }
