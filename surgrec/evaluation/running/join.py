"""From the files of cells to results: comparisons, ranks, gaps, facts.

In: a plan whose cells were run, by one process or by many. Out: `Results`. It is its own file because whoever comes last does it, and may
do it again: nothing is computed here that needs a model's forward pass.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import combinations

import numpy as np
import torch

from surgrec import __version__
from surgrec.core.console import progress
from surgrec.core.errors import UserError
from surgrec.evaluation.comparisons import Comparison as Compared
from surgrec.evaluation.comparisons import holm
from surgrec.evaluation.intervals import Statistic, difference_interval, p_value
from surgrec.evaluation.ranks import chance_of_best, rank_intervals
from surgrec.evaluation.results import (
    FORMAT,
    UNKNOWN,
    Cell,
    Comparison,
    EncoderFacts,
    Gap,
    Rank,
    Results,
    TaskFacts,
)
from surgrec.evaluation.results_json import plain
from surgrec.evaluation.running import scoring
from surgrec.evaluation.running.cells import Cells, Place
from surgrec.evaluation.running.entrant import Entrant
from surgrec.evaluation.running.plan import Plan, title_of
from surgrec.evaluation.running.protocols import DENSE, LOOKS_AT_NOTHING
from surgrec.evaluation.running.reasons import reason_of
from surgrec.evaluation.running.run import Bench
from surgrec.evaluation.running.splits import cautions_of, facts_of, rows_tested, split_sets
from surgrec.evaluation.tasks.task import ClipTask, DenseTask, Task

Statistics = dict[str, Statistic]  # of encoders, by name
Column = tuple[str, str, str]  # task, split, protocol's key


def join(plan: Plan, environment: Mapping[str, object], bench: Bench | None = None) -> Results:
    """All that is there. A cell that was not run yet is a gap that says so. `bench`: of the run, whose models need not be loaded again."""
    bench = bench or Bench(plan)
    cells, states = Cells(plan.folder / "cells"), states_of(plan, bench)
    found = {place: state for place, state in states.items() if isinstance(state, Cell)}
    gaps = [Gap(task, "*", "*", reason) for task, reason in plan.absent.items()]
    gaps += [state for state in states.values() if isinstance(state, Gap)]
    waiting = [place for place, state in states.items() if state is None]
    gaps += [
        Gap(each.task, each.encoder, title_of(each), "not run yet; run the same command again") for each in waiting
    ]
    numberless = {place.encoder for place, state in states.items() if isinstance(state, Gap)}
    numberless -= {place.encoder for place in found}
    columns = _columns(plan, cells, list(found))
    comparisons, by_column = _comparisons(plan, columns)
    return Results(
        format=FORMAT,
        name=plan.name,
        date=date.today().isoformat(),
        environment=plain({**_environment(plan), **environment}),
        tasks=tuple(_task_facts(task, _sharing(task, plan.tasks), plan.num_seeds) for task in plan.tasks),
        encoders=tuple(_encoder_facts(bench, entrant, entrant.name in numberless) for entrant in plan.entrants),
        cells=tuple(_main_first(plan, place, cell) for place, cell in found.items()),
        comparisons=tuple(comparisons),
        ranks=tuple(_ranks(plan, columns, by_column)),
        gaps=tuple(_gathered(gaps)),
    )


def states_of(plan: Plan, bench: Bench) -> dict[Place, Cell | Gap | None]:
    """Of every cell: what was found, why nothing was, or None where it was not tried, or with other weights or settings than the plan's."""
    cells = Cells(plan.folder / "cells")
    states: dict[Place, Cell | Gap | None] = {}
    for place in plan.places():
        states[place] = cells.gap(place)
        if states[place] is None:
            try:
                states[place] = cells.read(place, bench.key(place))
            except Exception as error:  # of an encoder that cannot be had any more
                states[place] = Gap(place.task, place.encoder, title_of(place), reason_of(error, plan.places_hidden))
    return states


def is_complete(plan: Plan, bench: Bench | None = None) -> bool:
    """Whether every cell was tried; no model is loaded to say so where files are lacking."""
    places = plan.places()
    if Cells(plan.folder / "cells").num_done(places) < len(places):
        return False
    return all(state is not None for state in states_of(plan, bench or Bench(plan)).values())


