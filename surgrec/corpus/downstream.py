"""What a release must say of every downstream set that is known: was its footage in the training footage?

In: the sources that were trained on, and what is known of test material in their footage. Out: a line for each downstream set. It is its
own file because silence must not read as innocence: a set that nobody compared is listed as not compared, and what cards say of shared
recordings stands beside what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from surgrec.core.wording import counted
from surgrec.corpus.card import Card
from surgrec.corpus.contamination import plain_name
from surgrec.corpus.gate import Outcome, Standing

Status = Literal["found", "source of the training", "not wholly compared", "nothing found", "not compared", "unknown"]
_WORST_FIRST: tuple[Status, ...] = (
    "found", "source of the training", "not wholly compared", "unknown", "not compared", "nothing found",
)  # fmt: skip


@dataclass(frozen=True)
class Downstream:
    """A downstream set: the name of its card, or the label of a test set without cards; its `status`, and why."""

    name: str
    status: Status
    detail: str


def downstream_sets(
    sources: Sequence[str], standing: Standing | None, cards: Mapping[str, Card]
) -> tuple[Downstream, ...]:
    """Of each card that is part of a benchmark, of each other published set that was compared, and of each test set of anybody's.

    `sources`: names of what was trained on. `standing`: of the footage that was trained on; None where nobody knows which that was.
    """
    tests = () if standing is None else standing.tests
    compared = {plain_name(name) for test in tests for name in test.published}
    names = [name for name, card in sorted(cards.items()) if card.benchmarks or plain_name(name) in compared]
    num_videos = 0 if standing is None else standing.num_videos
    lines = [_of_card(name, cards, sources, tests, num_videos, standing is None) for name in names]
    own = [Downstream(test.label, *_of_test(test, num_videos)) for test in tests if not test.published]
    return (*lines, *own)


def _of_card(
    name: str,
    cards: Mapping[str, Card],
    sources: Sequence[str],
    tests: Sequence[Outcome],
    num_videos: int,
    is_unknown: bool,
) -> Downstream:
    said: list[tuple[Status, str]] = []
    if plain_name(name) in map(plain_name, sources):
        said.append(("source of the training", "it is one of the sources of the training data"))
    said += [_of_test(test, num_videos) for test in tests if name in test.published]
    if not said:
        said.append(
            ("unknown", "which footage was trained on was not recorded") if is_unknown else ("not compared", "")
        )
    said.sort(key=lambda one: _WORST_FIRST.index(one[0]))
    details = [detail for _, detail in said if detail] + _declared(name, cards, sources)
    return Downstream(name, said[0][0], "; ".join(details))


def _of_test(test: Outcome, num_videos: int) -> tuple[Status, str]:
    if test.num_found:
        return "found", f"{counted(test.num_found, 'video')} of the training footage with material of {test.label}"
    if test.num_open and not test.is_begun:
        return "not compared", f"its footage was not compared: {test.label}"
    if test.num_open:
        return (
            "not wholly compared",
            f"{test.num_open} of {counted(num_videos, 'video')} were not wholly compared with {test.label}",
        )
    return "nothing found", f"all of the training footage was compared with {test.label}"


def _declared(name: str, cards: Mapping[str, Card], sources: Sequence[str]) -> list[str]:
    """What cards of published sources that were trained on say of recordings that they share with the set, or its card of them."""
    ours = {plain_name(source) for source in sources} - {plain_name(name)}
    found = {
        (other, overlap.how)
        for other, card in cards.items()
        for overlap in card.overlaps
        if plain_name(other) in ours and plain_name(overlap.source) == plain_name(name)
    } | {(overlap.source, overlap.how) for overlap in cards[name].overlaps if plain_name(overlap.source) in ours}
    return [f"cards say that the source {other} and this set share recordings ({how})" for other, how in sorted(found)]
