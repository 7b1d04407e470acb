"""A whole benchmark: every cell that is not there yet, one after the other.

In: a `Plan`. Out: cell files. It is its own file because it is the loop, and holds the one promise that a long run needs: what fails leaves
an explained gap and everything else goes on; what is killed goes on where it was.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import torch

from surgrec.core.console import progress
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.protocols.answer import Search
from surgrec.evaluation.protocols.dense import DenseHeldOut, DenseRecording
from surgrec.evaluation.protocols.dense_trivial import DenseMajority
from surgrec.evaluation.protocols.held_out import held_out
from surgrec.evaluation.results import MAJORITY, Cell, Gap
from surgrec.evaluation.running import protocols, scoring
from surgrec.evaluation.running.cells import Cells, Place
from surgrec.evaluation.running.entrant import Entrant
from surgrec.evaluation.running.features import Features
from surgrec.evaluation.running.keys import key_of, rows_digest, videos_digest
from surgrec.evaluation.running.models import Models
from surgrec.evaluation.running.plan import Plan, title_of
from surgrec.evaluation.running.predictions import Predictions, of_clips, of_operations
from surgrec.evaluation.running.reasons import reason_of
from surgrec.evaluation.running.splits import SplitSet, hash_of
from surgrec.evaluation.splits import Split
from surgrec.evaluation.tasks.task import ClipTask, DenseTask, Task
from surgrec.features.baseline import FrozenModel

VERSION = 4  # raise it whenever the same cell begins to come out otherwise


def run_cells(
    plan: Plan, places: Sequence[Place], bench: Bench | None = None, begin: Callable[[Place], None] | None = None
) -> None:
    """Run what of `places` is not done; gaps of an earlier call are tried again. `begin`: is told of each before it."""
    cells, bench = Cells(plan.folder / "cells"), bench or Bench(plan)
    with progress("cells", len(places)) as advance:
        for place in places:
            if begin is not None:
                begin(place)
            try:
                key = bench.key(place)
                if cells.read(place, key) is None:
                    cells.write(place, key, *bench.run(place))
                cells.remove_gap(place)
            except Exception as error:  # one cell, whatever is wrong with it
                gap = Gap(place.task, place.encoder, title_of(place), reason_of(error, plan.places_hidden))
                cells.write_gap(place, gap)
                print(
                    f"gap: {place.task}, {place.encoder}, {place.protocol}: {gap.reason}", file=sys.stderr, flush=True
                )
                if not isinstance(error, UserError):
                    traceback.print_exc()
            advance(note=f"{place.encoder} {place.task}")


class Bench:
    """Runs cells of a plan; keeps the model in use and the facts of all."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.models = plan, Models()
        self.features = Features(
            plan.features, plan.layout, plan.batch_size, plan.precision, protocols.LINEAR_CHANGE in plan.protocols
        )
        self._digests: dict[str, str] = {}  # of videos, by task

    def key(self, place: Place) -> str:
        """Of all that decides the cell. Raises where its encoder, or a video of its task, is not there."""
        plan, task, entrant = self.plan, self.plan.task(place.task), self.plan.entrant(place.encoder)
        facts = {
            "version": VERSION,
            "split": hash_of(task, plan.split_set(place)),
            "classes": task.classes,
            "rows": rows_digest(task),
            "encoder": entrant.name,
            "view": entrant.view,
            "protocol": place.protocol,
            "settings": plan.settings.facts(place.protocol),
            "seeds": plan.num_seeds,
        }
        if entrant.load is not None:
            seeds = range(plan.num_seeds if entrant.is_drawn else 1)
            facts |= {
                "encoder": [self.models.facts(entrant, seed).decide for seed in seeds],
                "videos": self._videos(task),
                "precision": plan.precision,
                "layout": protocols.layout_of(place.protocol, plan.layout),
            }
        return key_of(facts)

    def _videos(self, task: Task) -> str:
        if task.name not in self._digests:
            self._digests[task.name] = videos_digest(task, self.features.contents)
        return self._digests[task.name]

    def run(self, place: Place) -> tuple[Cell, Predictions]:
        """The finished cell and its predictions. Raises whatever goes wrong."""
        start, plan = time.perf_counter(), self.plan
        task, entrant, chosen = plan.task(place.task), plan.entrant(place.encoder), plan.split_set(place)
        if isinstance(task, ClipTask):
            answers, note = self._clip_answers(place, entrant, task, chosen)
            found, searches = of_clips(answers), [each for answer in answers for each in answer.searches]
        else:
            dense, note = self._dense_answers(place, entrant, task, chosen)
            found, searches = of_operations(dense), [each for answer in dense for each in answer.searches]
        seconds = time.perf_counter() - start
        if untrained := sorted({name for search in searches for name in search.untrained}):
            note = "; ".join(filter(None, [note, f"no gradient reached {', '.join(untrained)}"]))
        cell = Cell(
            task=task.name,
            split=chosen.name,
            encoder=entrant.name,
            protocol=title_of(place),
            num_seeds=plan.num_seeds,
            chosen=_chosen(searches),
            num_fits=sum(search.num_fits for search in searches),
            seconds=round(seconds, 3),
            scores=scoring.scores(found, scoring.relaxed_of(task)),
            per_class=scoring.per_class(found, task.classes),
            confusion=tuple(tuple(int(count) for count in row) for row in scoring.confusion_of(found)),
            timelines=scoring.timelines(found, task) if isinstance(task, DenseTask) else (),
            alarm=self._alarm(entrant, found, task, chosen),
            note=note,
        )
        return cell, found

    # -- clips

    def _clip_answers(
        self, place: Place, entrant: Entrant, task: ClipTask, chosen: SplitSet
    ) -> tuple[list[HeldOut], str | None]:
        """One for each seed. Where nothing is drawn, neither weights nor by the protocol, all seeds are the first."""
        settings, notes, answers = self.plan.settings, list[str](), list[HeldOut]()
        for seed in range(self.plan.num_seeds):
            if answers and not (
                entrant.is_drawn or entrant.answer or protocols.is_drawn(place.protocol) or self._is_shuffled(entrant)
            ):
                answers.append(answers[0])
                continue
            if entrant.answer is not None:
                answers.append(_answered(entrant, task, chosen, seed))
                continue
            model = self.models.get(entrant, seed if entrant.is_drawn else 0)
            if place.protocol == protocols.FINETUNE:
                clips = self.features.clips_of(task)
                kept = self.plan.folder / "unfinished" / self.key(place)
                answers.append(protocols.on_pixels(settings, model, clips, task, chosen.splits, seed, kept))
                with suppress(OSError):  # where nothing was kept, or something is
                    kept.rmdir()
                continue
            order = seed if self._is_shuffled(entrant) else 0
            layout = protocols.layout_of(place.protocol, self.plan.layout)
            features = self.features.of_clips(model, task, entrant.view, order, layout)
            answer, note = protocols.on_clips(place.protocol, settings, features, task, chosen.splits, seed)
            answers.append(answer)
            notes += [note] if note else []
        return answers, notes[0] if notes else None

    def _is_shuffled(self, entrant: Entrant) -> bool:
        return entrant.view == "shuffled frames"

    # -- operations

    def _dense_answers(
        self, place: Place, entrant: Entrant, task: DenseTask, chosen: SplitSet
    ) -> tuple[list[DenseHeldOut], str | None]:
        if entrant.answer is not None:
            return [_dense_majority(task, chosen)] * self.plan.num_seeds, None
        protocol, answers, num_lost = protocols.dense_of(place.protocol, self.plan.settings), list[DenseHeldOut](), 0
        for seed in range(self.plan.num_seeds):
            if answers and not (entrant.is_drawn or protocols.is_drawn(place.protocol)):
                answers.append(answers[0])
                continue
            recordings, num_lost = self._recordings(self.models.get(entrant, seed if entrant.is_drawn else 0), task)
            answers.append(protocols.on_operations(protocol, recordings, len(task.classes), chosen.splits, seed))
        lost = f"{counted(num_lost, 'moment')} could not be read: the features before stand for them"
        return answers, lost if num_lost else None

    def _recordings(self, model: FrozenModel, task: DenseTask) -> tuple[list[DenseRecording], int]:
        """With their features, and how many moments cannot be read. These have the features of the one before (of the first that can be
        read where there is none), and their label: all encoders are scored on the same moments, however long the clip that each needs.
        """
        made, num_lost = list[DenseRecording](), 0
        with progress("features of operations", len(task.recordings)) as advance:
            for recording in task.recordings:
                features, is_valid = self.features.of_recording(model, recording)
                if not is_valid.any():
                    raise UserError(f"no moment of {recording.video_id} can be read; mend the file or leave it out")
                last = np.maximum.accumulate(np.where(is_valid, np.arange(len(is_valid)), int(np.argmax(is_valid))))
                num_lost += int((~is_valid).sum())
                made.append(DenseRecording(features[torch.from_numpy(last)], recording.labels, recording.group))
                advance()
        return made, num_lost

    def _alarm(self, entrant: Entrant, found: Predictions, task: Task, chosen: SplitSet) -> str | None:
        if entrant.name == MAJORITY:
            return None
        is_floor = entrant.kind in ("random", "trivial")
        return scoring.alarm(found, None if is_floor else self._majority(task, chosen), task.classes)

    def _majority(self, task: ClipTask | DenseTask, chosen: SplitSet) -> Predictions:
        if isinstance(task, DenseTask):
            return of_operations([_dense_majority(task, chosen)])
        from surgrec.evaluation.running.entrant import majority

        return of_clips([_answered(majority(), task, chosen, 0)])


def _answered(entrant: Entrant, task: ClipTask, chosen: SplitSet, seed: int) -> HeldOut:
    assert entrant.answer is not None
    nothing = torch.zeros(len(task.clips), 1)
    return held_out(
        nothing,
        task.labels,
        task.groups,
        _parts(chosen),
        entrant.answer,
        len(task.classes),
        seed,
        may_share_groups=True,  # nothing of a group is looked at
    )


def _dense_majority(task: DenseTask, chosen: SplitSet) -> DenseHeldOut:
    recordings = [DenseRecording(torch.zeros(len(each.labels), 1), each.labels, each.group) for each in task.recordings]
    return protocols.on_operations(DenseMajority(), recordings, len(task.classes), chosen.splits, 0)


def _parts(chosen: SplitSet) -> list[Split]:
    return [Split(each.train, each.validation, each.test) for each in chosen.splits]


def _chosen(searches: Sequence[Search]) -> dict[str, object]:
    """Hyper-parameters, those of each fit where several were chosen."""
    values: dict[str, list[float]] = {}
    for search in searches:
        for name, value in search.chosen.items():
            values.setdefault(name, []).append(value)
    return {name: each[0] if len(set(each)) == 1 else each for name, each in values.items()}
