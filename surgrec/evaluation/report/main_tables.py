"""The main tables: encoders by tasks, one table for each protocol and metric.

In: what is known. Out: blocks. It is its own file because here is decided what may stand in a table: no number without its
interval, no table without the majority, no mean that leaves out what an encoder failed at.
"""

from __future__ import annotations

from collections.abc import Sequence

from surgrec.core.wording import counted
from surgrec.evaluation.report.blocks import Absent, Block, Entry, Grid, Heading, Mark, Measured, Name, Picture, Words
from surgrec.evaluation.report.forest import Row, forest
from surgrec.evaluation.report.known import EVERYTHING, KINDS, Known, Place, worded
from surgrec.evaluation.report.means import mean_score
from surgrec.evaluation.report.numbers import measured
from surgrec.evaluation.results import MAJORITY, Score


def main_tables(known: Known) -> list[Block]:
    """All of them."""
    blocks: list[Block] = [Heading(2, "Main tables", "tables")]
    tables = known.tables()
    if not tables:
        return [*blocks, Words("There is no finished number.")]
    return [
        *blocks,
        *(block for protocol, metric, places in tables for block in _table(known, protocol, metric, places)),
    ]


def majority_name(known: Known) -> Name:
    return Name(known.title(MAJORITY) if MAJORITY in known.encoders else "majority", "always the commonest class")


def encoder_name(known: Known, encoder: str) -> Name:
    kind = known.encoders[encoder].kind
    return Name(known.title(encoder), KINDS.get(kind, kind))


def levels(scores: Sequence[Score | None]) -> str:
    """'95 % intervals (percentile bootstrap)'; several where they differ."""
    found = dict.fromkeys((score.level, score.form) for score in scores if score is not None and score.low is not None)
    told = "; ".join(f"{100 * level:g} % ({form})" for level, form in found)
    return f"intervals: {told}" if told else "without intervals"


def _table(known: Known, protocol: str, metric: str, places: tuple[Place, ...]) -> list[Block]:
    title = f"{worded(protocol)}: {worded(metric)}"
    encoders = known.rows(places, protocol)
    averaged = _averaged(known, protocol, metric, places)
    means = {name: _mean(known, protocol, metric, averaged, name) for name in (*encoders, MAJORITY)}
    has_mean = means[MAJORITY] is not None
    best = {place: _best(known, protocol, metric, place, encoders) for place in places}
    best_mean = max((mean.estimate for name, mean in means.items() if mean and name != MAJORITY), default=None)

    def row(name: str) -> tuple[Entry, ...]:
        first = majority_name(known) if name == MAJORITY else encoder_name(known, name)
        cells = [_entry(known, protocol, metric, place, name, best[place]) for place in places]
        return (first, *([_mean_entry(means[name], best_mean)] if has_mean else []), *cells)

    mean_head = [Name("mean", f"of {counted(len(averaged), 'task')}")] if has_mean else []
    header = (Name("encoder", title), *mean_head, *(_head(known, place) for place in places))
    scores = [known.score(place, name, protocol, metric) for place in places for name in (*encoders, MAJORITY)]
    caption = f"Protocol: {worded(protocol)}. Metric: {worded(metric)}; {levels(scores)}. Bold: the highest estimate of a column."
    grid = Grid(caption, header, tuple(map(row, encoders)), (row(MAJORITY),), is_wide=True)
    blocks: list[Block] = [Heading(3, title), grid, *_left_out(known, protocol, places)]
    blocks.append(Words(_of_the_mean(known, averaged, places, has_mean), is_faint=True))
    if has_mean:
        rows = [_forest_row(known, name, mean) for name, mean in means.items() if mean is not None]
        said = f"Mean {worded(metric)} of {counted(len(averaged), 'task')}, protocol: {worded(protocol)}"
        blocks.append(Picture(forest(rows, said, f"mean {worded(metric)}")))
    return blocks


def _forest_row(known: Known, name: str, score: Score) -> Row:
    is_majority = name == MAJORITY
    kind = "trivial" if is_majority else known.encoders[name].kind
    title = majority_name(known).title if is_majority else known.title(name)
    return Row(title, kind, score.estimate, score.low, score.high, is_majority)


