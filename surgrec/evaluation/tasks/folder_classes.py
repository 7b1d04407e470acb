"""The form "a folder per class": the path of a clip tells its class.

In: video files below folders of classes. Out: a `ClipTask` of whole files. It is its own file because five datasets write it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surgrec.core.wording import counted
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.card import key_of
from surgrec.evaluation.tasks.partition import seeded_splits
from surgrec.evaluation.tasks.task import Clip, ClipTask, NamedSplit


@dataclass(frozen=True)
class Filed:
    """A video file in the folder of a class: `key` names it in the dataset, `folder` is the class as its folder spells it."""

    key: str
    video: Path
    group: str
    folder: str


def clips_of_files(archive: Archive, files: Sequence[Filed], notes: Sequence[str] = ()) -> ClipTask:
    """Each file as a clip, split by group as the card says, every class in about the same proportions where no group has two.

    Files of folders that are no class of the card are left out, and the notes count them. Raises `UserError` where that leaves one class.
    """
    indices = archive.card.labels_of("clips").indices
    taken = [each for each in files if indices.get(key_of(each.folder), -1) >= 0]
    others = Counter(each.folder for each in files if key_of(each.folder) not in indices)
    if len({indices[key_of(each.folder)] for each in taken}) < 2:
        classes = ", ".join(archive.card.labels_of("clips").names)
        raise archive.wrong(
            f"videos in the folders of two or more classes ({classes})",
            f"found the folders {', '.join(sorted({each.folder for each in files}))}",
        )
    clips = [archive.whole(each.key, each.video, each.group, indices[key_of(each.folder)]) for each in taken]
    left = f"{counted(sum(others.values()), 'video')} in folders that are no class here left out" if others else ""
    return archive.clip_task(clips, splits_of_clips(archive, clips), (*notes, *filter(None, [left])))


def splits_of_clips(archive: Archive, clips: Sequence[Clip]) -> tuple[NamedSplit, ...]:
    """Seeded splits of clips as the card says; every class is divided alike where no group has clips of two classes."""
    labels_of: dict[str, set[int]] = {}
    for clip in clips:
        labels_of.setdefault(clip.group, set()).add(clip.label)
    is_pure = all(len(labels) == 1 for labels in labels_of.values())
    strata = [str(clip.label) for clip in clips] if is_pure else None
    return seeded_splits([clip.group for clip in clips], archive.seed, archive.card.split.folds, strata)
