"""How good are the filters? Precision and recall of each, on rendered videos whose labels are known and with planted faults.

    python -m surgrec.synthesize --out held_out --scale small --seed 2
    python benchmarks/filters.py --corpus held_out --out benchmarks/results

In: a labelled corpus of another seed than the thresholds were chosen on (0). Out: a table, printed and written with date and hardware.

* `black`, `out_of_body`: the corpus's own events. `smoke`, `bleeding`, `normal`: how much of their time is refused, which should be none.
* `frozen`, `colour_bars`, `blue_screen`, `menu`, `blur`, `narrow_band`: planted into some of its videos for a stretch of time.
  narrow_band is light as in narrow-band imaging, which must stay usable.
* `text`, `overlay`, `picture_in_picture`: planted for the whole video; a find counts where it covers a good part of what was planted.
* content boxes: the rendered circles, and planted bars.

Precision and recall are of samples, four a second. `overlap` is that of found and true intervals: their intersection over their union,
all of a kind summed up. Planted videos are encoded again with x264, crf 26, so that the filters see what recorders write.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from surgrec.core.atomic import write_text
from surgrec.core.console import progress, run_command
from surgrec.corpus import survey as survey_module
from surgrec.corpus.content_box import ContentBox
from surgrec.corpus.filters.find import OF_TIME, find
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.thresholds import Thresholds
from surgrec.corpus.isolated import map_isolated
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.measures import Measurer
from surgrec.corpus.survey import Survey, survey_video
from surgrec.synthetic import blemishes
from surgrec.synthetic.plan import SOURCES
from surgrec.video.decode import open_video

Frames = npt.NDArray[np.uint8]
Interval = tuple[float, float]

REASON = {"colour_bars": "low_information", "blue_screen": "low_information", "menu": "low_information"}
GOALS = {
    "black": 0.95, "frozen": 0.95, "out_of_body": 0.95, "colour_bars": 0.95, "blue_screen": 0.95, "menu": 0.95,
    "blur": 0.9, "text": 0.9, "overlay": 0.9, "picture_in_picture": 0.9,
}  # fmt: skip
CORNERS = list(itertools.product((0, 1), (0, 1)))


@dataclass
class Count:
    """Samples (or videos, for regions) and seconds."""

    hits: int = 0
    false_alarms: int = 0
    misses: int = 0
    both_seconds: float = 0.0
    either_seconds: float = 0.0

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.misses)


@dataclass
class Results:
    counts: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    refused: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # kind: 0 or 1 per sample
    boxes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# -- time


def covered(intervals: list[Interval], times: npt.NDArray) -> npt.NDArray[np.bool_]:
    return np.any(
        [(times >= start) & (times < end) for start, end in intervals] or [np.zeros(len(times), bool)], axis=0
    )


def of_reason(findings: list[Finding], reason: str) -> list[Interval]:
    return [(one.start_seconds, one.end_seconds) for one in findings if one.reason == reason]


def count_time(
    count: Count, found: list[Interval], true: list[Interval], times: npt.NDArray, ignored: npt.NDArray
) -> None:
    """Add one video. `ignored` samples are truly something else that may be called by this name too."""
    is_found, is_true = covered(found, times) & ~ignored, covered(true, times) & ~ignored
    count.hits += int((is_found & is_true).sum())
    count.false_alarms += int((is_found & ~is_true).sum())
    count.misses += int((~is_found & is_true).sum())
    fine = np.arange(0, times[-1] + 0.25, 0.01)
    fine_found, fine_true = covered(found, fine), covered(true, fine)
    count.both_seconds += 0.01 * float((fine_found & fine_true).sum())
    count.either_seconds += 0.01 * float((fine_found | fine_true).sum())


# -- the corpus's own events


@dataclass(frozen=True)
class Video:
    video_id: str
    source: str
    path: Path
    duration_seconds: float
    labels: Path


def videos_of(corpus: Path) -> list[Video]:
    manifest = Manifest.read([corpus / "manifest.parquet"])
    durations = manifest.column("duration_seconds")
    return [
        Video(
            str(name),
            str(manifest.sources[row]),
            manifest.path_of(row),
            float(durations[row]),
            corpus / "labels" / f"{name}.csv",
        )
        for row, name in enumerate(manifest.video_ids)
    ]


def look(video: Video) -> tuple[Survey, dict[str, float]]:
    """A survey, and the CPU seconds of its parts."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable) -> Callable:
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.process_time() - start

        return call

    kept = survey_module._readable, survey_module._stretches, survey_module.thumbnails, Measurer.__call__
    survey_module._readable = timed("decode", kept[0])
    survey_module._stretches = timed("decode, spread", kept[1])
    survey_module.thumbnails = timed("thumbnails", kept[2])
    Measurer.__call__ = timed("measures", kept[3])  # type: ignore[method-assign]
    try:
        start = time.process_time()
        survey = survey_video(video.path, video.duration_seconds)
        spent["all"] = time.process_time() - start
    finally:
        survey_module._readable, survey_module._stretches, survey_module.thumbnails, Measurer.__call__ = kept  # type: ignore[method-assign]
    start = time.process_time()
    find(survey, video.duration_seconds, Thresholds())
    spent["filters"] = time.process_time() - start
    return survey, dict(spent)


