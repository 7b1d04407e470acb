"""Faults planted into rendered videos, in time, in regions and at the border, and whether they are found; part of benchmarks/filters.py.

In: videos of a synthesised corpus. Out: counts of what was planted and found. Videos are spoiled frame by frame and encoded again, each
in a process of its own. It is its own file because here what is true is made, not read.
"""

from __future__ import annotations

import csv
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from filters_count import Interval, Results, Video, count_time, covered, of_reason

from surgrec.core.console import progress
from surgrec.corpus.content_box import ContentBox
from surgrec.corpus.filters.find import OF_TIME, find
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.thresholds import Thresholds
from surgrec.corpus.isolated import map_isolated
from surgrec.corpus.survey import Survey, survey_video
from surgrec.synthetic import blemishes
from surgrec.synthetic.plan import SOURCES
from surgrec.video.decode import open_video

Frames = npt.NDArray[np.uint8]

REASON = {"colour_bars": "low_information", "blue_screen": "low_information", "menu": "low_information"}
CORNERS = list(itertools.product((0, 1), (0, 1)))


# -- planting


@dataclass(frozen=True)
class Plant:
    """A video to spoil. `number` varies corner, size and strength; `other` is shown in the inset."""

    video: Video
    other: Video
    number: int


def read_all(video: Video, num_frames: int | None = None) -> tuple[Frames, float]:
    """All frames at a constant rate near the video's own, and that rate."""
    source = next(source for source in SOURCES if source.name == video.source)
    times = np.arange(0, video.duration_seconds - 0.5 / source.fps, 1 / source.fps)[:num_frames]
    with open_video(video.path) as reader:
        return reader.read(times).pixels, source.fps


def written(frames: Frames, fps: float, folder: Path) -> Path:
    path = folder / "planted.mp4"
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "superfast", "crf": "26", "g": "50", "threads": "1"}
        for pixels in frames:
            out.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24"))
            )
        out.mux(stream.encode(None))
    return path


def narrow_band(frames: Frames, start: int, stop: int) -> Frames:
    """Light of two narrow bands: what is red under white light is dark; green and blue light stay apart, so that hues differ a little."""
    result = frames.copy()
    # from R, G, B to R, G, B
    light = np.array([[0.05, 0.05, 0.05], [0.30, 0.70, 0.15], [0.05, 0.15, 0.60]], np.float32)
    result[start:stop] = np.clip(frames[start:stop].astype(np.float32) @ light, 0, 255)
    return result


def spoilt_in_time(
    plant: Plant, frames: Frames, fps: float
) -> Iterator[tuple[Frames, dict[str, list[Interval]], float]]:
    """Copies of the frames with faults, what is where, and the strength of the blur, a share of the short side."""
    height, width = frames.shape[1:3]
    total = len(frames)

    def at(share: float, seconds: float) -> tuple[int, int]:
        first = round(share * total)
        return first, min(total, first + round(seconds * fps))

    def interval(first: int, stop: int) -> list[Interval]:
        return [(first / fps, stop / fps)]

    long = 2.5 + 0.5 * (plant.number % 3)
    ice, card = at(0.12, long), at(0.65, 1.0 + 0.5 * (plant.number % 3))
    kinds = {"colour_bars": blemishes.colour_bars, "blue_screen": blemishes.blue_screen, "menu": blemishes.menu}
    kind = list(kinds)[plant.number % 3]
    result = blemishes.replaced(blemishes.frozen(frames, *ice), *card, kinds[kind](height, width))
    yield result, {"frozen": interval(*ice), kind: interval(*card)}, 0.0
    strength = (0.015, 0.025, 0.04)[plant.number % 3]
    soft = at(0.3, min(long, 0.4 * total / fps))
    yield blemishes.blurred(frames, *soft, strength * min(height, width)), {"blur": interval(*soft)}, strength
    if "narrow" not in plant.video.source:
        green = at(0.4, 3.0)
        yield narrow_band(frames, *green), {"narrow_band": interval(*green)}, 0.0


def plant_in_time(plant: Plant) -> list[tuple[dict[str, list[Interval]], float, Survey, float]]:
    frames, fps = read_all(plant.video)
    done = []
    for spoilt, true, strength in spoilt_in_time(plant, frames, fps):
        with tempfile.TemporaryDirectory() as folder:
            duration = len(spoilt) / fps
            done.append((true, strength, survey_video(written(spoilt, fps, Path(folder)), duration), duration))
    return done


def judge_planted_time(plants: list[Plant], workers: int, results: Results) -> None:
    with progress("planted in time", len(plants)) as advance:
        for index, done in map_isolated(plant_in_time, plants, workers):
            labels = own_events(plants[index].video)
            for true, strength, survey, duration in done:
                findings = find(survey, duration, Thresholds())
                times = survey.times_seconds
                ignored = covered(labels, times)
                for kind, intervals in true.items():
                    if kind == "narrow_band":
                        refused = covered([one for reason in OF_TIME for one in of_reason(findings, reason)], times)
                        results.refused[kind] += refused[covered(intervals, times) & ~ignored].tolist()
                        continue
                    count_time(
                        results.counts[kind], of_reason(findings, REASON.get(kind, kind)), intervals, times, ignored
                    )
                    if kind == "blur":
                        part = results.counts[f"blur, {100 * strength:g} % of the short side"]
                        count_time(part, of_reason(findings, kind), intervals, times, ignored)
            advance()


def own_events(video: Video) -> list[Interval]:
    """Black and out-of-body stretches that the video had before, a little widened."""
    with video.labels.open() as file:
        rows = list(csv.DictReader(file))
    times = [float(row["time_seconds"]) for row in rows if row["event"] in ("black", "out_of_body")]
    return [(min(times) - 0.5, max(times) + 0.5)] if times else []


