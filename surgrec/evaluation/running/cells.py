"""The files of a benchmark: one for each finished cell, one for each that failed.

In: cells, gaps. Out: files, and which of them still stand. It is its own file because a killed benchmark goes on from nothing but these:

    cells/TASK/SPLIT/ENCODER/PROTOCOL.json       the finished cell, with the key of all that decided it; written last
    cells/TASK/SPLIT/ENCODER/PROTOCOL.npz        its predictions
    cells/TASK/SPLIT/ENCODER/PROTOCOL.gap.json   why it failed; goes when it succeeds
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from surgrec.core.atomic import write_json
from surgrec.core.errors import UserError
from surgrec.evaluation.results import Cell, Gap
from surgrec.evaluation.results_json import plain, record_of
from surgrec.evaluation.running.predictions import Predictions, key_in


@dataclass(frozen=True)
class Place:
    """Of a cell. `protocol` is its key, such as `few_shot_5`."""

    task: str
    split: str
    encoder: str
    protocol: str


class Cells:
    """The cells below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, place: Place, key: str | None = None) -> Cell | None:
        """The finished cell; None where it is not there, or was made from anything else than what `key` says (None: from whatever), or
        has not its own predictions beside it: a process may die between the two, and two may write at once.
        """
        try:
            content = json.loads(self._file(place, ".json").read_text(encoding="utf-8"))
            if key is not None and content["key"] != key:
                return None
            if key_in(self._file(place, ".npz")) != content["key"]:
                return None
            return record_of(Cell, content["cell"], "cell")
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return None  # which is run again

    def predictions(self, place: Place) -> Predictions | None:
        """Of a finished cell."""
        return Predictions.read(self._file(place, ".npz"))

    def write(self, place: Place, key: str, cell: Cell, predictions: Predictions) -> None:
        """Keep a finished cell; what was said of its failure goes."""
        predictions.write(self._file(place, ".npz"), key)
        write_json(self._file(place, ".json"), {"key": key, "cell": plain(cell)})
        self.remove_gap(place)

    def write_gap(self, place: Place, gap: Gap) -> None:
        """Say why there is no cell. One that was finished before stays on disk: it stands again once its encoder, which may only be out of
        reach, is known to be the same."""
        write_json(self._file(place, ".gap.json"), plain(gap))

    def remove_gap(self, place: Place) -> None:
        """What was said of the cell holds no more."""
        self._file(place, ".gap.json").unlink(missing_ok=True)

    def gap(self, place: Place) -> Gap | None:
        """Why there is no cell, where it was tried."""
        try:
            return record_of(Gap, json.loads(self._file(place, ".gap.json").read_text(encoding="utf-8")), "gap")
        except (OSError, ValueError, UserError):
            return None

    def num_done(self, places: list[Place]) -> int:
        """How many of them were tried, and succeeded or failed."""
        return sum(self._file(each, ".json").is_file() or self._file(each, ".gap.json").is_file() for each in places)

    def _file(self, place: Place, suffix: str) -> Path:
        return self._folder / place.task / place.split / place.encoder / f"{place.protocol}{suffix}"