def judge_events(videos: list[Video], workers: int, results: Results) -> None:
    spent: dict[str, float] = defaultdict(float)
    num_samples = 0
    with progress("corpus", len(videos)) as advance:
        for index, (survey, seconds) in map_isolated(look, videos, workers):
            video = videos[index]
            num_samples += len(survey)
            for name, value in seconds.items():
                spent[name] += value
            judge_labels(video, survey, results)
            advance()
    parts = ", ".join(f"{name} {1000 * value / num_samples:.2f}" for name, value in spent.items())
    results.notes.append(f"CPU milliseconds a sample, mean of {num_samples} samples of the corpus: {parts}.")


def judge_labels(video: Video, survey: Survey, results: Results) -> None:
    findings = find(survey, video.duration_seconds, Thresholds())
    with video.labels.open() as file:
        rows = list(csv.DictReader(file))
    starts = np.array([float(row["time_seconds"]) for row in rows])
    kinds = np.array([row["event"] for row in rows])
    ends = np.append(starts[1:], video.duration_seconds)
    events = kinds[np.maximum(np.searchsorted(starts, survey.times_seconds + 1e-4, side="right") - 1, 0)]
    for kind in ("black", "out_of_body"):
        true = [(float(a), float(b)) for a, b, k in zip(starts, ends, kinds, strict=True) if k == kind]
        count_time(
            results.counts[kind], of_reason(findings, kind), true, survey.times_seconds, np.zeros(len(survey), bool)
        )
    refused = covered([one for reason in OF_TIME for one in of_reason(findings, reason)], survey.times_seconds)
    for kind in ("normal", "smoke", "bleeding"):
        results.refused[kind] += refused[events == kind].tolist()
    for reason in ("frozen", "low_information", "blur"):  # nothing of the kind is in the corpus
        false = covered(of_reason(findings, reason), survey.times_seconds) & (events != "out_of_body")
        results.refused[f"{reason}, where there is none"] += false.tolist()
    for reason in ("text", "overlay", "picture_in_picture"):
        false_finds = sum(one.reason == reason for one in findings)
        results.counts[f"{reason}, untouched videos"].false_alarms += false_finds


# -- planted faults


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


# -- report


def main() -> int:
    options = _parser().parse_args()
    videos = videos_of(options.corpus)
    results = Results()
    judge_events(videos, options.workers, results)
    plants = _plants(videos, options.per_source, options.shortest)
    judge_planted_time(plants, options.workers, results)
    judge_regions(plants, options.workers, results)
    judge_boxes(plants[:: options.box_step], options.workers, results)
    text = _report(options, videos, plants, results)
    print(text)
    path = options.out / f"filters_{datetime.date.today().isoformat()}.md"
    write_text(path, text)
    print(f"wrote {path}")
    return 0


def _plants(videos: list[Video], per_source: int, shortest: float) -> list[Plant]:
    """The first videos of every source, long enough for what is planted."""
    chosen: dict[str, list[Video]] = defaultdict(list)
    for video in videos:
        if video.duration_seconds >= shortest and len(chosen[video.source]) < per_source:
            chosen[video.source].append(video)
    flat = [video for source in chosen.values() for video in source]
    return [Plant(video, flat[(number + len(flat) // 2) % len(flat)], number) for number, video in enumerate(flat)]


def _report(options: argparse.Namespace, videos: list[Video], plants: list[Plant], results: Results) -> str:
    lines = [
        "# Filters on the synthesised corpus",
        "",
        f"{len(videos)} videos, {sum(video.duration_seconds for video in videos) / 60:.0f} minutes; faults planted in {len(plants)} of "
        f"them. {datetime.date.today().isoformat()}, {os.cpu_count()} cores of {platform.machine()}.",
        "",
        "| kind | samples or videos | precision | recall | overlap | goal | reached |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, count in results.counts.items():
        if kind.endswith("untouched videos"):
            continue
        goal = GOALS.get(kind)
        overlap = f"{count.both_seconds / count.either_seconds:.3f}" if count.either_seconds else ""
        reached = "" if goal is None else "yes" if min(count.precision, count.recall) >= goal else "no"
        lines.append(
            f"| {kind} | {count.hits + count.misses} | {count.precision:.3f} | {count.recall:.3f} | {overlap} | {goal or ''} | {reached} |"
        )
    lines += ["", "| must stay usable | samples | refused |", "|---|---|---|"]
    lines += [f"| {kind} | {len(flags)} | {np.mean(flags):.2%} |" for kind, flags in results.refused.items() if flags]
    false = [
        f"{kind.split(',')[0]} {count.false_alarms}" for kind, count in results.counts.items() if "untouched" in kind
    ]
    lines += ["", f"Regions found in the {len(videos)} untouched videos, all of them false: {', '.join(false)}.", ""]
    lines += [
        "| content box | videos | error, median | largest | within 3 % | circles told |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        *results.boxes,
        "",
        "Errors are of the worst edge, in percent of the picture's side.",
        "",
        *results.notes,
        "",
    ]
    lines.append(f"`python benchmarks/filters.py --corpus {options.corpus.name} --per-source {options.per_source}`")
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Precision and recall of every filter on a synthesised corpus.")
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="written by `surgrec synthesize`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument(
        "--per-source", type=int, default=3, metavar="N", help="videos of each source to spoil (default 3)"
    )
    parser.add_argument(
        "--box-step", type=int, default=3, metavar="N", help="take every N-th of them for content boxes (default 3)"
    )
    parser.add_argument(
        "--shortest", type=float, default=4.5, metavar="S", help="seconds of a video to spoil (default 4.5)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
