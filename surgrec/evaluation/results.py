"""What a benchmark found, as frozen records and as JSON.

In: finished cells (one task, split, encoder and protocol each) and what was made of all of them together. Out: `Results`, the one thing
that a report reads and that others may check. It is its own file because these records are a contract: the benchmark writes them, the
report and other people's programs read them, and no two of the three need the code of another.

Scores lie in 0 to 1 unless their metric says otherwise. Numbers are those that were measured; rounding is the report's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT = 1
MAJORITY = "majority"
"""The name of the encoder that always answers the commonest class."""
UNKNOWN = "unknown"
"""What `EncoderFacts.contamination` says where nobody looked."""


@dataclass(frozen=True)
class SplitFacts:
    """One split of a task. `origin`: "official", "seeded" or "surgrec". `num_rows` and `num_groups`: of "train", "validation", "test"."""

    name: str
    origin: str
    hash: str
    num_rows: Mapping[str, int]
    num_groups: Mapping[str, int]


@dataclass(frozen=True)
class TaskFacts:
    """`form`: "clips" or "dense". `classes`: names in the order of their indices. `findings`: sentences: of the auditor, on what makes
    intervals less sure, on what was left out. `sharing`: names of the tasks of this form that are tested on some of the same videos, or
    may be."""

    name: str
    title: str
    domain: str
    form: str
    classes: tuple[str, ...]
    splits: tuple[SplitFacts, ...]
    findings: tuple[str, ...] = ()
    sharing: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncoderFacts:
    """`kind`: "ours", "foreign", "random" or "trivial". `geometry`: frames, seconds, pixels of a clip. `weights`: id, used, dropped.
    `contamination`: for the name of a task, a sentence on what of its test set was in the pretraining data, or `UNKNOWN`."""

    name: str
    title: str
    kind: str
    num_parameters: int
    geometry: Mapping[str, Any]
    weights: Mapping[str, Any]
    contamination: Mapping[str, str]


@dataclass(frozen=True)
class Score:
    """`estimate` with the interval that holds the truth with probability about `level`, None where there are too few groups for one.
    `form`: how the interval was made. `seeds`: the score of each seed alone."""

    metric: str
    estimate: float
    low: float | None
    high: float | None
    level: float
    form: str
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class ClassScore:
    """Of one class: `support` test rows are of it. Its JSON key `class` is a word of Python."""

    class_: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Timeline:
    """A test video of a dense task: at each of `times` (seconds, ascending) the indices of its true and predicted class, -1 for none."""

    video_id: str
    times: tuple[float, ...]
    truth: tuple[int, ...]
    predicted: tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """One encoder on one split of a task by one protocol. The first of `scores` is the one that tables show. `confusion` (C, C): rows true,
    columns predicted, summed over seeds. `alarm`: why the number must not be believed, such as a constant prediction."""

    task: str
    split: str
    encoder: str
    protocol: str
    num_seeds: int
    chosen: Mapping[str, Any]
    num_fits: int
    seconds: float
    scores: tuple[Score, ...]
    per_class: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    timelines: tuple[Timeline, ...] = ()
    alarm: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Encoder `a` less encoder `b` on the same rows; `p_corrected` for all comparisons that `correction` was made over."""

    task: str
    split: str
    protocol: str
    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    correction: str = "holm"


@dataclass(frozen=True)
class Rank:
    """The mean rank over tasks (1 is best), its interval, and how probably it is the best of those compared."""

    protocol: str
    metric: str
    encoder: str
    mean_rank: float
    low: float
    high: float
    probability_best: float


@dataclass(frozen=True)
class Gap:
    """What failed and why; the results of others stay."""

    task: str
    encoder: str
    protocol: str
    reason: str


@dataclass(frozen=True)
class Results:
    """All of one benchmark. `date`: of its end, ISO 8601. `environment`: versions, hardware, seeds."""

    format: int
    name: str
    date: str
    environment: Mapping[str, Any]
    tasks: tuple[TaskFacts, ...]
    encoders: tuple[EncoderFacts, ...]
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...] = ()
    ranks: tuple[Rank, ...] = ()
    gaps: tuple[Gap, ...] = ()
