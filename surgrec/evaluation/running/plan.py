"""All cells of a benchmark, in the order in which they are run, and which of them a shard runs.

In: tasks, entrants, protocols. Out: a `Plan`. It is its own file because every shard must count the same cells alike, and because what is
no cell (a protocol of clips on a task of operations) must be decided in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from surgrec.evaluation.running import protocols
from surgrec.evaluation.running.cells import Place
from surgrec.evaluation.running.entrant import STRATIFIED, Entrant
from surgrec.evaluation.running.protocols import DENSE, FEW_SHOT, FINETUNE, FROZEN, LOOKS_AT_NOTHING, Settings
from surgrec.evaluation.running.scoring import CLIP_METRICS, DENSE_METRICS
from surgrec.evaluation.running.splits import SplitSet, split_sets
from surgrec.evaluation.tasks.task import ClipTask, Task
from surgrec.features.extractor import Layout, Precision


@dataclass(frozen=True)
class Plan:
    """What a benchmark is to do. `folder`: of its cells and results; `features`: of features, which benchmarks may share.

    `limited`: protocols that run on some tasks only, by key, with the tasks' names. `absent`: tasks that could not be read, and why.
    `places_hidden`: folders and files of this machine, which no reason in a report may name.
    `main_metrics`: of clips and of operations, the one that tables show first, encoders are compared by and ranked by.
    """

    name: str
    folder: Path
    features: Path
    tasks: tuple[Task, ...]
    entrants: tuple[Entrant, ...]
    protocols: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)
    num_seeds: int = 3
    layout: Layout = "time"
    precision: Precision = "float32"
    batch_size: int = 8
    limited: Mapping[str, Sequence[str]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    places_hidden: tuple[Path, ...] = ()
    main_metrics: tuple[str, str] = (CLIP_METRICS[0], DENSE_METRICS[0])

    def places(self) -> list[Place]:
        """All cells: one encoder after the other, so that each is loaded once."""
        return [
            Place(task.name, chosen.name, entrant.name, protocol)
            for entrant in self.entrants
            for task in self.tasks
            for chosen in split_sets(task)
            for protocol in self.protocols_of(entrant, task)
        ]

    def protocols_of(self, entrant: Entrant, task: Task) -> tuple[str, ...]:
        """Keys of the protocols that the encoder is measured by on the task.

        What is shown less of a clip is shown so on clips only, with all labels, and is not fine-tuned, no more than what has no weights.
        """
        is_clips = isinstance(task, ClipTask)
        if entrant.answer is not None:
            return (LOOKS_AT_NOTHING,) if is_clips or entrant.name != STRATIFIED else ()
        if not is_clips:
            keys = [key for key in self.protocols if key in DENSE and entrant.view == "all frames"]
        else:
            keys = [
                key for key in self.protocols if key in FROZEN and (entrant.view == "all frames" or key not in FEW_SHOT)
            ]
            if FINETUNE in self.protocols and entrant.kind != "trivial":
                keys.append(FINETUNE)
        return tuple(key for key in keys if task.name in self.limited.get(key, (task.name,)))

    def units(self, number: int) -> list[list[Place]]:
        """The cells in parts that are worth keeping together, the longest first, for `number` processes or jobs.

        With as many encoders as those or more, an encoder's cells are one part, so that its features are computed once; else its cells of
        a task. What has other weights for each seed takes as many times as long.
        """
        entrants = {entrant.name: entrant for entrant in self.entrants}
        is_whole, parts = len(entrants) >= number, dict[object, list[Place]]()
        for place in self.places():
            key = place.encoder if is_whole else (place.encoder, place.task, place.split)
            parts.setdefault(key, []).append(place)
        return sorted(parts.values(), key=lambda part: not entrants[part[0].encoder].is_drawn)

    def of_shard(self, part: int, number: int) -> list[Place]:
        """The cells of part `part` of `number`."""
        return [place for unit in self.units(number)[part::number] for place in unit]

    def main_metric(self, is_dense: bool) -> str:
        return self.main_metrics[is_dense]

    def task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def split_set(self, place: Place) -> SplitSet:
        return next(chosen for chosen in split_sets(self.task(place.task)) if chosen.name == place.split)

    def entrant(self, name: str) -> Entrant:
        return next(entrant for entrant in self.entrants if entrant.name == name)


def title_of(place: Place) -> str:
    """The protocol as it stands beside numbers."""
    return protocols.title_of(place.protocol)
