"""Everything that is shown of a video, found out in turn.

In: a loaded release, a video, what the user has beside it. Out: a `Look`. It is its own file because the command reads flags, the page
writes HTML, and neither should know in which order things are computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.labels import label_at, read_marks
from surgrec.features.frames import FrameStream
from surgrec.features.store import FeatureStore
from surgrec.features.videos import Video
from surgrec.hub.load import LoadedModel
from surgrec.looking.charts import Colouring, coloured_by_label, coloured_by_time
from surgrec.looking.components import principal
from surgrec.looking.embedding import Projection, embed
from surgrec.looking.found import Found, Look, Neighbours, Rebuilt
from surgrec.looking.moments import Pixels, Seen, look_at, plan_moments, shown
from surgrec.looking.neighbours import Neighbour, nearest
from surgrec.looking.reconstruction import mask_ratio, normalises_targets, reconstruct
from surgrec.looking.similarity import encode_tokens, num_components
from surgrec.models.decoder import Decoder
from surgrec.video.errors import VideoError

NUM_QUERIES, NUM_NEIGHBOURS = 4, 5


@dataclass(frozen=True)
class Labels:
    """Where labels are, and in which column; see `surgrec.evaluation.labels`."""

    path: Path
    column: str


@dataclass(frozen=True)
class Corpus:
    """Features of other videos, and where a manifest lists them, for their pictures."""

    store: FeatureStore
    manifest: Manifest | None


def study(
    model: LoadedModel,
    video: Video,
    *,
    num_moments: int,
    projection: Projection = "pca",
    labels: Labels | None = None,
    corpus: Corpus | None = None,
    decoder: Decoder | None = None,
    num_threads: int = 1,
) -> Look:
    """Raises `VideoError` where the video cannot be opened, `UserError` where labels or features do not fit it."""
    duration = video.duration_seconds
    video.refuse_other()
    marks = _marks(labels, video.video_id)
    plan = plan_moments(duration, model.preprocess, model.encoder.tubelet, num_moments)
    seen = look_at(model.encoder, model.preprocess, video.path, plan, num_threads=num_threads)
    flat = seen.tokens.reshape(-1, seen.tokens.shape[-1])
    components = principal(flat, num_components(*flat.shape))
    look = Look(
        video_id=video.video_id,
        duration_seconds=duration,
        model=model.config,
        sha256=model.sha256,
        seen=seen,
        components=components,
        codes=encode_tokens(seen.tokens, components),
        embedded=embed(seen.embeddings, projection),
        colouring=_colouring(marks, seen, duration),
    )
    if decoder is not None:
        look = replace(look, rebuilt=_rebuilt(model, decoder, seen))
    if corpus is not None:
        look = replace(look, neighbours=_neighbours(model, corpus, video.video_id, seen, labels))
    return look


def _marks(labels: Labels | None, video_id: str) -> list[tuple[float, str]] | None:
    if labels is None:
        return None
    marks = read_marks(labels.path, labels.column, video_id)
    if marks is None:
        raise UserError(
            f"--labels {labels.path} has no line for the video {video_id}; leave --labels out, or name the video so"
        )
    return marks


def _colouring(marks: list[tuple[float, str]] | None, seen: Seen, duration: float) -> Colouring:
    return (
        coloured_by_time(seen.seconds, duration) if marks is None else coloured_by_label(seen.seconds, duration, marks)
    )


def _rebuilt(model: LoadedModel, decoder: Decoder, seen: Seen) -> Rebuilt:
    ratio, is_normalised = mask_ratio(model.config), normalises_targets(model.config)
    numbers = sorted(seen.clips)
    clips, places = [seen.clips[number] for number in numbers], [int(seen.places[number]) for number in numbers]
    views = reconstruct(model.encoder, decoder, model.preprocess, clips, places, ratio, is_normalised)
    return Rebuilt(tuple(zip(numbers, views, strict=True)), ratio, is_normalised)


def _neighbours(model: LoadedModel, corpus: Corpus, video_id: str, seen: Seen, labels: Labels | None) -> Neighbours:
    chosen = np.unique(np.linspace(0, len(seen) - 1, NUM_QUERIES + 2).round().astype(int)[1:-1]).tolist()
    found = nearest(corpus.store, seen.pooled[chosen], NUM_NEIGHBOURS, without={video_id})
    if found.num_videos == 0:
        raise UserError(
            f"--features {corpus.store.path} hold no valid window of another video; extract more videos into it"
        )
    listed = _Listed(corpus.manifest, video_id, model, labels)
    rows = tuple(
        (number, tuple(map(listed.found, several))) for number, several in zip(chosen, found.rows, strict=True)
    )
    return Neighbours(rows, found.num_windows, found.num_videos, found.median)


class _Listed:
    """What a manifest and labels tell of neighbours."""

    def __init__(self, manifest: Manifest | None, video_id: str, model: LoadedModel, labels: Labels | None) -> None:
        self._manifest, self._model, self._labels = manifest, model, labels
        names = [] if manifest is None else manifest.video_ids.tolist()
        self._rows = {name: row for row, name in enumerate(names)}
        self._case = self._case_of(video_id)

    def found(self, neighbour: Neighbour) -> Found:
        """A neighbour with picture, label, and whether it is of the same case."""
        name = neighbour.video_id
        labels = self._labels
        marks = None if labels is None else read_marks(labels.path, labels.column, name, takes_unnamed=False)
        case = self._case_of(name)
        return Found(
            neighbour,
            self._picture(name, neighbour.middle_seconds),
            label_at(marks, neighbour.middle_seconds) if marks else "",
            case is not None and case == self._case,
        )

    def _case_of(self, name: str) -> tuple[str, str] | None:
        if self._manifest is None or name not in self._rows:
            return None
        row = self._rows[name]
        return str(self._manifest.column("source")[row]), str(self._manifest.column("group_id")[row])

    def _picture(self, name: str, seconds: float) -> Pixels | None:
        """None where the video is not listed or cannot be read: the page says so in its place."""
        if self._manifest is None or name not in self._rows:
            return None
        try:
            with FrameStream(self._manifest.path_of(self._rows[name])) as stream:
                (((frame,),)) = stream.blocks(np.array([seconds]))
        except VideoError:
            return None
        return None if frame is None else shown(frame, self._model.preprocess)