# -- planted regions


def plant_regions(plant: Plant) -> list[tuple[str, ContentBox, list[Finding], Survey]]:
    frames, fps = read_all(plant.video)
    other, _ = read_all(plant.other, 60)
    corner, number = CORNERS[plant.number % 4], plant.number
    total, (height, width) = len(frames), frames.shape[1:3]
    share = (0.25, 0.3, 0.35)[number % 3]
    spoilt = {
        "text": blemishes.captioned(frames, 0, total, corner, 1 + number % 3, (0.05, 0.06, 0.08)[number % 3], number),
        "overlay": blemishes.logo(frames, 0, total, corner, (0.12, 0.15, 0.2)[number % 3], (1.0, 0.75)[number % 2]),
        "picture_in_picture": blemishes.inset(frames, 0, total, other, corner, share, (0, 2)[number // 2 % 2]),
    }
    done = []
    for kind, result in spoilt.items():
        changed = np.abs(result[0].astype(np.int16) - frames[0]).max(axis=-1) > 24
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        where = ContentBox(columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
        with tempfile.TemporaryDirectory() as folder:
            survey = survey_video(written(result, fps, Path(folder)), total / fps)
        done.append((kind, where, find(survey, total / fps, Thresholds()), survey))
    return done


def intersection(a: ContentBox, b: ContentBox) -> float:
    width, height = min(a.right, b.right) - max(a.left, b.left), min(a.bottom, b.bottom) - max(a.top, b.top)
    return max(0.0, width) * max(0.0, height)


def area(box: ContentBox) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def judge_regions(plants: list[Plant], workers: int, results: Results) -> None:
    """A planted region is found where finds of its kind cover 40 % of it; a find is false that has less than 25 % of itself in it."""
    with progress("planted regions", len(plants)) as advance:
        for _, done in map_isolated(plant_regions, plants, workers):
            for kind, where, findings, _ in done:
                count = results.counts[kind]
                finds = [one.region for one in findings if one.reason == kind and one.region is not None]
                inside = [box for box in finds if intersection(box, where) >= 0.25 * area(box)]
                if sum(intersection(box, where) for box in inside) >= 0.4 * area(where):
                    count.hits += 1
                else:
                    count.misses += 1
                count.false_alarms += len(finds) - len(inside)
                for reason in ("text", "overlay", "picture_in_picture"):
                    if reason != kind:
                        # Text in an inset is text, and a mark in it an overlay; the inset itself is counted under its own name.
                        others = [one for one in findings if one.reason == reason and one.region is not None]
                        results.counts[reason].false_alarms += sum(
                            not (
                                kind == "picture_in_picture"
                                and intersection(one.region, where) > 0.5 * area(one.region)
                            )
                            for one in others
                        )
            advance()


# -- content boxes


def look_at_box(plant: Plant) -> list[tuple[str, float, bool]]:
    """(kind, largest error of an edge in percent of the side, whether a circle was told)."""
    frames, fps = read_all(plant.video)
    source = next(source for source in SOURCES if source.name == plant.video.source)
    height, width = frames.shape[1:3]
    bars = {
        "bars above and below": (0.12, 0.0, 0.0), "bars left and right": (0.0, 0.15, 0.0), "bars all around": (0.1, 0.1, 0.0),
        "noisy bars all around": (0.1, 0.1, 5.0), "bars with a caption": (0.14, 0.0, 0.0),
    }  # fmt: skip
    done = []
    half = 0.97 * height / width / 2
    own = (0.5 - half, 0.015, 0.5 + half, 0.985) if source.vignette == "circle" else (0.0, 0.0, 1.0, 1.0)
    if source.vignette == "octagon":
        side = min(width / height * 0.97, 1.12) * height / width / 2
        own = (0.5 - side, 0.015, 0.5 + side, 0.985)
    for kind, (rows, columns, noise) in {"as rendered": (0.0, 0.0, 0.0), **bars}.items():
        bar = round(rows * height), round(columns * width)
        spoilt = blemishes.letterboxed(frames, *bar, noise)
        if "caption" in kind:
            spoilt = blemishes.captioned(spoilt, 0, len(spoilt), (0, 1), 1, 0.05, plant.number)
        total_height, total_width = height + 2 * bar[0], width + 2 * bar[1]
        true = np.array(
            [
                (bar[1] + own[0] * width) / total_width, (bar[0] + own[1] * height) / total_height,
                (bar[1] + own[2] * width) / total_width, (bar[0] + own[3] * height) / total_height,
            ]
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            survey = survey_video(written(spoilt, fps, Path(folder)), len(spoilt) / fps)
        box = np.array([survey.box.left, survey.box.top, survey.box.right, survey.box.bottom])
        done.append((f"{source.vignette}, {kind}", 100 * float(np.abs(box - true).max()), survey.circle is not None))
    return done


def judge_boxes(plants: list[Plant], workers: int, results: Results) -> None:
    errors: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    with progress("content boxes", len(plants)) as advance:
        for _, done in map_isolated(look_at_box, plants, workers):
            for kind, error, is_circle in done:
                errors[kind].append((error, is_circle))
            advance()
    for kind in sorted(errors):
        values = np.array([error for error, _ in errors[kind]])
        circles = sum(is_circle for _, is_circle in errors[kind])
        results.boxes.append(
            f"| {kind} | {len(values)} | {np.median(values):.1f} | {values.max():.1f} | {(values <= 3).mean():.2f} | {circles} |"
        )
