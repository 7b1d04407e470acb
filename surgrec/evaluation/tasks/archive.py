"""A dataset as its authors give it out, unpacked in a folder.

In: the folder and the card. Out: the files that an adapter asks for, or one sentence that says what was expected where; and tasks that
carry the card's names and classes. It is its own file because every adapter asks the same questions and must refuse alike.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.tasks import task
from surgrec.evaluation.tasks.card import Form, TaskCard, key_of
from surgrec.evaluation.tasks.partition import never_trained
from surgrec.evaluation.tasks.spans import Span, joined, long_enough, sampled
from surgrec.evaluation.tasks.task import Clip, ClipTask, DenseTask, NamedSplit, Recording

_SHOWN = 5
_MAX_NUMBER = 1e12
_MAX_SECONDS = 48 * 3600.0  # of a recording; beyond is a slip in a file, and labels for it would fill the memory


class PartMissing(UserError):
    """Some of what a dataset has is there and some is not, so that `allow_missing` would go on."""


@dataclass(frozen=True)
class Archive:
    """`root`: the dataset's folder. `seed`: of seeded splits and carved validation parts. `allow_missing`: go on without videos that the
    published split names; scores are then not on the published split, and the task's notes say so."""

    root: Path
    card: TaskCard
    seed: int = 0
    allow_missing: bool = False

    # -- files

    def wrong(self, expected: str, found: str = "it is not there") -> UserError:
        """The error of a layout that is not the official one: what was expected, below which folder, and what there is instead."""
        shown = [path for path in self.root.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        is_nested = len(shown) == 1 and shown[0].is_dir()
        nested = (
            " (it has one folder and nothing else; if the archive was unpacked there, give that folder)"
            if is_nested
            else ""
        )
        return UserError(
            f"{self.card.name}: expected {expected} below {self.root}, but {found}{nested}; the layout is: {self.card.layout}"
        )

    def file(self, path: str, what: str) -> Path:
        """The file at `path` below the root. Raises `UserError`."""
        if not (self.root / path).is_file():
            raise self.wrong(f"{path} ({what})")
        return self.root / path

    def folder(self, path: str, what: str) -> Path:
        """The folder at `path` below the root. Raises `UserError`."""
        if not (self.root / path).is_dir():
            raise self.wrong(f"the folder {path} ({what})")
        return self.root / path

    def find(self, patterns: str | Sequence[str], name: str, what: str) -> dict[str, Path]:
        """Paths below the root that fit one of the shell `patterns` and that the regular expression `name` matches wholly; by the
        text of its groups, joined by `/`, in order. Hidden files (`._a.mp4`, which some systems add) and links to nothing are none.
        Raises `UserError` where there are none, or two of one key."""
        found: dict[str, Path] = {}
        listed = [patterns] if isinstance(patterns, str) else patterns
        pattern = " or ".join(listed)
        for path in sorted({path for each in listed for path in seen(self.root, each)}):
            match = re.fullmatch(name, path.relative_to(self.root).as_posix())
            if match is None:
                continue
            key = "/".join(group for group in match.groups() if group is not None)
            if key in found:
                raise self.wrong(f"one file for each of {pattern} ({what})", f"two are called {key}")
            found[key] = path
        if not found:
            raise self.wrong(f"{pattern} ({what})", "there is none")
        return found

    def base(self, folder: str) -> str:
        """`folder/` where the root has it, nothing where the root is that folder itself."""
        return f"{folder}/" if (self.root / folder).is_dir() else ""

    def expect(self, found: Collection[str], count: int, what: str) -> None:
        """Raise `UserError` where not `count` were found, unless videos may be missing. `what`: in the plural."""
        if len(found) != count and not (self.allow_missing and 0 < len(found) < count):
            wrong = self.wrong(f"{count:,} {what}", f"found {len(found):,}")
            raise PartMissing(str(wrong)) if 0 < len(found) < count else wrong

    def present(self, wanted: Iterable[str], found: Collection[str], what: str) -> list[str]:
        """Those of `wanted` that were found, in order. Raises `UserError` where some were not, unless that is allowed."""
        wanted = list(wanted)
        missing = [key for key in wanted if key not in found]
        if missing and (not self.allow_missing or len(missing) == len(wanted)):
            shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            wrong = self.wrong(f"{counted(len(wanted), what)}", f"{len(missing):,} are missing: {shown}")
            raise PartMissing(str(wrong)) if len(missing) < len(wanted) else wrong
        return [key for key in wanted if key in found]

    def missing_note(self, num_wanted: int, num_kept: int, what: str) -> tuple[str, ...]:
        """A sentence for the report where there are fewer than the dataset has."""
        if num_kept >= num_wanted:
            return ()
        on = "the published split" if self.card.split.origin == "official" else "the whole dataset"
        return (f"{counted(num_wanted - num_kept, what)} of {num_wanted:,} missing: scores are not on {on}",)

    def text(self, path: Path) -> str:
        """The text of a file. Raises `UserError` where it is missing or no text."""
        try:
            return path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise self.wrong(path.relative_to(self.root).as_posix()) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.card.name}: {path} cannot be read: {error}") from None

    def json(self, path: Path) -> Any:
        try:
            return json.loads(self.text(path))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.card.name}: {path} cannot be read as JSON: {error}") from None

    def table(self, path: Path, columns: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
        """Rows, at least one, of a CSV file whose header has `columns`, case aside; further columns are dropped. Raises `UserError`."""
        reader = csv.reader(io.StringIO(self.text(path)), delimiter=delimiter)
        try:
            rows = [[cell.strip() for cell in row] for row in reader if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise UserError(f"{self.card.name}: {path} cannot be read as a table: {error}") from None
        header = [name.lower() for name in rows[0]] if rows else []
        if lost := [name for name in columns if name.lower() not in header]:
            raise UserError(
                f"{self.card.name}: expected the columns {', '.join(columns)} in {path}, separated by {delimiter!r}; "
                f"{', '.join(lost)} is not in its first line"
            )
        places = {name: header.index(name.lower()) for name in columns}
        if short := [number for number, row in enumerate(rows, 1) if len(row) <= max(places.values())]:
            raise UserError(f"{self.card.name}: row {short[0]} of {path} has too few cells")
        if not rows[1:]:
            raise UserError(f"{self.card.name}: {path} has no line below its first")
        return [{name: row[at] for name, at in places.items()} for row in rows[1:]]

    # -- labels

    def number(self, text: str, path: Path) -> float:
        """A finite number of at least 0 in a file. Raises `UserError` that names the file."""
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not 0 <= found <= _MAX_NUMBER:  # nan is neither
            raise UserError(f"{self.card.name}: {path} has {short(text)} where a number of at least 0 should be")
        return found

    def label(self, form: Form, text: str, path: Path) -> int:
        """The class of a spelling, `NO_LABEL` where the dataset says that none holds. Raises `UserError` for one that the card lacks."""
        labels = self.card.labels_of(form)
        index = labels.indices.get(key_of(text))
        if index is None:
            raise UserError(
                f"{self.card.name}: {path} has the {form} {short(text)}, which is none of its {len(labels.classes)} classes: "
                f"{', '.join(labels.names)}"
            )
        return index

    # -- tasks

    def recording(
        self,
        key: str,
        video: Path,
        group: str,
        spans: Sequence[Span],
        until_seconds: float,
        frames_fps: float | None = None,
    ) -> Recording:
        """A recording with `label_fps` labels a second until `until_seconds`. Raises `UserError` where that is no length of one."""
        if not 0 < until_seconds <= _MAX_SECONDS:
            raise UserError(
                f"{self.card.name}: the labels of {key} end at {until_seconds:g} s; expected more than 0 and at most {_MAX_SECONDS:g} s"
            )
        times, labels = sampled(spans, self.card.label_fps, until_seconds)
        return Recording(video, task.video_id(self.card.name, key), group, times, labels, frames_fps)

    def clips(
        self, key: str, video: Path, group: str, spans: Sequence[Span], frames_fps: float | None = None
    ) -> list[Clip]:
        """A clip for each unbroken stretch of a class that is long enough."""
        name = task.video_id(self.card.name, key)
        if any(span.start_seconds < 0 for span in spans):
            raise UserError(f"{self.card.name}: a label of {key} begins before its video")
        return [
            Clip(video, name, span.start_seconds, span.end_seconds, span.label, group, frames_fps)
            for span in long_enough(joined(spans))
        ]

    def whole(self, key: str, video: Path, group: str, label: int) -> Clip:
        """A whole video as a clip."""
        return Clip(video, task.video_id(self.card.name, key), 0.0, None, label, group)

    def dense_task(
        self,
        form: task.Kind,
        recordings: Sequence[Recording],
        splits: Sequence[NamedSplit],
        notes: Sequence[str] = (),
        part: str = "",
    ) -> DenseTask:
        """`part`: of a dataset with several dense tasks of one form, such as `suturing`."""
        title = f"{self.card.title}: {part + ' ' if part else ''}{form}s over whole recordings"
        name = "_".join(filter(None, (self.card.name, part, form)))
        classes = self.card.labels_of(form).names
        said = never_trained(splits, [set(each.labels.tolist()) for each in recordings], classes)
        return DenseTask(
            name, title, self.card.source_card.domain, form, classes, tuple(recordings), tuple(splits),
            (*self.card.notes, *notes, *said),
        )  # fmt: skip

    def clip_task(self, clips: Sequence[Clip], splits: Sequence[NamedSplit], notes: Sequence[str] = ()) -> ClipTask:
        """The clips' task."""
        classes = self.card.labels_of("clips").names
        said = never_trained(splits, [{clip.label} for clip in clips], classes)
        return ClipTask(
            f"{self.card.name}_clips", f"{self.card.title}: clips", self.card.source_card.domain, classes, tuple(clips),
            tuple(splits), (*self.card.notes, *notes, *said),
        )  # fmt: skip


def seen(root: Path, pattern: str) -> list[Path]:
    """Paths below `root` that fit the shell `pattern`, but for hidden ones and links that lead nowhere."""
    return [
        path
        for path in root.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and path.exists()
    ]


def short(text: str) -> str:
    """A text of a file as it stands in a message: quoted, its first sixty characters."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def is_count(text: str) -> bool:
    """Whether a text is a whole number of at least 0, as frames are counted: `'²'.isdigit()` is true and is none."""
    return re.fullmatch(r"[0-9]{1,12}", text) is not None
