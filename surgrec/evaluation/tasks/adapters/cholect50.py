"""CholecT50: the phases of 50 cholecystectomies in pictures, one a second (Nwoye et al. 2022; splits: arXiv 2204.05235)."""

from __future__ import annotations

from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.operations import Operation, clips, dense
from surgrec.evaluation.tasks.spans import of_frames
from surgrec.evaluation.tasks.task import Task

PHASE_AT = 14  # of the fifteen numbers of an instance
NUM_VALIDATION = 5
MAX_FRAMES = 1_000_000
FOLDS = (
    (79, 2, 51, 6, 25, 14, 66, 23, 50, 111),
    (80, 32, 5, 15, 40, 47, 26, 48, 70, 96),
    (31, 57, 36, 18, 52, 68, 10, 8, 73, 103),
    (42, 29, 60, 27, 65, 75, 22, 49, 12, 110),
    (78, 43, 62, 35, 74, 1, 56, 4, 13, 92),
)


def _crossval(test: int) -> dict[str, str]:
    """The authors' loader takes the last five videos of the other folds, in their order, for validation."""
    rest = [number for fold, numbers in enumerate(FOLDS) if fold != test for number in numbers]
    parts = {**dict.fromkeys(rest, "train"), **dict.fromkeys(rest[-NUM_VALIDATION:], "validation")}
    return {f"VID{number:02d}": part for number, part in {**parts, **dict.fromkeys(FOLDS[test], "test")}.items()}


SPLITS = {f"crossval{number + 1}": _crossval(number) for number in range(len(FOLDS))}


def read(archive: Archive) -> tuple[Task, ...]:
    """Phases over whole operations, and clips of one phase."""
    base = archive.base("CholecT50")
    texts = archive.find(f"{base}labels/VID*.json", rf"{base}labels/(VID\d+)\.json", "labels of a video")
    wanted = sorted(SPLITS["crossval1"])
    keys = archive.present(wanted, texts, "label file")
    operations = []
    for key in keys:
        pictures = archive.folder(f"{base}videos/{key}", "the pictures of a video, one a second")
        operations.append(_operation(archive, key, pictures, texts[key]))
    notes = archive.missing_note(len(wanted), len(keys), "video")
    return dense(archive, "phase", operations, SPLITS, notes), clips(archive, operations, SPLITS, notes)


def _operation(archive: Archive, key: str, pictures: Path, path: Path) -> Operation:
    try:
        frames = {int(number): entries for number, entries in archive.json(path)["annotations"].items()}
        phases = {number: str(int(entries[0][PHASE_AT])) for number, entries in frames.items() if entries}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        raise UserError(
            f"{archive.card.name}: {path} must have annotations: frame number to lists of fifteen numbers, the last the phase"
        ) from None
    if not phases or not 0 <= min(phases) <= max(phases) < MAX_FRAMES:
        raise UserError(f"{archive.card.name}: {path} must number annotated frames from 0 to {MAX_FRAMES:,}")
    numbers = sorted(phases)
    spans = of_frames(numbers, [archive.label("phase", phases[number], path) for number in numbers], 1.0)
    return Operation(key, pictures, key, spans, numbers[-1] + 1.0, frames_fps=1.0)