def _averaged(known: Known, protocol: str, metric: str, places: Sequence[Place]) -> tuple[Place, ...]:
    """One split of each task, the first, where the majority has a number too."""
    first = {task: (task, split) for task, split in reversed(places)}
    kept = (place for place in places if first[place[0]] == place)
    return tuple(place for place in kept if known.score(place, MAJORITY, protocol, metric))


def _mean(known: Known, protocol: str, metric: str, places: Sequence[Place], encoder: str) -> Score | None:
    scores = [known.score(place, encoder, protocol, metric) for place in places]
    present = [score for score in scores if score is not None]
    if len(places) < 2 or len(present) < len(scores):
        return None
    return mean_score(present, [known.apart[task] for task, _ in places])


def _of_the_mean(known: Known, averaged: Sequence[Place], places: Sequence[Place], has_mean: bool) -> str:
    if not has_mean:
        return (
            "No mean over tasks is given: it would need the majority's number with an interval of the same level on two tasks "
            "or more."
        )
    left_out = [known.task_title(place) for place in places if place not in averaged]
    told = (
        f"The mean is over {', '.join(known.task_title(place) for place in averaged)}; an encoder that lacks one of "
        f"them has none. Its interval joins those of the tasks, as of samples that {_in_common(known, averaged)}; it says "
        "nothing of tasks that are not here."
    )
    return told + (f" Not in the mean: {', '.join(left_out)}." if left_out else "")


def _in_common(known: Known, averaged: Sequence[Place]) -> str:
    num_apart = len({known.apart[task] for task, _ in averaged})
    if num_apart == len(averaged):
        return "have no patient in common"
    together = "all" if num_apart == 1 else "in part"
    return f"are {together} of the same videos, or may be, where errors may go together, and widths are added in full"


def _best(known: Known, protocol: str, metric: str, place: Place, encoders: Sequence[str]) -> float | None:
    scores = (known.score(place, name, protocol, metric) for name in encoders)
    return max((score.estimate for score in scores if score is not None), default=None)


def _entry(known: Known, protocol: str, metric: str, place: Place, encoder: str, best: float | None) -> Entry:
    score, cell = known.score(place, encoder, protocol, metric), known.cell(place, encoder, protocol)
    if score is None or cell is None:
        return absent(known, place[0], encoder, protocol)
    estimate, interval = measured(score.estimate, score.low, score.high)
    is_best = encoder != MAJORITY and score.estimate == best
    return Measured(estimate, interval, known.marks(cell), is_best)


def absent(known: Known, task: str, encoder: str, protocol: str) -> Absent:
    """Why there is no number."""
    found = known.gap(task, encoder, protocol)
    if found is None:
        return Absent("not run")
    return Absent("failed", Mark(f"gap {found[0]}", f"gap-{found[0]}", "warning"))


def _mean_entry(mean: Score | None, best: float | None) -> Entry:
    if mean is None:
        return Absent("not all tasks")
    return Measured(*measured(mean.estimate, mean.low, mean.high), is_best=mean.estimate == best)


def _head(known: Known, place: Place) -> Name:
    task = known.tasks[place[0]]
    split = next((each for each in task.splits if each.name == place[1]), None)
    origin = f"{split.origin} split" if split else "split not described"
    anchor = known.task_anchor(task.name)
    marks = (Mark(counted(len(task.findings), "finding"), f"{anchor}-split", "warning"),) if task.findings else ()
    return Name(known.task_title(place), origin, marks, anchor)


def _left_out(known: Known, protocol: str, places: Sequence[Place]) -> list[Block]:
    """Tasks of which the whole column is missing, with a reason."""
    shown = {task for task, _ in places}
    gaps = [
        (task.title, gap.reason)
        for task in known.results.tasks
        if task.name not in shown
        and not any(known.headline(place, protocol) for place in known.places if place[0] == task.name)
        for gap in known.results.gaps
        if gap.task == task.name and gap.protocol in (protocol, *EVERYTHING)
    ]
    told = [f"{title}: {reason}" for title, reason in dict.fromkeys(gaps)]
    return [Words(f"Missing from this table: {'; '.join(told)}.")] if told else []
