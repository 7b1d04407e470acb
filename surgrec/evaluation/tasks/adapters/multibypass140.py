"""MultiBypass140: 140 gastric bypasses of two hospitals, phases and steps in milliseconds (Lavanchy et al. 2024, arXiv 2312.11250)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.card import Form
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import Span, without
from surgrec.evaluation.tasks.task import NO_LABEL, Task

CENTRES = {"bern": "BBP", "strasbourg": "SBP"}
NUM_FOLDS = 5
FILES = {"train": "train/1fps_100_{}.pickle", "validation": "val/1fps_{}.pickle", "test": "test/1fps_{}.pickle"}
OUT_OF_BODY, SEVERE_INDEX = "out_of_body", "severe_index"


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases and steps over whole operations, and clips of one phase, on the five published folds of both hospitals together."""
    texts = archive.find(
        "labels/*/labels_by70/*.mp4.json",
        r"labels/[^/]+/labels_by70/([BS]BP\d\d)\.mp4\.json",
        "phases and steps of a video",
    )
    videos = archive.find(
        [f"{base}{centre}Bypass70/videos/*.mp4" for centre in ("Bern", "Stras") for base in ("", "*/", "datasets/*/")],
        r".*(?:Bern|Stras)Bypass70/videos/([BS]BP\d\d)\.mp4",
        "140 videos",
    )
    folds = {f"fold{number}": _fold(archive, number) for number in range(NUM_FOLDS)}
    wanted = sorted(folds["fold0"])
    keys = [
        key for key in archive.present(wanted, videos, "video") if key in archive.present(wanted, texts, "label file")
    ]
    content = {key: archive.json(texts[key]) for key in keys}
    phases = [_operation(archive, key, videos[key], texts[key], content[key], "phases") for key in keys]
    steps = [_operation(archive, key, videos[key], texts[key], content[key], "steps") for key in keys]
    notes = archive.missing_note(len(wanted), len(keys), "video")
    return (
        dense(archive, "phase", phases, folds, notes),
        dense(archive, "step", steps, folds, notes),
        clips(archive, phases, folds, notes),
    )


def _operation(archive: Archive, key: str, video: Path, path: Path, content: Any, kind: str) -> Operation:
    """`severe_index` marks what happened during a phase and is none; during `out_of_body` no phase is seen, so none holds."""
    form: Form = "phase" if kind == "phases" else "step"
    spans, holes, until = [], [], 0.0
    try:
        for entry in content[kind]:
            start, end, name = entry["start"] / 1000, entry["end"] / 1000, str(entry["label_name"])
            until = max(until, end)
            if name == OUT_OF_BODY:
                holes.append(Span(start, end, NO_LABEL))
            elif name != SEVERE_INDEX and end > start:
                spans.append(Span(start, end, archive.label(form, re.sub(r"^s\d+_", "", name), path)))
    except (KeyError, TypeError, OverflowError):
        raise UserError(
            f"{archive.card.name}: {path} must have {kind}, each with start and end in milliseconds and label_name"
        ) from None
    return Operation(key, video, key, without(spans, holes), until)


def _fold(archive: Archive, number: int) -> dict[str, str]:
    """Part of each video. The lists are pickles, which could run any code if they were loaded; the names of the videos stand in them as
    plain bytes, and nothing else is needed."""
    part_of: dict[str, str] = {}
    for centre, prefix in CENTRES.items():
        for part, name in FILES.items():
            path = archive.file(
                f"labels/{centre}/labels_by70_splits/labels/{name.format(number)}",
                f"the {part} videos of fold {number}",
            )
            found = {key.decode() for key in re.findall(rf"{prefix}\d\d(?!\d)".encode(), path.read_bytes())}
            if not found or (twice := found & set(part_of)):
                raise archive.wrong(
                    f"{path.name} with videos of its own",
                    f"it names {', '.join(sorted(twice)[:5]) if found else 'none'}",
                )
            part_of.update(dict.fromkeys(found, part))
    return part_of
