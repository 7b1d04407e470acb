"""Labels over time, as a user writes them down, and the windows of one label that a probe looks at.

In: a CSV file, or a folder with one for each video, and the manifest of the videos. Out: `LabelledWindow`s. It is its own file because
the columns are a contract with users:

* one file: `video_id` (or `path`, as in the manifest, where it is that of one video only), `time_seconds`, and the label's column;
* a folder: `VIDEO_ID.csv` with `time_seconds` and the label's column, as `surgrec synthesize` writes it.

A line's label holds from its time to the next line's of the same video, the last one's to the end of the video; so one line a frame, one
a second, or one where a phase begins all say the same. An empty label is none. Further columns are not read. Text is UTF-8, with or
without a byte order mark, which spreadsheets write.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.core.rng import uniforms
from surgrec.corpus.manifest import Manifest

Marks = list[tuple[float, str]]  # times in seconds, ascending, and the label from then on


@dataclass(frozen=True)
class LabelledWindow:
    """A stretch of the video in manifest `row` that has one `label`; `group` is its case, with its source."""

    row: int
    start_seconds: float
    label: str
    group: str


def read_labels(path: Path, column: str, manifest: Manifest) -> dict[int, Marks]:
    """Marks of every video of the manifest that has labels, by row. Raises `UserError` naming what is missing or wrong."""
    rows = {str(name): row for row, name in enumerate(manifest.video_ids)}
    if path.is_dir():
        marks = {
            row: [mark for _, mark in _lines(path / f"{name}.csv", column, None)]
            for name, row in rows.items()
            if (path / f"{name}.csv").is_file()
        }
    elif path.is_file():
        paths: dict[str, list[int]] = {}
        for row, name in enumerate(manifest.column("path")):
            paths.setdefault(str(name), []).append(row)
        marks = {}
        for name, mark in _lines(path, column, ("video_id", "path")):
            found = [rows[name]] if name in rows else paths.get(name, [])
            if len(found) > 1:  # relative to several roots; named by their ids, since a path may identify a patient
                raise UserError(
                    f"probe.labels={path} has a path that is that of {len(found)} videos of probe.manifest "
                    f"({', '.join(str(manifest.video_ids[row]) for row in found)}); name videos by a column video_id"
                )
            if found:
                marks.setdefault(found[0], []).append(mark)
    else:
        raise UserError(f"probe.labels={path} is not there; give a CSV file, or a folder with VIDEO_ID.csv files")
    if not marks:
        raise UserError(
            f"probe.labels={path} has no line for any video of probe.manifest; video_id and path are compared"
        )
    return {row: sorted(each) for row, each in marks.items()}


def read_marks(path: Path, column: str, video_id: str, takes_unnamed: bool = True) -> Marks | None:
    """Marks of one video, or None where there are none: of `path/VIDEO_ID.csv`, or of the lines of a file that have its `video_id`.
    `takes_unnamed`: a file without that column is this video's. Raises `UserError` naming what is missing or wrong.
    """
    if path.is_dir():
        file = path / f"{video_id}.csv"
        return sorted(mark for _, mark in _lines(file, column, None)) if file.is_file() else None
    if not path.is_file():
        raise UserError(f"labels {path} are not there; give a CSV file, or a folder with VIDEO_ID.csv files")
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as text:
        is_named = "video_id" in next(csv.reader(text), [])
    if not is_named and not takes_unnamed:
        return None
    lines = _lines(path, column, ("video_id",) if is_named else None)
    return sorted(mark for name, mark in lines if name == video_id or not is_named) or None


def label_at(marks: Marks, seconds: float) -> str:
    """The label that holds at a time; empty where there is none."""
    return next((label for time, label in reversed(marks) if time <= seconds + 1e-6), "")


def _lines(file: Path, column: str, keys: tuple[str, ...] | None) -> Iterator[tuple[str, tuple[float, str]]]:
    """The video's name and the mark of each line."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            yield from _marks_in(csv.DictReader(text), file, column, keys)
    except UnicodeDecodeError:
        raise UserError(f"{file} is not text in UTF-8; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{file} is not a CSV file ({error}); save it as CSV in UTF-8") from None