def _gathered(gaps: Sequence[Gap]) -> list[Gap]:
    """Gaps of one reason of all protocols as one."""
    by_reason: dict[tuple[str, str, str], list[Gap]] = {}
    for gap in gaps:
        by_reason.setdefault((gap.task, gap.encoder, gap.reason), []).append(gap)
    return [each[0] if len(each) == 1 else replace(each[0], protocol="*") for each in by_reason.values()]


# -- comparisons and ranks


def _main_first(plan: Plan, place: Place, cell: Cell) -> Cell:
    """Its main metric before the others, where it is defined."""
    main = plan.main_metric(isinstance(plan.task(place.task), DenseTask))
    return replace(cell, scores=tuple(sorted(cell.scores, key=lambda score: score.metric != main)))


def _columns(plan: Plan, cells: Cells, places: Sequence[Place]) -> dict[Column, Statistics]:
    """The main metric of every encoder with predictions, by task, split and protocol."""
    columns: dict[Column, Statistics] = {}
    with progress("reading predictions", len(places)) as advance:
        for place in places:
            if place.protocol != LOOKS_AT_NOTHING and (predictions := cells.predictions(place)) is not None:
                metric = plan.main_metric(predictions.is_dense)
                column = columns.setdefault((place.task, place.split, place.protocol), {})
                column[place.encoder] = scoring.statistic(predictions, metric)
            advance()
    return columns


def _comparisons(
    plan: Plan, columns: Mapping[Column, Statistics]
) -> tuple[list[Comparison], dict[Column, list[Compared]]]:
    """All pairs of each column, corrected for all comparisons of the benchmark together."""
    rows, by_column = list[tuple[Column, str, str, Compared]](), dict[Column, list[Compared]]()
    for column, statistics in columns.items():
        for first, second in combinations(statistics, 2):
            pair = statistics[first], statistics[second]
            try:
                difference = difference_interval(*pair)
            except UserError:
                continue  # one test group, or one that alone defines the metric: nothing can be said of others
            rows.append((column, first, second, Compared(first, second, difference, p_value(difference), 1.0, "t")))
    adjusted = holm([row[3].p_value for row in rows])
    made = []
    for (column, first, second, compared), corrected in zip(rows, adjusted, strict=True):
        within = replace(compared, adjusted=float(corrected))
        by_column.setdefault(column, []).append(within)
        task, split, protocol = column
        made.append(
            Comparison(
                task,
                split,
                title_of(Place(task, split, first, protocol)),
                _metric_of(plan, protocol),
                first,
                second,
                compared.difference.estimate,
                compared.difference.low,
                compared.difference.high,
                compared.p_value,
                float(corrected),
            )
        )
    return made, by_column


def _metric_of(plan: Plan, protocol: str) -> str:
    return plan.main_metric(protocol in DENSE)


def _ranks(
    plan: Plan, columns: Mapping[Column, Statistics], compared: Mapping[Column, Sequence[Compared]]
) -> list[Rank]:
    """Of each protocol, over the columns that have all encoders that any of its columns has; of a task the first split."""
    made, first = [], {task.name: split_sets(task)[0].name for task in plan.tasks}
    for protocol in dict.fromkeys(column[2] for column in columns):
        own = {
            column: each
            for column, each in columns.items()
            if column[2] == protocol and column in compared and column[1] == first[column[0]]
        }
        names = list(dict.fromkeys(name for each in own.values() for name in each))
        whole = {
            column: {name: each[name] for name in names} for column, each in own.items() if set(each) == set(names)
        }
        if len(names) < 2 or not whole:
            continue
        try:
            chances = chance_of_best(list(whole.values()))
        except UserError:
            continue
        intervals = {column: {rank.name: rank for rank in rank_intervals(compared[column])} for column in whole}
        for name in names:
            ranks = [_rank(each, name) for each in whole.values()]
            low = float(np.mean([intervals[column][name].best for column in whole]))
            high = float(np.mean([intervals[column][name].worst for column in whole]))
            title, metric = title_of(Place("", "", "", protocol)), _metric_of(plan, protocol)
            made.append(Rank(title, metric, name, float(np.mean(ranks)), low, high, chances[name]))
    return made


