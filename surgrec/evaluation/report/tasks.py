"""A section for each task: its splits and findings, then protocol by protocol every number with what lies behind it.

In: what is known. Out: blocks. It is its own file because here one task is looked at from all sides, as the main tables look at all
tasks from one.
"""

from __future__ import annotations

from collections.abc import Sequence

from surgrec.core.html import element
from surgrec.core.wording import counted
from surgrec.evaluation.report.behind import behind
from surgrec.evaluation.report.blocks import (
    Block,
    Entry,
    Fold,
    Grid,
    Heading,
    Measured,
    Name,
    Number,
    Picture,
    Points,
    Words,
)
from surgrec.evaluation.report.facts import SPLIT_HEADER, contamination_of, split_row
from surgrec.evaluation.report.forest import Row, forest
from surgrec.evaluation.report.known import Known, Place, worded
from surgrec.evaluation.report.main_tables import absent, encoder_name, levels, majority_name
from surgrec.evaluation.report.numbers import measured, number
from surgrec.evaluation.report.pairs import listed
from surgrec.evaluation.results import MAJORITY, Cell, TaskFacts


def tasks(known: Known) -> list[Block]:
    """All of them, in their order."""
    return [Heading(2, "Tasks", "tasks"), *(block for task in known.results.tasks for block in _task(known, task))]


def _task(known: Known, task: TaskFacts) -> list[Block]:
    anchor = known.task_anchor(task.name)
    form = {"clips": "clips with one label each", "dense": "a label at every moment of whole operations"}.get(
        task.form, task.form
    )
    facts = f"Domain: {task.domain}. Form: {form}. {counted(len(task.classes), 'class')}: {', '.join(task.classes)}."
    rows = tuple((Name(split.name), *split_row(split)) for split in task.splits)
    found = [f"Finding: {one}" for one in task.findings] or ["Findings: none"]
    missing = [f"Missing: {known.gap_text(gap)}" for gap in known.results.gaps if gap.task == task.name]
    blocks: list[Block] = [Heading(3, task.title, anchor), Words(facts)]
    blocks.append(Grid(f"Splits of {task.title}.", ("split", *SPLIT_HEADER), rows))
    blocks.append(Points(tuple(("", one) for one in (*found, *missing)), f"{anchor}-split"))
    places = [place for place in known.places if place[0] == task.name]
    if not places:
        blocks.append(Words("There is no finished number of this task."))
    for place in places:
        for protocol in known.protocols:
            if (metric := known.headline(place, protocol)) is not None:
                blocks += _numbers(known, place, protocol, metric)
        others = dict.fromkeys(one.protocol for one in known.results.comparisons if one.task == task.name)
        blocks += [
            block for other in others if other not in known.protocols for block in _comparisons(known, place, other)
        ]
    rows = tuple(
        (Name(encoder.title), contamination_of(encoder, task))
        for encoder in known.encoders.values()
        if encoder.kind != "trivial"
    )
    table = Grid(f"What of {task.title}'s test set was in pretraining data.", ("encoder", "what is known"), rows)
    return [*blocks, Fold("Contamination", (table,), is_in_markdown=False)]  # Markdown has it in its own section


def _numbers(known: Known, place: Place, protocol: str, metric: str) -> list[Block]:
    title = f"{known.task_title(place)}, {worded(protocol)}"
    encoders = (*known.rows([place], protocol), MAJORITY)
    cells = {name: cell for name in encoders if (cell := known.cell(place, name, protocol)) is not None}
    blocks: list[Block] = [
        Heading(4, title),
        *_forest(known, place, protocol, metric, encoders),
        _metrics(known, place, protocol, encoders, title),
    ]
    blocks += behind(known, known.tasks[place[0]], cells, title)
    return [*blocks, *_comparisons(known, place, protocol)]


def _comparisons(known: Known, place: Place, protocol: str) -> list[Block]:
    several = [one for one in known.results.comparisons if (one.task, one.split, one.protocol) == (*place, protocol)]
    title = f"{known.task_title(place)}, {worded(protocol)}"
    told = f"Paired comparisons, {title} ({len(several)})"
    return [Fold(told, tuple(listed(known, several, title)))] if several else []


def _forest(known: Known, place: Place, protocol: str, metric: str, encoders: Sequence[str]) -> list[Block]:
    scores = {name: known.score(place, name, protocol, metric) for name in encoders}
    rows = [
        Row(
            majority_name(known).title if name == MAJORITY else known.title(name),
            "trivial" if name == MAJORITY else known.encoders[name].kind,
            score.estimate, score.low, score.high, name == MAJORITY,
        )
        for name, score in scores.items() if score is not None
    ]  # fmt: skip
    said = (
        f"{worded(metric)} on {known.task_title(place)}, protocol: {worded(protocol)}; {levels(list(scores.values()))}"
    )
    return [Picture(element("div", forest(rows, said, worded(metric))))]


def _metrics(known: Known, place: Place, protocol: str, encoders: Sequence[str], title: str) -> Grid:
    """Every metric of every encoder; the majority stands last."""
    cells = {name: known.cell(place, name, protocol) for name in encoders}
    scores = [score for cell in cells.values() if cell for score in cell.scores]
    metrics = tuple(dict.fromkeys(score.metric for score in scores))

    def row(name: str) -> tuple[Entry, ...]:
        cell = cells[name]
        first = majority_name(known) if name == MAJORITY else encoder_name(known, name)
        if cell is None:
            return (first, *(absent(known, place[0], name, protocol) for _ in metrics), "", "", "")
        first = Name(first.title, first.below, known.marks(cell))
        seeds = ", ".join(map(number, next((score.seeds for score in cell.scores if score.metric == metrics[0]), ())))
        return (
            first,
            *(_entry(cell, metric) for metric in metrics),
            Number(f"{cell.num_seeds}"),
            Number(seeds or "-"),
            _chosen(cell),
        )

    own = (Name(worded(metric)) for metric in metrics)
    head = worded(metrics[0]) if metrics else "score"
    header: tuple[Entry, ...] = (
        Name("encoder", worded(protocol)),
        *own,
        "seeds",
        Name("each seed", head),
        "chosen on validation rows",
    )
    caption = f"All metrics. {title}; {levels(scores)}."
    *others, last = map(row, encoders)
    return Grid(caption, header, tuple(others), (last,), is_wide=True)


def _entry(cell: Cell, metric: str) -> Entry:
    score = next((score for score in cell.scores if score.metric == metric), None)
    return Number("-") if score is None else Measured(*measured(score.estimate, score.low, score.high))


def _chosen(cell: Cell) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in cell.chosen.items()) or "nothing to choose"
