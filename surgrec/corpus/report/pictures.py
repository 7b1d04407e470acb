"""Which moments the report shows, and their pictures.

In: videos with their findings. Out: JPEGs, decoded in worker processes with limits, since files are not trusted. It is its own file because
it is the only part of the report that opens a video, and because pictures are what must be shown with care: regions that were found to be
text, which may be a name, are painted over, and screens and rooms are shown in blocks too large to read a name or know a face.

Moments are drawn by a hash of video and time, so that the same corpus gives the same page and nobody chose them by their looks; every
source has its turn before one has a second.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from surgrec.corpus.filters.find import OF_REGIONS, OF_TIME
from surgrec.corpus.isolated import Failed, Limits, map_isolated
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.report.composition import area
from surgrec.corpus.report.known import Found, Video
from surgrec.corpus.survey import survey_limits
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError

PER_REASON, KEPT, BOXES = 6, 24, 6
KEPT_CAPTION, BOX_CAPTION = "kept", "content box"
_SHORT_SIDE_PIXELS = 160
_QUALITY = 78
_COARSE = ("low_information", "out_of_body")  # menus name patients, rooms show people
_BLOCKS = 20  # along the short side of such a picture
_COVER_MARGIN = 0.01  # of the picture: letters have soft edges
_WORTH_A_BOX = 0.98  # of the picture: a box that keeps more looks like none
_MARK, _COVER = (255, 200, 0), (96, 96, 96)

Region = tuple[float, float, float, float]
Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True)
class Moment:
    """A picture to take: `marked` is drawn around, `covered` painted over; regions as shares of the picture. `is_coarse`: show it in large
    blocks. `kind`: the reason, or one of the captions of this module."""

    kind: str
    video: Video
    seconds: float
    span: tuple[float, float]
    score: float | None = None
    marked: Region | None = None
    covered: tuple[Region, ...] = ()
    is_coarse: bool = False


@dataclass(frozen=True)
class Still:
    """A moment with its picture, or the reason of `surgrec.video.errors.REASONS` why there is none."""

    moment: Moment
    jpeg: bytes | None
    failure: str = ""


def choose_moments(videos: Sequence[Video]) -> list[Moment]:
    """At most `PER_REASON` of each reason, `KEPT` of what is usable, `BOXES` with their content box."""
    pairs: dict[str, list[tuple[Video, Found]]] = defaultdict(list)
    for video in videos:
        for found in video.findings:
            pairs[found.reason].append((video, found))
    chosen: list[Moment] = []
    for reason in (*OF_TIME, *OF_REGIONS):
        taken = _in_turn(pairs[reason], lambda pair: pair[0], lambda pair: f"{pair[1].start_seconds}", PER_REASON)
        chosen += [_of_finding(*pair) for pair in taken]
    usable = [video for video in videos if video.account.usable > 0]
    chosen += [_of_usable(video) for video in _in_turn(usable, _itself, lambda video: KEPT_CAPTION, KEPT)]
    boxed = [video for video in usable if area(video) < _WORTH_A_BOX]
    return chosen + [_of_box(video) for video in _in_turn(boxed, _itself, lambda video: BOX_CAPTION, BOXES)]


def _itself(video: Video) -> Video:
    return video


def _in_turn(items, video_of, salt_of, count):  # type: ignore[no-untyped-def]
    """`count` of the items: one a source in turn, of a source one a video in turn, in the order of a hash."""
    rank = {id(item): _hashed(video_of(item).video_id, salt_of(item)) for item in items}
    by_video: dict[tuple[str, str], int] = defaultdict(int)
    by_source: dict[str, int] = defaultdict(int)
    rounds = []
    for item in sorted(items, key=lambda item: rank[id(item)]):
        video = video_of(item)
        rounds.append((by_video[video.source, video.video_id], item))
        by_video[video.source, video.video_id] += 1
    turns = []
    for _, item in sorted(rounds, key=lambda entry: (entry[0], rank[id(entry[1])])):
        turns.append((by_source[video_of(item).source], rank[id(item)], item))
        by_source[video_of(item).source] += 1
    return [item for _, _, item in sorted(turns, key=lambda turn: turn[:2])[:count]]


def _hashed(*words: str) -> str:
    return hashlib.blake2b("\0".join(words).encode(), digest_size=8).hexdigest()


def _of_finding(video: Video, found: Found) -> Moment:
    """Its middle. Of a region, which may last for all of a video, a moment that is usable too, where there is one."""
    span = found.start_seconds, found.end_seconds
    if found.reason in OF_TIME:
        return _moment(found.reason, video, sum(span) / 2, span, found.score)
    both = [(max(start, span[0]), min(end, span[1])) for start, end in video.usable]
    longest = max(both, key=lambda part: part[1] - part[0], default=span)
    seconds = sum(longest if longest[1] > longest[0] else span) / 2
    return _moment(found.reason, video, seconds, span, found.score, found.region)


def _of_usable(video: Video) -> Moment:
    """Somewhere in the usable time, by the hash."""
    part = int(_hashed(video.video_id, "moment"), 16) / 2**64
    left = part * sum(end - start for start, end in video.usable)
    for start, end in video.usable:
        if left <= end - start:
            return _moment(KEPT_CAPTION, video, start + left, (start, end))
        left -= end - start
    start, end = video.usable[-1]
    return _moment(KEPT_CAPTION, video, (start + end) / 2, (start, end))


def _of_box(video: Video) -> Moment:
    left, top, right, bottom = video.content_box or (0, 0, video.width, video.height)
    box = left / video.width, top / video.height, right / video.width, bottom / video.height
    kept = _of_usable(video)
    return _moment(BOX_CAPTION, video, kept.seconds, kept.span, None, box)


def _moment(
    kind: str,
    video: Video,
    seconds: float,
    span: tuple[float, float],
    score: float | None = None,
    marked: Region | None = None,
) -> Moment:
    """With what is found to be text anywhere in the video covered: a caption may stay longer than its finding.

    Regions are of the file that was filtered. Where they lie in a training copy, which was cut since and so has no content box, is not
    known: nothing is marked there, and all of a picture with text is coarse.
    """
    covered = {found.region for found in video.findings if found.reason == "text" and found.region is not None}
    is_cut = video.is_copy and video.content_box is None
    is_coarse = (is_cut and bool(covered)) or any(
        found.reason in _COARSE and found.start_seconds <= seconds <= found.end_seconds for found in video.findings
    )
    places = (None, ()) if is_cut else (marked, tuple(sorted(covered)))
    return Moment(kind, video, min(seconds, video.seconds), span, score, *places, is_coarse)


# -- taking them


@dataclass(frozen=True)
class _Job:
    path: Path
    duration_seconds: float
    moment: Moment


def take(moments: Sequence[Moment], manifest: Manifest, num_workers: int, progress: Progress) -> Iterator[Still]:
    """The pictures in the order of `moments`; with 0 workers in this process, without the protection."""
    jobs = [_Job(manifest.path_of(moment.video.row), moment.video.seconds, moment) for moment in moments]
    taken: dict[int, bytes | VideoError] = {}
    with progress("taking stills", len(jobs)) as advance:
        for index, result in map_isolated(_take, jobs, num_workers, _limits_of):
            taken[index] = result.as_error() if isinstance(result, Failed) else result
            advance()
    for index, moment in enumerate(moments):
        result = taken[index]
        yield Still(moment, None, result.reason) if isinstance(result, VideoError) else Still(moment, result)


def _limits_of(job: _Job) -> Limits:
    """What a survey of the whole video may take: a file without an index is read up to the moment."""
    limits = survey_limits(job.duration_seconds)
    return Limits(limits.seconds, limits.memory_bytes, file_bytes=0)


def _take(job: _Job) -> bytes | VideoError:
    """One picture as JPEG; runs in a worker process."""
    moment = job.moment
    try:
        with open_video(job.path, short_side_pixels=_SHORT_SIDE_PIXELS) as reader:
            pixels = reader.read([moment.seconds]).pixels[0]
    except VideoError as error:
        return error
    picture = _in_blocks(Image.fromarray(pixels)) if moment.is_coarse else Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for region in moment.covered:
        draw.rectangle(_pixels(region, picture.size, _COVER_MARGIN), fill=_COVER)
    if moment.marked is not None:
        draw.rectangle(_pixels(moment.marked, picture.size, 0.0), outline=_MARK, width=2)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def _in_blocks(picture: Image.Image) -> Image.Image:
    block = min(picture.size) / _BLOCKS
    few = picture.resize([max(1, round(side / block)) for side in picture.size], Image.Resampling.BOX)
    return few.resize(picture.size, Image.Resampling.NEAREST)


def _pixels(region: Region, size: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    width, height = size
    left, top, right, bottom = region
    first = max(0, round((left - margin) * width)), max(0, round((top - margin) * height))
    last = min(width, round((right + margin) * width)) - 1, min(height, round((bottom + margin) * height)) - 1
    return *first, max(first[0], last[0]), max(first[1], last[1])
