"""From a list of videos to a filled store.

In: an extractor, a store, videos. Out: what became of each. It is its own file because it holds the policy of a long extraction: a
video that is there is not computed again, one that was begun is continued, one that cannot be opened does not stop the others, and
nothing of that is hidden.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial

import numpy as np
import numpy.typing as npt

from surgrec.core.console import Advance
from surgrec.core.errors import UserError
from surgrec.features.ahead import Ahead
from surgrec.features.batches import Batch, Unreadable, read_unit
from surgrec.features.extractor import Extractor, filled, part_of_windows
from surgrec.features.fetch import Fetched, fetch
from surgrec.features.origin import Origin
from surgrec.features.parts import Parts
from surgrec.features.store import FeatureStore
from surgrec.features.units import Item, Unit, make_units, part_of
from surgrec.features.videos import Video
from surgrec.features.windows import Windows

_BATCHES_AHEAD = 2


@dataclass
class Outcome:
    """Video ids: `added` now, `known` before, `too_short` and left out, `unreadable` with the reason, and in `damaged` those of
    `added` with windows that are not valid, and how many. `encoder_seconds` of `seconds` the encoder was at work."""

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    too_short: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    encoder_seconds: float = 0.0

    def merge(self, other: Outcome) -> None:
        """Add what another part of the work came to."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, mine | theirs if isinstance(mine, dict) else mine + theirs)


def origin_of(extractor: Extractor, model_sha256: str, dtype: str = "float32", model: str = "") -> Origin:
    """What all features of this extractor have in common; `model_sha256` is that of the encoder's weights, `model` its name for people."""
    return Origin(
        model_sha256=model_sha256,
        preprocessing=extractor.preprocess.to_dict(),
        layout=extractor.layout,
        feature_shape=extractor.feature_shape,
        stride_seconds=extractor.plan.stride_seconds,
        window_seconds=extractor.plan.window_seconds,
        dtype=dtype,
        model=model,
        precision=extractor.precision,
        layers=extractor.layers.names,
    )


@dataclass(frozen=True)
class Work:
    """What is to be done: `units` over `videos`, of which `known` are there and `too_short` left out; `num_windows` of the others."""

    videos: list[Video]
    units: list[Unit]
    num_windows: int
    known: frozenset[str]
    too_short: list[str]


def plan_work(
    extractor: Extractor,
    store: FeatureStore,
    videos: Sequence[Video],
    keep_short: bool = True,
    shard: tuple[int, int] = (0, 1),
) -> Work:
    """The part `shard` (its number, of how many) of an extraction. `keep_short`: also videos shorter than a window, their last frame
    repeated. What shares a batch follows from the whole list, whatever of it is in `store`."""
    chosen = sorted(videos, key=lambda video: video.video_id)
    too_short = [] if keep_short else [video for video in chosen if extractor.plan.is_short(video.duration_seconds)]
    left_out = {video.video_id for video in too_short}
    chosen = [video for video in chosen if video.video_id not in left_out]
    counts = [extractor.plan.count(video.duration_seconds) for video in chosen]
    units = part_of(make_units(counts, extractor.batch_size), *shard)
    there = store.video_ids()
    mine = [item for unit in units for item in unit.items]
    known = frozenset(chosen[item.video].video_id for item in mine) & there
    todo = [unit for unit in units if any(chosen[item.video].video_id not in known for item in unit.items)]
    num_windows = sum(item.num_windows for item in mine if chosen[item.video].video_id not in known)
    return Work(chosen, todo, num_windows, known, sorted(left_out) if shard[0] == 0 else [])


def run_work(extractor: Extractor, store: FeatureStore, work: Work, advance: Advance, num_readers: int = 1) -> Outcome:
    """Do it; `num_readers` units are decoded at once, each in a thread of its own. `advance` hears of every window."""
    outcome = Outcome(known=sorted(work.known), too_short=list(work.too_short))
    started = time.perf_counter()
    filling: dict[int, _Filling] = {}
    jobs: list[Callable[[], Iterator[Batch | Unreadable]]] = []
    for unit in work.units:
        num_done = []
        for item in unit.items:
            filling[item.video] = _Filling(extractor, store, work, item, advance, outcome)
            num_done.append(filling[item.video].num_done)
        jobs.append(
            partial(read_unit, unit, work.videos, num_done, extractor.reader, extractor.plan, extractor.batch_size)
        )
    pending: deque[tuple[Batch, Fetched | None]] = deque()

    def deliver() -> None:
        batch, fetched = pending.popleft()
        begun = time.perf_counter()
        features = None if fetched is None else fetched.wait()
        outcome.encoder_seconds += time.perf_counter() - begun
        _deliver(batch, filled(features, batch.is_valid, extractor.feature_shape), filling)

    try:
        with Ahead(jobs, num_readers, _BATCHES_AHEAD + num_readers) as results:
            for result in results:
                if isinstance(result, Unreadable):
                    filling[result.video].give_up(result.error.reason)
                    continue
                begun, clips = time.perf_counter(), result.on_device()
                pending.append((result, None if clips is None else fetch(extractor.features(clips))))
                outcome.encoder_seconds += time.perf_counter() - begun
                while len(pending) > 1 or (pending and (pending[0][1] is None or pending[0][1].is_here)):
                    deliver()
            while pending:
                deliver()
    finally:
        for each in filling.values():
            each.leave()
    outcome.seconds = time.perf_counter() - started
    return outcome


