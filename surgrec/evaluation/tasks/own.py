"""Tasks of one's own footage: a manifest and labels over time, as `surgrec index` and `surgrec synthesize` write them.

In: a manifest, a CSV file or folder of labels, and a column of it. Out: a `DenseTask` over whole videos and a `ClipTask` of windows that
have one label. It is its own file because a hospital's own benchmark, and the embedded corpus's, need no adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.labels import Marks, read_labels
from surgrec.evaluation.tasks.partition import never_trained, official_split, same_parts, seeded_splits
from surgrec.evaluation.tasks.spans import MIN_CLIP_SECONDS, Span, long_enough, sampled
from surgrec.evaluation.tasks.task import Clip, ClipTask, DenseTask, Kind, NamedSplit, Recording

_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Footage:
    """Videos of `manifest` with labels in `column` of `labels` (see `surgrec.evaluation.labels`). `kind`: of the dense task, of `label_fps`
    moments a second. `clip_seconds`: of windows that do not overlap; None for whole stretches of a label."""

    name: str
    manifest: Path
    labels: Path
    column: str
    kind: Kind = "phase"
    clip_seconds: float | None = None
    label_fps: float = 1.0


def read_footage(footage: Footage, seed: int = 0) -> tuple[DenseTask, ClipTask]:
    """Both tasks on the same splits: those of the manifest's column `split` where it has train and test, else by case, every source
    divided alike. Videos without labels are left out, and counted in the notes. Raises `UserError`.
    """
    if footage.clip_seconds is not None and footage.clip_seconds < MIN_CLIP_SECONDS:
        raise UserError(f"clips of {footage.clip_seconds:g} s are too short; give {MIN_CLIP_SECONDS:g} s or more")
    manifest = Manifest.read([footage.manifest])
    marks = read_labels(footage.labels, footage.column, manifest)
    classes = tuple(sorted({label for each in marks.values() for _, label in each if label}))
    if len(classes) < 2:
        raise UserError(
            f"column {footage.column} of {footage.labels} has {counted(len(classes), 'label')}; a task needs two or more"
        )
    rows = sorted(marks)
    durations = manifest.column("duration_seconds")
    groups = [f"{manifest.sources[row]}/{manifest.column('group_id')[row]}" for row in rows]
    spans = {row: _spans(marks[row], float(durations[row]), classes) for row in rows}
    recordings = tuple(
        Recording(manifest.path_of(row), manifest.id_of(row), group, *sampled(spans[row], footage.label_fps, float(durations[row])))
        for row, group in zip(rows, groups, strict=True)
    )  # fmt: skip
    listed = [
        Clip(manifest.path_of(row), manifest.id_of(row), span.start_seconds, span.end_seconds, span.label, group)
        for row, group in zip(rows, groups, strict=True)
        for span in _cut(spans[row], footage.clip_seconds)
    ]
    domains = sorted(set(manifest.column("domain")[rows]))
    about = (domains[0] if len(domains) == 1 else "other", classes)
    left_out = len(manifest) - len(rows)
    splits = _splits(manifest, rows, seed)
    notes = (
        *((f"{counted(left_out, 'video')} without labels left out",) if left_out else ()),
        *never_trained(splits, [set(each.labels.tolist()) for each in recordings], classes),
    )
    title = f"{footage.name}: {footage.column}"
    dense = DenseTask(
        f"{footage.name}_{footage.column}", f"{title} over whole videos", about[0], footage.kind, classes, recordings, splits, notes,
    )  # fmt: skip
    clips = ClipTask(
        f"{footage.name}_{footage.column}_clips", f"{title}, clips", *about, tuple(listed),
        same_parts(splits, groups, [clip.group for clip in listed]), notes,
    )  # fmt: skip
    return dense, clips


def _spans(marks: Marks, duration_seconds: float, classes: Sequence[str]) -> list[Span]:
    """A label holds until the next mark, at most to the end of the video; marks of the same label are one span, and those without a label
    none."""
    index = {name: at for at, name in enumerate(classes)}
    spans: list[Span] = []
    ends = [*(time for time, _ in marks[1:]), duration_seconds]
    for (start, label), next_start in zip(marks, ends, strict=True):
        end = min(next_start, duration_seconds)
        if not label or end <= start:
            continue
        if spans and spans[-1].label == index[label] and abs(spans[-1].end_seconds - start) < 1e-6:
            spans[-1] = Span(spans[-1].start_seconds, end, index[label])
        else:
            spans.append(Span(start, end, index[label]))
    return spans


def _cut(spans: Sequence[Span], clip_seconds: float | None) -> list[Span]:
    if clip_seconds is None:
        return long_enough(spans)
    return [
        Span(span.start_seconds + at * clip_seconds, span.start_seconds + (at + 1) * clip_seconds, span.label)
        for span in spans
        for at in range(int((span.end_seconds - span.start_seconds) / clip_seconds + 1e-9))
    ]


def _splits(manifest: Manifest, rows: Sequence[int], seed: int) -> tuple[NamedSplit, ...]:
    sources, cases, named = (np.asarray(manifest.column(name))[list(rows)] for name in ("source", "group_id", "split"))
    groups = [f"{source}/{case}" for source, case in zip(sources, cases, strict=True)]
    part_of: dict[str, str] = {}
    for group, name in zip(groups, named, strict=True):
        part = _PARTS.get(str(name).lower(), "")
        if part_of.setdefault(group, part) != part:
            raise UserError(
                f"the manifest's column split puts videos of one group into {part_of[group] or 'none'} and {part or 'none'}"
            )
    if {"train", "test"} <= set(part_of.values()):
        return (official_split("manifest", groups, part_of, seed, [str(source) for source in sources]),)
    return seeded_splits(groups, seed, strata=[str(source) for source in sources])
