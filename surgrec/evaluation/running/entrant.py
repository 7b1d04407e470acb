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
    initialisation has. `view`: what of a clip it sees. `seen`: SHA-256 of the files that it was pretrained on; None where not known.
    """

    name: str
    title: str
    kind: Kind
    load: Callable[[int], FrozenModel] | None = None
    answer: FrozenProtocol | None = None
    is_drawn: bool = False
    view: View = "all frames"
    seen: frozenset[str] | None = None

    def contamination(self, test_videos: frozenset[str] | None) -> str:
        """What of a test set was in the pretraining data, in a sentence. `test_videos`: SHA-256 of its files, None where they are none.

        Files are the same or not: a test video that was pretrained on as another copy, cut or encoded anew, is not found.
        """
        if self.seen is not None and not self.seen:
            return "not pretrained"
        if self.seen is None or test_videos is None:
            return UNKNOWN
        shared = len(self.seen & test_videos)
        of = f"{len(test_videos)} test videos"
        return f"{shared} of {of} pretrained on" if shared else f"none of {of} pretrained on, byte for byte"


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
