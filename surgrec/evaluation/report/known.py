"""What a report asks `Results` again and again.

In: `Results`. Out: the same, found by name, in the order in which it is shown. It is its own file because every section must answer
alike: which encoders stand in which order, which number a table shows, where the majority's number is, and whether one that is
absent is explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from surgrec.core.errors import UserError
from surgrec.evaluation.report.blocks import Mark
from surgrec.evaluation.results import MAJORITY, Cell, EncoderFacts, Gap, Results, Score, TaskFacts

KINDS = {"ours": "ours", "foreign": "others'", "random": "untrained", "trivial": "trivial"}
EVERYTHING = ("", "*", "all")
"""What a gap names instead of one encoder or protocol."""
Place = tuple[str, str]
"""Of a column: task and split."""


class Known:
    """Raises `UserError` where the results name a task or an encoder that they do not describe."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.tasks = {task.name: task for task in results.tasks}
        self.encoders = {encoder.name: encoder for encoder in _in_order(results.encoders)}
        named = [(cell.task, cell.encoder) for cell in results.cells]
        named += [(one.task, name) for one in results.comparisons for name in (one.a, one.b)]
        for task, encoder in dict.fromkeys(named):
            self._refuse("task", task, self.tasks)
            self._refuse("encoder", encoder, self.encoders)
        for rank in results.ranks:
            self._refuse("encoder", rank.encoder, self.encoders)
        for cell in results.cells:
            _refuse_ragged(cell)
        self._cells = {_key(cell): cell for cell in results.cells}
        self.alarmed = [cell for cell in results.cells if cell.alarm]
        self.noted = [cell for cell in results.cells if cell.note]
        self._alarm_numbers = {_key(cell): number for number, cell in enumerate(self.alarmed, 1)}
        self._note_numbers = {_key(cell): number for number, cell in enumerate(self.noted, 1)}

    def _refuse(self, noun: str, name: str, known: dict[str, TaskFacts] | dict[str, EncoderFacts]) -> None:
        if name not in known:
            raise UserError(
                f"the results of {self.results.name} hold numbers of the {noun} {name!r}, which they do not describe; "
                f"add it to `{noun}s`, or run the benchmark again"
            )

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        """In the order of their first number; without those of baselines that look at nothing, whose numbers stand beside all."""
        every = tuple(dict.fromkeys(cell.protocol for cell in self.results.cells))
        return tuple(protocol for protocol in every if protocol not in self._featureless) or every

    @cached_property
    def _featureless(self) -> frozenset[str]:
        looking = {cell.protocol for cell in self.results.cells if self.encoders[cell.encoder].kind != "trivial"}
        return frozenset(cell.protocol for cell in self.results.cells) - looking

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Tasks and splits, in the order of the tasks."""
        with_numbers = {(cell.task, cell.split) for cell in self.results.cells}
        described = [(task.name, split.name) for task in self.results.tasks for split in task.splits]
        rest = [(cell.task, cell.split) for cell in self.results.cells]
        return tuple(place for place in dict.fromkeys([*described, *rest]) if place in with_numbers)

    def cell(self, place: Place, encoder: str, protocol: str) -> Cell | None:
        """By this protocol, else one of a baseline that looks at nothing, which is the same beside every protocol."""
        found = self._cells.get((*place, encoder, protocol))
        if found is None:
            others = (
                self._cells.get((*place, encoder, other))
                for other in sorted(self._featureless.difference(self.protocols))
            )
            found = next((cell for cell in others if cell is not None), None)
        return found

    def score(self, place: Place, encoder: str, protocol: str, metric: str) -> Score | None:
        cell = self.cell(place, encoder, protocol)
        return None if cell is None else next((score for score in cell.scores if score.metric == metric), None)

    def headline(self, place: Place, protocol: str) -> str | None:
        """The metric that a table shows: the first of the first cell."""
        cells = (self._cells.get((*place, encoder, protocol)) for encoder in self.encoders)
        return next((cell.scores[0].metric for cell in cells if cell is not None and cell.scores), None)

    def tables(self) -> list[tuple[str, str, tuple[Place, ...]]]:
        """(protocol, metric, columns) of each table."""
        by_table: dict[tuple[str, str], list[Place]] = {}
        for protocol in self.protocols:
            for place in self.places:
                if (metric := self.headline(place, protocol)) is not None:
                    by_table.setdefault((protocol, metric), []).append(place)
        return [(protocol, metric, tuple(places)) for (protocol, metric), places in by_table.items()]

    def rows(self, places: Sequence[Place], protocol: str) -> tuple[str, ...]:
        """Encoders with a number or an explained gap in one of the columns, without the majority."""
        return tuple(
            name
            for name in self.encoders
            if name != MAJORITY
            and any(self.cell(place, name, protocol) or self.gap(place[0], name, protocol, True) for place in places)
        )

    def gap(self, task: str, encoder: str, protocol: str, is_own: bool = False) -> tuple[int, Gap] | None:
        """The first gap that explains an absent number, and its number on the page. `is_own`: only one that names the encoder."""
        named = (encoder,) if is_own else (encoder, *EVERYTHING)
        protocols = (protocol, *EVERYTHING)
        for number, gap in enumerate(self.results.gaps, 1):
            is_by_it = gap.protocol in protocols or gap.encoder in self._blind
            if gap.task in (task, *EVERYTHING) and gap.encoder in named and is_by_it:
                return number, gap
        return None

    @cached_property
    def _blind(self) -> frozenset[str]:
        """Baselines that look at nothing: trivial encoders without a number by a protocol of the tables."""
        looking = {cell.encoder for cell in self.results.cells if cell.protocol in self.protocols}
        return frozenset(name for name, encoder in self.encoders.items() if encoder.kind == "trivial") - looking

    def marks(self, cell: Cell) -> tuple[Mark, ...]:
        """That lead to what is to be known of a number."""
        alarm, note = self._alarm_numbers.get(_key(cell)), self._note_numbers.get(_key(cell))
        marks = [] if alarm is None else [Mark(f"alarm {alarm}", f"alarm-{alarm}", "error")]
        return (*marks, *([] if note is None else [Mark(f"note {note}", f"note-{note}")]))

    def gap_text(self, gap: Gap) -> str:
        """Who is missing, by which protocol, and why."""
        encoder = "all encoders" if gap.encoder in EVERYTHING else self.title(gap.encoder)
        protocol = "all protocols" if gap.protocol in EVERYTHING else worded(gap.protocol)
        return f"{encoder}, {protocol}: {gap.reason}"

    def title(self, encoder: str) -> str:
        return self.encoders[encoder].title if encoder in self.encoders else encoder

    @cached_property
    def apart(self) -> dict[str, str]:
        """Of each task, the first of those that it shares test videos with, directly or through others; itself where there is none."""
        first = {name: name for name in self.tasks}
        for task in self.results.tasks:
            for other in task.sharing:
                if other in first and first[other] != first[task.name]:
                    old, new = first[other], first[task.name]
                    first = {name: new if at == old else at for name, at in first.items()}
        return first

    def task_title(self, place: Place) -> str:
        """With the split's name where the task has several."""
        task = self.tasks[place[0]]
        several = len({split for name, split in self.places if name == place[0]}) > 1
        return f"{task.title}, {place[1]}" if several else task.title

    def task_anchor(self, task: str) -> str:
        return f"task-{list(self.tasks).index(task) + 1}"


def worded(name: str) -> str:
    """A metric or protocol as words: `macro_f1` is 'macro F1'."""
    words = name.replace("_", " ")
    for short, long in (("f1", "F1"), ("auroc", "AUROC"), ("map", "mAP"), ("knn", "k-NN")):
        words = " ".join(long if word == short else word for word in words.split(" "))
    return words


def _key(cell: Cell) -> tuple[str, str, str, str]:
    return cell.task, cell.split, cell.encoder, cell.protocol


def _refuse_ragged(cell: Cell) -> None:
    where = f"the number of {cell.encoder!r} on {cell.task!r} ({cell.protocol})"
    if any(len(row) != len(cell.confusion) for row in cell.confusion):
        raise UserError(f"{where} has a confusion matrix that is not square; run that cell again")
    if any(not len(one.times) == len(one.truth) == len(one.predicted) for one in cell.timelines):
        raise UserError(f"{where} has a timeline with more times than labels, or fewer; run that cell again")


def _in_order(encoders: Sequence[EncoderFacts]) -> list[EncoderFacts]:
    kinds = list(KINDS)
    return sorted(encoders, key=lambda encoder: kinds.index(encoder.kind) if encoder.kind in kinds else len(kinds))
