"""Who takes part in a benchmark: encoders, views of them that see less, and answers that look at nothing.

In: how to load a model, or an answer. Out: `Entrant`s. It is its own file because the loop must treat all of them alike, and because a
model is loaded when its turn comes, not before: one that cannot be had is a gap in the table, not the end of the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from surgrec.evaluation.clips import View
from surgrec.evaluation.protocols.held_out import FrozenProtocol
from surgrec.evaluation.protocols.trivial import Majority, StratifiedRandom
from surgrec.evaluation.results import MAJORITY, UNKNOWN
from surgrec.features.baseline import FrozenModel

Kind = Literal["ours", "foreign", "random", "trivial"]
STRATIFIED = "stratified_random"
VIEWS: dict[View, tuple[str, str]] = {
    "middle frame": ("middle_frame", "one middle frame"),
    "shuffled frames": ("shuffled_frames", "shuffled frames"),
}


@dataclass(frozen=True)
class Entrant:
    """`load`: the model of a seed; None for an `answer` that looks at nothing. `is_drawn`: each seed has a model of its own, as random
    initialisation has. `view`: what of a clip it sees. `seen`: ids of the videos that it was pretrained on, by content; None where that is
    not known.
    """

    name: str
    title: str
    kind: Kind
    load: Callable[[int], FrozenModel] | None = None
    answer: FrozenProtocol | None = None
    is_drawn: bool = False
    view: View = "all frames"
    seen: frozenset[str] | None = None

    def contamination(self, test_ids: frozenset[str]) -> str:
        """What of a test set was in the pretraining data, in a sentence."""
        if self.seen is None:
            return UNKNOWN
        if not self.seen:
            return "not pretrained"
        shared = len(self.seen & test_ids)
        of = f"{len(test_ids)} test videos"
        return f"{shared} of {of} pretrained on" if shared else f"none of {of} pretrained on, by content"


def viewed(entrant: Entrant, view: View) -> Entrant:
    """The same encoder, of which every clip shows less."""
    name, title = VIEWS[view]
    return Entrant(
        f"{entrant.name}_{name}",
        f"{entrant.title}, {title}",
        "trivial",
        entrant.load,
        is_drawn=entrant.is_drawn,
        view=view,
        seen=entrant.seen,
    )


def majority() -> Entrant:
    """Always the commonest class."""
    return Entrant(MAJORITY, "majority", "trivial", answer=Majority(), seen=frozenset())


def stratified_random() -> Entrant:
    """Classes drawn by their shares."""
    return Entrant(STRATIFIED, "stratified random", "trivial", answer=StratifiedRandom(), seen=frozenset())
