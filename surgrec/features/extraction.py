"""From a list of videos to a filled store.

In: an extractor, a store, videos. Out: what became of each. It is its own file because it holds the policy of a long extraction: a
video that is there is not computed again, one that cannot be opened does not stop the others, and nothing of that is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from surgrec.core.console import progress
from surgrec.features.extractor import Extractor
from surgrec.features.origin import Origin
from surgrec.features.store import FeatureStore
from surgrec.features.videos import Video
from surgrec.video.errors import VideoError


@dataclass
class Outcome:
    """Video ids: `added` now, `known` before, `too_short` and left out, `unreadable` with the reason, and in `damaged` those of
    `added` with windows that are not valid, and how many."""

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    too_short: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)


def origin_of(extractor: Extractor, model_sha256: str, dtype: str = "float32") -> Origin:
    """What all features of this extractor have in common; `model_sha256` is that of the encoder's weights."""
    return Origin(
        model_sha256=model_sha256,
        preprocessing=extractor.preprocess.to_dict(),
        layout=extractor.layout,
        feature_shape=extractor.feature_shape,
        stride_seconds=extractor.plan.stride_seconds,
        window_seconds=extractor.plan.window_seconds,
        dtype=dtype,
    )


def extract_videos(
    extractor: Extractor, store: FeatureStore, videos: Sequence[Video], keep_short: bool = True
) -> Outcome:
    """Add to `store` what is not there yet of `videos`. `keep_short`: also videos shorter than a window, their last frame repeated."""
    outcome, there = Outcome(), store.video_ids()
    todo: list[Video] = []
    for video in videos:
        if video.video_id in there:
            outcome.known.append(video.video_id)
        elif not keep_short and extractor.plan.is_short(video.duration_seconds):
            outcome.too_short.append(video.video_id)
        else:
            todo.append(video)
    num_windows = [extractor.plan.count(video.duration_seconds) for video in todo]
    with progress("extracting windows", sum(num_windows)) as advance:
        for video, count in zip(todo, num_windows, strict=True):
            try:
                num_invalid = 0
                with store.writer(video.video_id, count) as writer:
                    for batch in extractor.extract(video.path, video.duration_seconds):
                        writer.append(batch)
                        num_invalid += int((~batch.is_valid).sum())
                        advance(len(batch), video.video_id)
            except VideoError as error:
                outcome.unreadable[video.video_id] = error.reason
                advance(count)
                continue
            outcome.added.append(video.video_id)
            if num_invalid:
                outcome.damaged[video.video_id] = num_invalid
    return outcome
