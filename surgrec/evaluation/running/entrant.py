"""Who takes part in a benchmark: encoders, views of them that see less, and answers that look at nothing.

In: how to load a model, or an answer. Out: `Entrant`s. It is its own file because the loop must treat all of them alike, and because a
model is loaded when its turn comes, not before: one that cannot be had is a gap in the table, not the end of the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from surgrec.corpus.scan import video_id
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
class Seen:
    """`files`: of those that an encoder was pretrained on, SHA-256 and `content_id`; None where not known. `is_whole`: they are all; else
    its pretraining began from weights that had seen other files, which nobody here knows.
    """

    files: frozenset[str] | None = None
    is_whole: bool = False

    def contamination(self, test_videos: frozenset[str] | None) -> str:
        """What of a test set was in the pretraining data, in a sentence. `test_videos`: SHA-256 of its files, None where they are none.

        Files are the same or not: a test video that was pretrained on as another copy, cut or encoded anew, is not found.
        """
        if self == NOTHING_SEEN:
            return "not pretrained"
        if self.files is None or test_videos is None:
            return UNKNOWN
        shared = sum(bool({sha256, content_id(sha256)} & self.files) for sha256 in test_videos)
        of = f"{len(test_videos)} test videos"
        if shared:
            return f"{shared} of {of} pretrained on"
        return f"none of {of} pretrained on, byte for byte" if self.is_whole else UNKNOWN


NOTHING_SEEN = Seen(frozenset(), True)


@dataclass(frozen=True)
class Entrant:
    """`load`: the model of a seed; None for an `answer` that looks at nothing. `is_drawn`: each seed has a model of its own, as random
    initialisation has. `view`: what of a clip it sees. `seen`: what it was pretrained on, asked for after its model was loaded, since a
    release from elsewhere is only then here.
    """

    name: str
    title: str
    kind: Kind
    load: Callable[[int], FrozenModel] | None = None
    answer: FrozenProtocol | None = None
    is_drawn: bool = False
    view: View = "all frames"
    seen: Callable[[], Seen] = Seen


def content_id(sha256: str) -> str:
    """What the ids of a manifest hold of a video's bytes: a training copy has the id of what it was made of."""
    return content_of(video_id("", sha256))


def content_of(video_id: str) -> str:
    """The part of a manifest's id that comes from the bytes."""
    return f"_{video_id.rpartition('_')[2]}"


def nothing_seen() -> Seen:
    """What was not pretrained."""
    return NOTHING_SEEN


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
    return Entrant(MAJORITY, "majority", "trivial", answer=Majority(), seen=nothing_seen)


def stratified_random() -> Entrant:
    """Classes drawn by their shares."""
    return Entrant(STRATIFIED, "stratified random", "trivial", answer=StratifiedRandom(), seen=nothing_seen)
