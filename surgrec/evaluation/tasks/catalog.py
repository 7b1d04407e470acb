"""The datasets of the benchmark and the adapter of each.

In: a dataset's name and the folder of its archive. Out: its tasks. It is its own file so that the way from a name to the code that reads
it is one line that an editor can follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.adapters import (
    aixsuture,
    autolaparo,
    cataract_1k,
    cataract_21,
    cataract_101,
    cholec80,
    cholect50,
    colonoscopic,
    grasp,
    gyn_events,
    hyper_kvasir,
    jigsaws,
    kvasir_capsule,
    ldpolypvideo,
    m2cai16_workflow,
    multibypass140,
    pitvis,
    sar_rarp50,
    surgicalactions160,
)
from surgrec.evaluation.tasks.archive import Archive
from surgrec.evaluation.tasks.card import task_card
from surgrec.evaluation.tasks.task import Task

ADAPTERS: dict[str, Callable[[Archive], tuple[Task, ...]]] = {
    "aixsuture": aixsuture.read,
    "autolaparo": autolaparo.read,
    "cataract_101": cataract_101.read,
    "cataract_1k": cataract_1k.read,
    "cataract_21": cataract_21.read,
    "cholec80": cholec80.read,
    "cholect50": cholect50.read,
    "colonoscopic": colonoscopic.read,
    "grasp": grasp.read,
    "gyn_events": gyn_events.read,
    "hyper_kvasir": hyper_kvasir.read,
    "jigsaws": jigsaws.read,
    "kvasir_capsule": kvasir_capsule.read,
    "ldpolypvideo": ldpolypvideo.read,
    "m2cai16_workflow": m2cai16_workflow.read,
    "multibypass140": multibypass140.read,
    "pitvis": pitvis.read,
    "sar_rarp50": sar_rarp50.read,
    "surgicalactions160": surgicalactions160.read,
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
    try:
        tasks = ADAPTERS[name](Archive(Path(root), card, seed, allow_missing))
    except UserError as error:
        if str(error).startswith(name):
            raise
        raise UserError(f"{name}: {error}") from None  # of its splits, which know of no dataset
    overlapping = tuple(overlap.source for overlap in card.source_card.overlaps)
    return tuple(replace(task, dataset=name, overlapping=overlapping) for task in tasks)
