"""The order of the sections, and what stands at the top: size, alarms, what is missing.

In: what is known. Out: blocks. It is its own file because here is the whole report at a glance.
"""

from __future__ import annotations

from surgrec.core.wording import counted, lasting
from surgrec.evaluation.report.blocks import Block, Heading, Panel, Points, Words
from surgrec.evaluation.report.facts import contamination, cost, encoders, environment, splits
from surgrec.evaluation.report.known import Known, worded
from surgrec.evaluation.report.main_tables import main_tables
from surgrec.evaluation.report.pairs import comparisons, ranks
from surgrec.evaluation.report.tasks import tasks
from surgrec.evaluation.results import MAJORITY, Cell

_SHOWN = 8
_READING = (
    "Each number stands above its interval and below the name of its protocol: numbers of two protocols are no rivals. Intervals "
    "come from leaving out groups (patients, cases), not clips. Two overlapping intervals may still differ, since encoders were tested on "
    "the same rows: see Paired comparisons. The majority row is what an answer that never looks at the video scores."
)


def contents(known: Known) -> list[Block]:
    """The whole report."""
    return [
        *_summary(known),
        *main_tables(known),
        *ranks(known),
        *comparisons(known),
        *_to_know(known),
        *splits(known),
        *contamination(known),
        *tasks(known),
        *encoders(known),
        *environment(known),
        *cost(known),
    ]


def _summary(known: Known) -> list[Block]:
    results = known.results
    size = (
        f"{results.name}, {results.date}: {counted(len(results.tasks), 'task')}, {counted(len(results.encoders), 'encoder')}, "
        f"{counted(len(results.cells), 'number')} by {', '.join(map(worded, known.protocols)) or 'no protocol'}, in "
        f"{lasting(sum(cell.seconds for cell in results.cells))} of computing."
    )
    blocks: list[Block] = [Words(size)]
    if any(
        not known.score(place, MAJORITY, protocol, metric)
        for protocol, metric, places in known.tables()
        for place in places
    ):
        told = "Where the majority row has no number, nothing tells whether a score is better than none: run the benchmark with it."
        blocks.append(Panel("error", "The majority was not run on all tasks", (told,)))
    if known.alarmed:
        blocks.append(
            Panel("error", f"Alarms ({len(known.alarmed)})", _some([_alarm(known, cell) for cell in known.alarmed]))
        )
    if results.gaps:
        gaps = [f"gap {number}: {_gap_text(known, number)}" for number in range(1, len(results.gaps) + 1)]
        blocks.append(Panel("warning", f"Missing ({len(results.gaps)})", _some(gaps)))
    return [*blocks, Words(_READING, is_faint=True)]


def _some(entries: list[str]) -> tuple[str, ...]:
    more = len(entries) - _SHOWN
    return (*entries[:_SHOWN], *([f"and {more:,} more, below"] if more > 0 else []))


def _to_know(known: Known) -> list[Block]:
    """Every alarm, gap and note, where marks lead."""
    alarms = tuple(
        (f"alarm-{place}", f"alarm {place}: {_alarm(known, cell)}") for place, cell in enumerate(known.alarmed, 1)
    )
    gaps = tuple(
        (f"gap-{place}", f"gap {place}: {_gap_text(known, place)}") for place in range(1, len(known.results.gaps) + 1)
    )
    notes = tuple(
        (f"note-{place}", f"note {place}: {_where(known, cell)}: {cell.note}")
        for place, cell in enumerate(known.noted, 1)
    )
    blocks: list[Block] = [Heading(2, "Alarms, gaps, notes", "alarms")]
    for title, entries in (("Alarms", alarms), ("Gaps", gaps), ("Notes", notes)):
        blocks += [Heading(3, title), Points(entries) if entries else Words("None.")]
    return blocks


def _alarm(known: Known, cell: Cell) -> str:
    return f"{_where(known, cell)}: {cell.alarm}"


def _where(known: Known, cell: Cell) -> str:
    return f"{known.title(cell.encoder)} on {known.task_title((cell.task, cell.split))}, {worded(cell.protocol)}"


def _gap_text(known: Known, number: int) -> str:
    gap = known.results.gaps[number - 1]
    task = known.tasks[gap.task].title if gap.task in known.tasks else gap.task
    return f"{task}: {known.gap_text(gap)}"
