"""What stands behind the numbers: splits and what was found in them, contamination, encoders, the machine, the cost.

In: what is known. Out: blocks. It is its own file because none of it is a score, and all of it decides what a score is worth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from surgrec.core.wording import lasting
from surgrec.evaluation.report.blocks import Block, Code, Entry, Grid, Heading, Name, Number, Points, Words
from surgrec.evaluation.report.known import KINDS, Known, worded
from surgrec.evaluation.results import UNKNOWN, EncoderFacts, SplitFacts, TaskFacts

_PARTS = ("train", "validation", "test")
SPLIT_HEADER = ("origin", *(f"{part} {what}" for what in ("rows", "groups") for part in _PARTS), "hash")


def splits(known: Known) -> list[Block]:
    """Every split with its hash and sizes, then what is to be known of it."""
    header: tuple[Entry, ...] = ("task", "split", *SPLIT_HEADER)
    rows = tuple(
        (Name(task.title), split.name, *split_row(split)) for task in known.results.tasks for split in task.splits
    )
    caption = "Splits. A group (patient, case, lesion) belongs to one part. Compare numbers only where their splits have one hash."
    found = tuple(("", f"{task.title}: {finding}") for task in known.results.tasks for finding in task.findings)
    told: Block = Points(found) if found else Words("None.")
    return [
        Heading(2, "Splits and their findings", "splits"),
        Grid(caption, header, rows, is_wide=True),
        Heading(3, "Findings"),
        told,
    ]


def split_row(split: SplitFacts) -> tuple[Entry, ...]:
    rows = [_count(split.num_rows, part) for part in _PARTS]
    groups = [_count(split.num_groups, part) for part in _PARTS]
    return (split.origin, *rows, *groups, Code(split.hash))


def _count(counts: Mapping[str, int], part: str) -> Number:
    return Number(f"{counts[part]:,}" if part in counts else "unknown")


def contamination(known: Known) -> list[Block]:
    """What of each test set was in each encoder's pretraining data."""
    rows = []
    for encoder in known.encoders.values():
        tasks_of: dict[str, list[str]] = defaultdict(list)
        for task in known.results.tasks:
            tasks_of[contamination_of(encoder, task)].append(task.title)
        for sentence, titles in tasks_of.items():
            of_all = len(titles) == len(known.results.tasks) and len(titles) > 1
            rows.append((Name(encoder.title), sentence, "all tasks" if of_all else ", ".join(titles)))
    caption = f'Test material in pretraining data. "{UNKNOWN}" is not "none": nobody could look.'
    return [
        Heading(2, "Contamination", "contamination"),
        Grid(caption, ("encoder", "what is known", "test sets of"), tuple(rows)),
    ]


def contamination_of(encoder: EncoderFacts, task: TaskFacts) -> str:
    if task.name in encoder.contamination:
        return encoder.contamination[task.name]
    return "not pretrained" if encoder.kind in ("random", "trivial") else UNKNOWN


def encoders(known: Known) -> list[Block]:
    """Each with its size, its own geometry of a clip, and its weights."""
    header: tuple[Entry, ...] = ("encoder", "kind", "parameters", "input", "weights")
    rows = tuple(
        (
            Name(one.title),
            KINDS.get(one.kind, one.kind),
            Number(f"{one.num_parameters:,}"),
            _listed(one.geometry),
            _listed(one.weights),
        )
        for one in known.encoders.values()
    )
    caption = "Encoders, each with the input that it was made for. Used and dropped: tensors of its weights."
    return [Heading(2, "Encoders", "encoders"), Grid(caption, header, rows)]


def environment(known: Known) -> list[Block]:
    rows = tuple((Name(key), value) for key, value in _flat(known.results.environment))
    return [
        Heading(2, "Environment", "environment"),
        Grid("Versions, hardware, seeds.", ("what", "value"), rows) if rows else Words("Not recorded."),
    ]


def cost(known: Known) -> list[Block]:
    """Fits and time by protocol and encoder."""
    sums: dict[tuple[str, str], list[float]] = {}
    for cell in known.results.cells:
        fits = sums.setdefault((cell.protocol, cell.encoder), [0, 0, 0.0])
        fits[0], fits[1], fits[2] = fits[0] + 1, fits[1] + cell.num_fits, fits[2] + cell.seconds
    rows = [
        (Name(known.title(encoder)), worded(protocol), *_costs(*sums[protocol, encoder]))
        for protocol in dict.fromkeys(cell.protocol for cell in known.results.cells)
        for encoder in known.encoders
        if (protocol, encoder) in sums
    ]
    total: tuple[Entry, ...] = (
        Name("all"),
        "",
        *_costs(*(sum(each[place] for each in sums.values()) for place in range(3))),
    )
    caption = "Numbers made, fits that they took (search of hyper-parameters included), and time. The search is the same for every encoder."
    header: tuple[Entry, ...] = ("encoder", "protocol", "numbers", "fits", "seconds", "")
    return [Heading(2, "Cost", "cost"), Grid(caption, header, tuple(rows), (total,))]


def _costs(cells: float, fits: float, seconds: float) -> tuple[Entry, ...]:
    return Number(f"{cells:,.0f}"), Number(f"{fits:,.0f}"), Number(f"{seconds:,.1f}"), lasting(seconds)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in _flat(values)) or "none"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value)) or "none"
        else:
            yield name, "none" if value is None or value == {} else str(value)