def _rank(statistics: Statistics, name: str) -> float:
    """Among all of a column, 1 the highest; those that tie share the mean of their ranks."""
    own = statistics[name].estimate()
    others = [each.estimate() for other, each in statistics.items() if other != name]
    return 1 + sum(each > own for each in others) + sum(each == own for each in others) / 2


# -- facts


def _sharing(task: Task, tasks: Sequence[Task]) -> tuple[str, ...]:
    """Names of the other tasks of its form that are tested on some of its videos, or may be: their scores err together.

    Ids of two datasets do not show it: where their cards know of common videos, under which names is mostly not published.
    """
    own = _tested_ids(task)
    return tuple(
        other.name
        for other in tasks
        if other is not task
        and isinstance(other, ClipTask) == isinstance(task, ClipTask)
        and (own & _tested_ids(other) or other.dataset in task.overlapping or task.dataset in other.overlapping)
    )


def _tested_ids(task: Task) -> frozenset[str]:
    rows = task.clips if isinstance(task, ClipTask) else task.recordings
    return frozenset(rows[row].video_id for chosen in split_sets(task) for row in rows_tested(chosen))


def _task_facts(task: Task, sharing: tuple[str, ...], num_seeds: int) -> TaskFacts:
    findings = [finding.what for finding in task.findings] if isinstance(task, ClipTask) else []
    findings += [
        f"{chosen.name}: {said}" for chosen in split_sets(task) for said in cautions_of(task, chosen, num_seeds)
    ]
    return TaskFacts(
        task.name,
        task.title,
        task.domain,
        "clips" if isinstance(task, ClipTask) else "dense",
        task.classes,
        tuple(facts_of(task, chosen) for chosen in split_sets(task)),
        (*findings, *task.notes),
        sharing,
    )


def _encoder_facts(bench: Bench, entrant: Entrant, is_numberless: bool) -> EncoderFacts:
    """One without a number is not loaded for its facts alone: it may have ended the processes that tried, and would end this one."""
    plan = bench.plan
    if entrant.load is None:
        return EncoderFacts(entrant.name, entrant.title, entrant.kind, 0, {}, {}, _contamination(bench, entrant))
    try:
        if is_numberless and not bench.models.was_tried(entrant):
            raise UserError("it has no number, and was not loaded for this page alone")
        facts = bench.models.facts(entrant)
    except Exception as error:  # its cells are gaps that say why
        return EncoderFacts(
            entrant.name,
            entrant.title,
            entrant.kind,
            0,
            {},
            {"used": f"none: {reason_of(error, plan.places_hidden)}"},
            {task.name: UNKNOWN for task in plan.tasks},
        )
    said = "; ".join(reason_of(UserError(line), plan.places_hidden) for line in facts.said)
    weights = {"id": facts.weights_id, "used": said or "all"}
    return EncoderFacts(
        entrant.name,
        entrant.title,
        entrant.kind,
        facts.num_parameters,
        facts.geometry,
        weights,
        _contamination(bench, entrant),
    )


def _contamination(bench: Bench, entrant: Entrant) -> dict[str, str]:
    """By task. Files are read only for who is known to be pretrained on some."""
    seen = entrant.seen()
    return {
        task.name: seen.contamination(_test_videos(bench, task) if seen.files else None) for task in bench.plan.tasks
    }


def _test_videos(bench: Bench, task: Task) -> frozenset[str] | None:
    """SHA-256 of the test videos; None where one is a folder of pictures or not there."""
    rows = task.clips if isinstance(task, ClipTask) else task.recordings
    videos = {rows[row].video for chosen in split_sets(task) for row in rows_tested(chosen)}
    try:
        return None if any(video.is_dir() for video in videos) else frozenset(map(bench.features.contents.of, videos))
    except UserError:
        return None
    finally:
        bench.features.contents.save()


def _environment(plan: Plan) -> dict[str, object]:
    has_cuda = torch.cuda.is_available()
    return {
        "surgrec": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "hardware": torch.cuda.get_device_name(0) if has_cuda else f"{os.cpu_count()} cores of {platform.machine()}",
        "seeds": list(range(plan.num_seeds)),
        "features": {"layout": plan.layout, "precision": plan.precision},
        "protocols": {key: plan.settings.facts(key) for key in plan.protocols},
    }
