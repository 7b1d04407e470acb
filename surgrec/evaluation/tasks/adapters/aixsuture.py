"""AIxSuture: 314 videos of students who suture, rated by three surgeons (Hoffmann et al. 2024)."""

from __future__ import annotations

from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.folder_classes import splits_of_clips
from surgrec.evaluation.tasks.task import Task

COLUMNS = ("VIDEO", "STUDENT", "GLOBA_RATING_SCORE")  # spelt so in the file
NUM_VIDEOS = 314
BOUNDS = (16.0, 24.0)  # of the global rating score, 8 to 40: below is a novice, from the second on proficient


def read(archive: Archive) -> tuple[Task, ...]:
    """Each video with the class of its mean score; the two videos of a student are one group."""
    scores: dict[str, list[float]] = {}
    student_of: dict[str, str] = {}
    table, path = _ratings(archive)
    for row in table:
        scores.setdefault(row["VIDEO"], []).append(archive.number(row["GLOBA_RATING_SCORE"], path))
        if student_of.setdefault(row["VIDEO"], row["STUDENT"]) != row["STUDENT"]:
            raise UserError(f"{archive.card.name}: {path} names two students for the video {row['VIDEO']}")
    videos = archive.find(("*.mp4", "*/*.mp4", "*/*/*.mp4"), r"(?:.*/)?([A-Z]\d\d[A-Z])\.mp4", "314 videos")
    keys = archive.present(sorted(scores), videos, "rated video")
    clips = [
        archive.whole(key, videos[key], student_of[key], _skill(sum(scores[key]) / len(scores[key]))) for key in keys
    ]
    notes = archive.missing_note(max(NUM_VIDEOS, len(scores)), len(keys), "rated video")
    return (archive.clip_task(clips, splits_of_clips(archive, clips), notes),)


def _skill(score: float) -> int:
    return sum(score >= bound for bound in BOUNDS)


def _ratings(archive: Archive) -> tuple[list[dict[str, str]], Path]:
    csv_file, sheet = archive.root / "OSATS.csv", archive.root / "OSATS.xlsx"
    if csv_file.is_file():
        return archive.table(csv_file, COLUMNS), csv_file
    if not sheet.is_file():
        raise archive.wrong("OSATS.xlsx, or OSATS.csv saved from it (the ratings of each video)")
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise UserError(
            f"{sheet} needs openpyxl: pip install 'surgrec[benchmark]', or save the sheet as OSATS.csv"
        ) from None
    try:
        book = load_workbook(sheet, read_only=True, data_only=True)
        rows = [list(row) for row in book.active.iter_rows(values_only=True)]
    except Exception as error:  # its reader fails in many ways on what is no sheet
        raise UserError(f"{archive.card.name}: {sheet} cannot be read as a sheet ({type(error).__name__})") from None
    header = [str(name).strip().upper() for name in rows[0]] if rows else []
    if lost := [name for name in COLUMNS if name not in header]:
        raise UserError(f"{archive.card.name}: the first sheet of {sheet} has no column {', '.join(lost)}")
    places = {name: header.index(name) for name in COLUMNS}
    full = [row for row in rows[1:] if all(row[at] is not None for at in places.values())]
    return [{name: str(row[at]).strip() for name, at in places.items()} for row in full], sheet
