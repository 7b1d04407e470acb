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
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filters_count import Results, Video, count_time, covered, of_reason, videos_of
from filters_planted import Plant, judge_boxes, judge_planted_time, judge_regions

from surgrec.core.atomic import write_text
from surgrec.core.console import progress, run_command
from surgrec.corpus import survey as survey_module
from surgrec.corpus.filters.find import OF_TIME, find
from surgrec.corpus.filters.thresholds import Thresholds
from surgrec.corpus.isolated import map_isolated
from surgrec.corpus.measures import Measurer
from surgrec.corpus.survey import Survey, survey_video

GOALS = {
    "black": 0.95, "frozen": 0.95, "out_of_body": 0.95, "colour_bars": 0.95, "blue_screen": 0.95, "menu": 0.95,
    "blur": 0.9, "text": 0.9, "overlay": 0.9, "picture_in_picture": 0.9,
}  # fmt: skip


# -- the corpus's own events


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