def _marks_in(
    table: csv.DictReader[str], file: Path, column: str, keys: tuple[str, ...] | None
) -> Iterator[tuple[str, tuple[float, str]]]:
    there = table.fieldnames or []
    key = next((name for name in keys or () if name in there), None)
    missing = [name for name in ("time_seconds", column) if name not in there]
    if keys and key is None:
        missing.append(" or ".join(keys))
    if missing:
        raise UserError(f"{file} lacks the column {', '.join(missing)}; it has {', '.join(there) or 'none'}")
    for line in table:
        seconds = _seconds(line["time_seconds"], f"{file}, line {table.line_num}")
        yield ((line[key] or "") if key else ""), (seconds, line[column] or "")


def _seconds(written: str | None, place: str) -> float:
    """A time in the video. A number that is none would sort anywhere, and so would all after it."""
    try:
        seconds = float(written or "")
    except ValueError:
        raise UserError(f"{place}: time_seconds {written!r} is no number") from None
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UserError(f"{place}: time_seconds {written!r} must be a finite number of seconds, at least 0")
    return seconds


def windows_of(marks: Marks, duration_seconds: float, window_seconds: float) -> list[tuple[float, str]]:
    """Starts and labels of windows that do not overlap and lie within one label each."""
    windows, ends = [], [*(time for time, _ in marks[1:]), duration_seconds]
    begin = 0.0
    for index, ((time, label), end) in enumerate(zip(marks, ends, strict=True)):
        if index == 0 or label != marks[index - 1][1]:
            begin = time
        is_last = index + 1 == len(marks) or marks[index + 1][1] != label
        if label and is_last:
            count = int((min(end, duration_seconds) - begin) / window_seconds + 1e-9)
            windows += [(begin + number * window_seconds, label) for number in range(count)]
    return windows


def choose_windows(
    path: Path, column: str, manifest: Manifest, window_seconds: float, num_windows: int, num_parts: int
) -> list[LabelledWindow]:
    """About `num_windows` windows, as many of each label as there are, drawn by address: the same in every run on these labels.

    Labels of fewer than `num_parts` cases are left out: no split could have them on all sides. Raises `UserError` where fewer than
    two labels remain.
    """
    durations, sources, groups = (manifest.column(name) for name in ("duration_seconds", "source", "group_id"))
    found: dict[str, list[LabelledWindow]] = {}
    for row, marks in sorted(read_labels(path, column, manifest).items()):
        for start, label in windows_of(marks, float(durations[row]), window_seconds):
            window = LabelledWindow(row, start, label, f"{sources[row]}/{groups[row]}")
            found.setdefault(label, []).append(window)
    kept = {label: each for label, each in found.items() if len({window.group for window in each}) >= num_parts}
    if len(kept) < 2:
        raise UserError(
            f"a probe needs at least two labels with windows of {window_seconds:g} seconds in {num_parts} cases or more; "
            f"probe.labels={path} has {len(kept)} such of {len(found)} in column {column}; label more cases, or leave probe.every out"
        )
    quota = max(num_parts, num_windows // len(kept))
    return [window for label in sorted(kept) for window in _drawn(kept[label], quota, manifest)]


def _drawn(windows: list[LabelledWindow], quota: int, manifest: Manifest) -> list[LabelledWindow]:
    """`quota` of them, in the order of an addressed draw."""
    names = [f"{manifest.video_ids[window.row]}/{window.start_seconds:.6f}" for window in windows]
    places = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1 for name in names]
    order = uniforms(0, "probe", places, lanes=1)[:, 0].argsort(kind="stable")
    return [windows[index] for index in order[:quota]]
