"""What lies behind the numbers of one task and protocol: classes, confusions, timelines.

In: cells. Out: blocks that are folded away. It is its own file because it alone must choose: a page with the confusion matrix of every cell
of a large benchmark would be too heavy to open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from surgrec.core.drawing import legend
from surgrec.core.html import element, joined
from surgrec.core.wording import counted
from surgrec.evaluation.report.blocks import Absent, Block, Entry, Fold, Grid, Name, Number, Picture, Words
from surgrec.evaluation.report.known import Known
from surgrec.evaluation.report.numbers import number, together
from surgrec.evaluation.report.ribbons import Ribbon, colours_of, ribbons
from surgrec.evaluation.results import MAJORITY, Cell, ClassScore, TaskFacts

MAX_CONFUSIONS, MAX_RIBBONS = 4, 8
"""Of one task and protocol: ours first, then those with the highest estimate."""


def behind(known: Known, task: TaskFacts, cells: Mapping[str, Cell], title: str) -> list[Block]:
    """`cells`: by encoder."""
    return [
        *_per_class(known, task, cells, title),
        *_confusions(known, task, cells, title),
        *_timelines(known, task, cells, title),
    ]


def _first(known: Known, cells: Mapping[str, Cell]) -> list[str]:
    """Ours, then the others by their estimate."""

    def place(name: str) -> tuple[bool, float]:
        return known.encoders[name].kind != "ours", -(cells[name].scores[0].estimate if cells[name].scores else 0.0)

    return sorted((name for name in cells if name != MAJORITY), key=place)


def _per_class(known: Known, task: TaskFacts, cells: Mapping[str, Cell], title: str) -> list[Block]:
    shown = {name: {each.class_: each for each in cell.per_class} for name, cell in cells.items() if cell.per_class}
    if not shown:
        return []
    classes = dict.fromkeys([*task.classes, *(name for scores in shown.values() for name in scores)])
    rows = tuple((_class_name(name, shown), *(_f1(scores.get(name)) for scores in shown.values())) for name in classes)
    header: tuple[Entry, ...] = ("class", *(Name(known.title(name)) for name in shown))
    caption = f"F1 of each class, below it precision and recall. {title}. Support: test rows."
    return [Fold(f"Scores of each class, {title}", (Grid(caption, header, rows, is_wide=True),))]


def _class_name(name: str, shown: Mapping[str, Mapping[str, ClassScore]]) -> Name:
    supports = sorted({scores[name].support for scores in shown.values() if name in scores})
    return Name(
        name, f"support {', '.join(f'{support:,}' for support in supports)}" if supports else "not in the test rows"
    )


def _f1(score: ClassScore | None) -> Entry:
    if score is None:
        return Absent("none")
    precision, recall = together([score.precision]), together([score.recall])
    return Name(number(score.f1), f"P {precision[0]}, R {recall[0]}")


def _confusions(known: Known, task: TaskFacts, cells: Mapping[str, Cell], title: str) -> list[Block]:
    names = [name for name in _first(known, cells) if cells[name].confusion]
    grids = tuple(_confusion(known.title(name), task.classes, cells[name], title) for name in names[:MAX_CONFUSIONS])
    if not grids:
        return []
    told = f"Shown: {counted(len(grids), 'encoder')} of {len(names)}, ours first, then the highest estimates; all are in results.json."
    return [Fold(f"Confusion matrices, {title}", (Words(told, is_faint=True), *grids), is_in_markdown=False)]


def _confusion(encoder: str, classes: Sequence[str], cell: Cell, title: str) -> Grid:
    rows: list[tuple[Entry, ...]] = []
    for place, counts in enumerate(cell.confusion):
        total = max(1, sum(counts))
        entries = [
            Number(
                f"{count:,}",
                0.75 * count / total,
                f"{_name(classes, place)} taken for {_name(classes, other)}: {count:,} of {sum(counts):,}",
            )
            for other, count in enumerate(counts)
        ]
        rows.append((Name(f"{place + 1} {_name(classes, place)}"), *entries))
    header: tuple[Entry, ...] = (
        Name("true class", "columns: predicted"),
        *(str(place + 1) for place in range(len(cell.confusion))),
    )
    caption = f"{encoder}: {title}. Counts, summed over {counted(cell.num_seeds, 'seed')}; shaded by their share of their row."
    return Grid(caption, header, tuple(rows))


def _name(classes: Sequence[str], place: int) -> str:
    return classes[place] if place < len(classes) else f"class {place + 1}"


def _timelines(known: Known, task: TaskFacts, cells: Mapping[str, Cell], title: str) -> list[Block]:
    several: dict[str, list[Ribbon]] = {}
    for name in _first(known, cells):
        for timeline in cells[name].timelines:
            several.setdefault(timeline.video_id, []).append(Ribbon(known.title(name), timeline))
    if not several:
        return []
    drawings = joined(ribbons(found[:MAX_RIBBONS], task.classes) for found in several.values())
    colours = colours_of(task.classes)
    classes = legend([(name, colours[place]) for place, name in enumerate(task.classes)])
    return [Fold(f"Timelines, {title}", (Picture(element("div", classes, drawings)),), is_in_markdown=False)]