def _deliver(batch: Batch, features: npt.NDArray[np.float32], filling: dict[int, _Filling]) -> None:
    """Give each video of a batch its rows."""
    for video in dict.fromkeys(batch.videos.tolist()):
        rows = np.flatnonzero(batch.videos == video)
        filling[video].take(int(batch.windows[rows[0]]), batch.is_valid[rows], features[rows])


def _refuse_overflow(origin: Origin, video_id: str, features: npt.NDArray[np.float32]) -> None:
    """Raise `UserError` where features of valid windows are no numbers, or none that can be kept: NaN is for those that are not valid."""
    if not np.isfinite(features).all():
        raise UserError(
            f"features of {video_id} are not finite: too large for --precision {origin.precision}, or the weights are broken; "
            "give another --precision, and another --out"
        )
    if features.size and np.abs(features).max() > np.finfo(origin.dtype).max:
        raise UserError(
            f"features of {video_id} reach {np.abs(features).max():.3g}, which --dtype {origin.dtype} cannot hold; "
            "give --dtype float32, and another --out"
        )


class _Filling:
    """One video on its way into the store."""

    def __init__(
        self, extractor: Extractor, store: FeatureStore, work: Work, item: Item, advance: Advance, outcome: Outcome
    ) -> None:
        self._store, self._video, self._advance, self._outcome = store, work.videos[item.video], advance, outcome
        self._plan, self._num_windows = extractor.plan, item.num_windows
        self._windows: Windows | None = None
        self._parts: Parts | None = None
        self.num_done = item.num_windows
        if self._video.video_id not in work.known:
            self._parts = Parts(store.path, self._video.video_id)
            if self._parts.num_done > item.num_windows:  # of a file that was longer, or said so
                self._parts.remove()
                self._parts = Parts(store.path, self._video.video_id)
            self.num_done = self._parts.num_done
            advance(self.num_done)
            self._finish_if_whole()

    def take(self, first: int, is_valid: npt.NDArray[np.bool_], features: npt.NDArray[np.float32]) -> None:
        """The windows from `first` on; those that are there already are passed over."""
        if self._parts is None:
            return
        if self._windows is None:
            self._windows = self._plan.over(self._video.duration_seconds)
        num_known = max(0, self._parts.num_done - first)
        is_valid, features = is_valid[num_known:], features[num_known:]
        if len(is_valid) == 0:
            return
        _refuse_overflow(self._store.origin, self._video.video_id, features[is_valid])
        span = slice(first + num_known, first + num_known + len(is_valid))
        self._parts.add(part_of_windows(self._windows, span, is_valid, features))
        self._advance(len(is_valid), self._video.video_id)
        self._finish_if_whole()

    def give_up(self, reason: str) -> None:
        """It cannot be read; what was computed of it before stays for the day that it can."""
        if self._parts is not None:
            self._parts.save()
            self._outcome.unreadable[self._video.video_id] = reason
            self._advance(self._num_windows - self._parts.num_done)
            self._parts = None

    def leave(self) -> None:
        """Save what is there of a video that did not become whole."""
        if self._parts is not None:
            self._parts.save()

    def _finish_if_whole(self) -> None:
        parts = self._parts
        if parts is None or parts.num_done < self._num_windows:
            return
        num_invalid = 0
        with self._store.writer(self._video.video_id, self._num_windows) as writer:
            for block in parts:
                writer.append(block)
                num_invalid += int((~block.is_valid).sum())
        parts.remove()
        self._parts = self._windows = None
        self._outcome.added.append(self._video.video_id)
        if num_invalid:
            self._outcome.damaged[self._video.video_id] = num_invalid
