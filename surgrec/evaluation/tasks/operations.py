"""From operations with spans to tasks: the clips and the dense task of one dataset, on the same splits.

In: keys, videos, groups and spans. Out: a `DenseTask` and a `ClipTask`. It is its own file because every dataset of phases makes both,
and a clip must be in the same part as its operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.partition import official_split, same_parts, seeded_splits
from surgrec.evaluation.tasks.spans import Span
from surgrec.evaluation.tasks.task import Clip, ClipTask, DenseTask, Kind, NamedSplit


@dataclass(frozen=True)
class Operation:
    """`key`: what the dataset calls it. `spans` of classes, up to `until_seconds`; `frames_fps` of a folder of pictures."""

    key: str
    video: Path
    group: str
    spans: Sequence[Span]
    until_seconds: float
    frames_fps: float | None = None


Parts = Mapping[str, Mapping[str, str]]  # split name -> group -> part


def splits_of(archive: Archive, groups: Sequence[str], parts: Parts | None) -> tuple[NamedSplit, ...]:
    """The official splits `parts`, or where there are none seeded ones as the card's rule says."""
    if parts is None:
        return seeded_splits(groups, archive.seed, archive.card.split.folds)
    return tuple(official_split(name, groups, part_of, archive.seed) for name, part_of in parts.items())


def dense(
    archive: Archive,
    kind: Kind,
    operations: Sequence[Operation],
    parts: Parts | None,
    notes: Sequence[str] = (),
    part: str = "",
) -> DenseTask:
    """The dense task of the operations; `part` as in `Archive.dense_task`."""
    recordings = [
        archive.recording(each.key, each.video, each.group, each.spans, each.until_seconds, each.frames_fps)
        for each in operations
    ]
    splits = splits_of(archive, [each.group for each in operations], parts)
    return archive.dense_task(kind, recordings, splits, notes, part)


def clips(
    archive: Archive, operations: Sequence[Operation], parts: Parts | None, notes: Sequence[str] = ()
) -> ClipTask:
    """Each unbroken stretch of a class, of a second or more, as a clip, in the part of its operation."""
    found: list[Clip] = []
    for each in operations:
        found += archive.clips(each.key, each.video, each.group, each.spans, each.frames_fps)
    groups = [each.group for each in operations]
    splits = same_parts(splits_of(archive, groups, parts), groups, [clip.group for clip in found])
    return archive.clip_task(found, splits, notes)
