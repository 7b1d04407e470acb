"""The card of a downstream dataset: classes in English, what of the official archive is needed, how it is split, and who says so.

In: corpora/tasks/NAME.yaml. Out: typed `TaskCard`s. It is its own file because people write cards by hand, so each slip is answered, and
because the card is where a reader sees what is known of a dataset and what only `assumed`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import yaml

from surgrec.core.errors import UserError
from surgrec.corpus.card import CARDS, Card, card_of, shipped_cards
from surgrec.corpus.card_values import read_record
from surgrec.corpus.facts import UNKNOWN, CardError, Source, Text
from surgrec.evaluation.tasks.task import NO_LABEL

TASK_CARDS = CARDS / "tasks"
Form = Literal["clips", "phase", "step", "gesture"]


@dataclass(frozen=True)
class LabelClass:
    """`name` in English, as reports show it; `also`: how the dataset's files write it, besides `name` itself."""

    name: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """The classes of a form in the order of their indices. `unlabelled`: what files write where no class holds. Spellings that differ
    in capitals, spaces and punctuation alone are the same. `clips` has its own set only where it differs from the dense form's."""

    form: Form
    classes: tuple[LabelClass, ...]
    unlabelled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        spellings = [key for entry in self.classes for key in {_key(text) for text in (entry.name, *entry.also)}]
        spellings += {_key(text) for text in self.unlabelled}
        if twice := sorted({key for key in spellings if spellings.count(key) > 1}):
            raise CardError(f"labels of {self.form} give {twice[0]!r} to two classes")
        if len(self.classes) < 2:
            raise CardError(f"labels of {self.form} has {len(self.classes)} class; two or more are needed")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    @cached_property
    def indices(self) -> dict[str, int]:
        """Index by spelling, `NO_LABEL` of the unlabelled; look up with `key_of(text)`."""
        found = {_key(text): index for index, entry in enumerate(self.classes) for text in (entry.name, *entry.also)}
        return {**found, **{_key(text): NO_LABEL for text in self.unlabelled}}


@dataclass(frozen=True)
class Need:
    """What the adapter reads: a shell pattern below the dataset's folder (`*` crosses no folder), what it is, how many there are; `also`:
    where else it is read."""

    path: str
    what: str
    count: int | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitRule:
    """`rule` in words; `origin` of the splits that the adapter makes; `folds`: of a seeded cross-validation; `published`: where the
    official split is written."""

    rule: str
    origin: Literal["official", "seeded"]
    folds: int | None = None
    published: Text = UNKNOWN

    def __post_init__(self) -> None:
        if self.origin == "official" and self.published is UNKNOWN:
            raise CardError(
                "split.published is unknown, but split.origin is official; say where the split is published"
            )
        if self.folds is not None and (self.origin != "seeded" or self.folds < 3):
            raise CardError("split.folds is for a seeded cross-validation of three or more folds")


@dataclass(frozen=True)
class TaskCard:
    """`source`: the card in corpora/ that tells terms, domain and citation. `forms`: tasks that the adapter makes. `label_fps`: moments a
    second of a dense task. `assumed`: what no source tells and the adapter relies on. Raises `CardError` for what contradicts itself."""

    name: str
    title: str
    source: str
    forms: tuple[Form, ...]
    labels: tuple[LabelSet, ...]
    needs: tuple[Need, ...]
    layout: str
    split: SplitRule
    sources: tuple[Source, ...]
    label_fps: float = 1.0
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unlike := [entry.form for entry in self.labels if entry.form not in self.forms]:
            raise CardError(f"labels names the form {unlike[0]}, which forms does not")
        for form in self.forms:
            self.labels_of(form)

    def labels_of(self, form: Form) -> LabelSet:
        """The label set of a form; clips without one take that of the first dense form."""
        for entry in self.labels:
            if entry.form == form:
                return entry
        if form == "clips" and self.labels:
            return self.labels[0]
        raise CardError(f"labels has no classes for the form {form}")

    @property
    def source_card(self) -> Card:
        return card_of(self.source, shipped_cards())


def key_of(text: str) -> str:
    """What matters of a label's spelling: `CalotTriangleDissection`, `calot_triangle dissection` and `Calot triangle dissection` agree."""
    return _key(text)


def load_task_card(path: Path) -> TaskCard:
    """Read a card. Raises `CardError` for a missing file, wrong YAML, a misspelt key or what cannot be true."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CardError(f"the task card {path} cannot be read: {' '.join(str(error).split())}") from None
    try:
        card: TaskCard = read_record(TaskCard, content, "")
    except CardError as error:
        raise CardError(f"the task card {path}: {error}") from None
    return card


def task_card(name: str) -> TaskCard:
    """The shipped card of a dataset. Raises `UserError` that names the nearest where there is none."""
    cards = task_cards()
    if name in cards:
        return cards[name]
    near = get_close_matches(name.lower(), cards, n=3, cutoff=0.5)
    raise UserError(
        f"the benchmark has no dataset {name!r}; {f'did you mean {near[0]!r}?' if near else ', '.join(cards)}"
    )


def task_cards() -> dict[str, TaskCard]:
    """All shipped cards by name, in order."""
    return dict(_read_shipped())


@cache
def _read_shipped() -> dict[str, TaskCard]:
    cards = [load_task_card(path) for path in sorted(TASK_CARDS.glob("*.yaml"))]
    return {card.name: card for card in cards}


def _key(text: str) -> str:
    text = re.sub(r"^\s*-(?=\d+\s*$)", "minus ", text)  # -1 is not 1
    return re.sub(r"[^0-9a-z]", "", text.lower())
