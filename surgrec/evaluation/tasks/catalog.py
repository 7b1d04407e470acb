"""The datasets of the benchmark and the adapter of each.

In: a dataset's name and the folder of its archive. Out: its tasks. It is its own file so that the way from a name to the code that reads
it is one line that an editor can follow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.adapters import cholec80, hyper_kvasir, jigsaws
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.card import task_card
from surgrec.evaluation.tasks.task import Task

ADAPTERS: dict[str, Callable[[Archive], tuple[Task, ...]]] = {
    "cholec80": cholec80.read,
    "hyper_kvasir": hyper_kvasir.read,
    "jigsaws": jigsaws.read,
}
EXTRAS = ("pitvis", "cholect50", "grasp")  # beside the sixteen of the published benchmark


def read_tasks(name: str, root: Path, seed: int = 0, allow_missing: bool = False) -> tuple[Task, ...]:
    """The tasks of dataset `name` whose official archive lies unpacked in `root`.

    `seed`: of seeded splits and of validation parts carved from official training parts. `allow_missing`: see `Archive`. Raises `UserError`
    that says what was expected where; no video is decoded.
    """
    card = task_card(name)
    if not Path(root).is_dir():
        raise UserError(f"{name}: there is no folder {root}; give the folder with its archive: {card.layout}")
    return ADAPTERS[name](Archive(Path(root), card, seed, allow_missing))
