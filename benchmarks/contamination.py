"""How many planted copies the audit of contamination finds, and how many it invents.

    surgrec synthesize --out corpus --scale large
    python benchmarks/contamination.py --corpus corpus --copies 1100 --out benchmarks/results

Videos of the corpus are drawn, changed, encoded anew and put in a test set of their own; then the audit compares that set with the whole
corpus. Each copy has one true origin; whatever else is reported is a false alarm. Innocent pairs are pairs of a copy and another video of
the same procedure. Copies that are there already are kept, so that an interrupted run continues.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import os
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageDraw

from surgrec.core.atomic import atomic_path, write_text
from surgrec.core.console import progress
from surgrec.corpus.contamination import ContaminationAudit, TestSet, audit_contamination
from surgrec.corpus.fingerprints import default_surveys
from surgrec.corpus.isolated import map_isolated
from surgrec.corpus.manifest import SCHEMA, Manifest
from surgrec.video.decode import open_video
from surgrec.video.probe import probe

Frames = npt.NDArray[np.uint8]
Times = npt.NDArray[np.float64]
MIN_SECONDS = 7.0  # so that an excerpt of five is one


# -- transformations: frames (T, H, W, 3), their times, a generator -> the same of the copy


def reencoded(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Nothing but a bad encoding: see `crf_of`."""
    return frames, times


def rescaled(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """0.4 to 1.5 times as large."""
    factor = random.choice([0.4, 0.5, 0.7, 1.5])
    height, width = (2 * round(side * factor / 2) for side in frames.shape[1:3])
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in frames]), times


def cropped(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """A window of 0.75 to 0.92 of each side, anywhere."""
    height, width = (round(side * random.uniform(0.75, 0.92)) for side in frames.shape[1:3])
    top, left = (
        int(random.integers(0, side - part + 1)) for side, part in zip(frames.shape[1:3], (height, width), strict=True)
    )
    return frames[:, top : top + height, left : left + width], times


def trimmed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Without 10 to 30 % at the beginning and 10 to 25 % at the end."""
    start, end = random.uniform(0.1, 0.3) * times[-1], (1 - random.uniform(0.1, 0.25)) * times[-1]
    return _between(frames, times, start, end)


def mirrored(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Left and right exchanged."""
    return frames[:, :, ::-1], times


def brightness_shifted(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Gamma 0.8 to 1.25, gain 0.7 to 1.4, offset up to 25 of 255."""
    gamma, gain, offset = random.uniform(0.8, 1.25), random.uniform(0.7, 1.4), random.uniform(-25, 25)
    table = np.clip((np.arange(256) / 255) ** gamma * 255 * gain + offset, 0, 255).astype(np.uint8)
    return table[frames], times


def frame_rate_changed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """6 to 30 frames a second, each the one on display."""
    rate = random.choice([6.0, 8.0, 10.0, 15.0, 24.0, 30.0])
    wanted = np.arange(int(times[-1] * rate)) / rate
    return frames[np.searchsorted(times, wanted + 1e-6, side="right") - 1], wanted


def letterboxed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Black bars of 10 to 30 % above and below, left and right, or both."""
    across, down = (round(random.uniform(0.1, 0.3) * side) for side in frames.shape[1:3])
    bars = [(across, 0), (0, down), (across, down)][random.integers(3)]
    return np.pad(frames, ((0, 0), (bars[0], bars[0]), (bars[1], bars[1]), (0, 0))), times


def overlaid(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """A logo and a running clock, on a third of the copies in a bar of their own."""
    height, width = frames.shape[1:3]
    has_bar = random.integers(3) == 0
    return np.stack(
        [_with_overlay(frame, width, height, second, has_bar) for frame, second in zip(frames, times, strict=True)]
    ), times


def excerpt(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Five seconds from anywhere."""
    start = random.uniform(0, times[-1] - 5)
    return _between(frames, times, start, start + 5)


def mirrored_cropped_trimmed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """All three."""
    for change in (trimmed, cropped, mirrored):
        frames, times = change(frames, times, random)
    return frames, times


TRANSFORMATIONS: dict[str, Callable[[Frames, Times, np.random.Generator], tuple[Frames, Times]]] = {
    function.__name__: function
    for function in (
        reencoded, rescaled, cropped, trimmed, mirrored, brightness_shifted, frame_rate_changed, letterboxed, overlaid, excerpt,
        mirrored_cropped_trimmed,
    )
}  # fmt: skip


def crf_of(name: str, random: np.random.Generator) -> int:
    """x264's quality: 33 to 38 where encoding is the transformation, else 28."""
    return int(random.integers(33, 39)) if name == "reencoded" else 28


def _between(frames: Frames, times: Times, start: float, end: float) -> tuple[Frames, Times]:
    chosen = (times >= start) & (times <= end)
    return frames[chosen], times[chosen] - times[chosen][0]


def _with_overlay(frame: Frames, width: int, height: int, second: float, has_bar: bool) -> Frames:
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width - width // 4, 2, width - 2, height // 6), fill=(230, 230, 240))
    draw.text((width - width // 4 + 3, 4), "HOSP", fill=(0, 0, 160))
    if has_bar:
        draw.rectangle((0, height - 16, width, height), fill=(0, 0, 0))
    draw.text((4, height - 14), f"10:12:{int(second):02d}", fill=(255, 255, 0))
    return np.asarray(image)


# -- files


def make_copy(job: tuple[Path, Path, str, int]) -> None:
    """Read, change and write one video; runs in a worker process."""
    source, copy, name, seed = job
    if copy.is_file():
        return
    random = np.random.default_rng(seed)
    info = probe(source)
    times = np.arange(info.num_frames) / info.fps
    with open_video(source) as reader:
        read = reader.read(times)
    first = np.unique(read.times_seconds, return_index=True)[1]
    frames, shown = TRANSFORMATIONS[name](read.pixels[first], read.times_seconds[first], random)
    with atomic_path(copy) as temporary:
        encode(temporary, frames, shown, crf_of(name, random))


def encode(path: Path, frames: Frames, times: Times, crf: int) -> None:
    """H.264, each frame at its own time."""
    height, width = (side - side % 2 for side in frames.shape[1:3])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        stream.codec_context.thread_count = 1
        for pixels, second in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            frame.pts, frame.time_base = round(second * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def plant(corpus: Manifest, count: int, folder: Path, workers: int) -> tuple[Manifest, dict[str, tuple[str, str]]]:
    """(manifest of the copies, copy's id -> (transformation, origin's id))."""
    durations = corpus.column("duration_seconds")
    random = np.random.default_rng(0)
    long_enough = np.flatnonzero(durations >= MIN_SECONDS)
    origins = random.choice(long_enough, count, replace=count > len(long_enough))
    jobs, truth, rows = [], {}, []
    for number, row in enumerate(origins.tolist()):
        name = list(TRANSFORMATIONS)[number % len(TRANSFORMATIONS)]
        copy = folder / f"copy_{number:05d}.mp4"
        jobs.append((corpus.path_of(row), copy, name, number))
        truth[f"copy-{number:05d}"] = (name, str(corpus.video_ids[row]))
    with progress("making copies", len(jobs)) as advance:
        for _, result in map_isolated(make_copy, jobs, workers):
            assert result is None, result
            advance()
    for (_, copy, _, number), row in zip(jobs, origins.tolist(), strict=True):
        info = probe(copy)
        rows.append(
            corpus.table.slice(row, 1).to_pylist()[0]
            | {
                "video_id": f"copy-{number:05d}", "source": "copies", "group_id": f"copy-{number:05d}", "root": str(folder),
                "path": copy.name, "sha256": f"copy {number}", "split": None, "num_frames": info.num_frames,
                "duration_seconds": info.duration_seconds, "fps": info.fps, "width": info.width, "height": info.height,
            }
        )  # fmt: skip
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA)), truth


# -- figures


def report_of(
    audit: ContaminationAudit, corpus: Manifest, copies: Manifest, truth: dict[str, tuple[str, str]]
) -> tuple[str, dict]:
    """A table for people, and the same for programs."""
    by_copy = collections.defaultdict(list)
    for one in audit.evidence:
        by_copy[one.test_video_id].append(one)
    durations = dict(zip(copies.video_ids.tolist(), copies.column("duration_seconds").tolist(), strict=True))
    case_of = dict(zip(corpus.video_ids.tolist(), corpus.column("group_id").tolist(), strict=True))
    rows, alarms, same_case = [], [], []
    for name in TRANSFORMATIONS:
        planted = [copy for copy, (kind, _) in truth.items() if kind == name]
        right = {copy: [one for one in by_copy[copy] if one.video_id == truth[copy][1]] for copy in planted}
        found = [copy for copy in planted if right[copy]]
        covered = [
            sum(one.test_seconds[1] - one.test_seconds[0] for one in right[copy]) / durations[copy] for copy in found
        ]
        scores = [one.change + one.structure for copy in found for one in right[copy]]
        rows.append((name, len(planted), len(found), statistics.median(covered or [0.0]), min(scores or [0.0])))
    for copy, evidence in by_copy.items():
        for one in evidence:
            if one.video_id != truth[copy][1]:
                is_same_case = case_of[one.video_id] == case_of[truth[copy][1]]
                (same_case if is_same_case else alarms).append(
                    [copy, truth[copy][0], one.video_id, one.change, one.structure]
                )
    procedures = collections.Counter(corpus.column("procedure").tolist())
    innocent = sum(procedures[procedure] - 1 for procedure in copies.column("procedure").tolist())
    lines = [
        "| transformation | planted | found | recall | covered (median) | lowest change + structure |",
        "|" + "---|" * 6,
    ]
    lines += [
        f"| {name} | {n} | {found} | {found / n:.3f} | {cover:.2f} | {low:.2f} |" for name, n, found, cover, low in rows
    ]
    total, hits = sum(row[1] for row in rows), sum(row[2] for row in rows)
    lines += [
        "",
        f"- {total} copies, {hits} found; {len(corpus)} videos in the corpus; {innocent:,} innocent pairs of the same procedure",
        f"- false alarms: {len(alarms)}; another video of the same case reported: {len(same_case)}",
    ]
    return "\n".join(lines) + "\n", {
        "rows": rows,
        "false_alarms": alarms,
        "same_case": same_case,
        "innocent_pairs": innocent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of `surgrec synthesize`")
    parser.add_argument("--copies", type=int, default=1100)
    parser.add_argument("--scratch", type=Path, help="where copies and surveys go (default: beside the corpus)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="folder for contamination_DATE.json and .md")
    options = parser.parse_args()
    scratch = options.scratch or options.corpus.with_name(f"{options.corpus.name}.copies")
    corpus = Manifest.read([options.corpus / "manifest.parquet"])
    copies, truth = plant(corpus, options.copies, scratch / "videos", options.workers)
    test = TestSet("copies", copies, scratch / "copies.surveys", tuple(range(len(copies))))
    start = time.perf_counter()
    surveys = default_surveys(options.corpus / "manifest.parquet")
    audit = audit_contamination(corpus, surveys, [test], {}, options.workers, progress)
    seconds = time.perf_counter() - start
    took = f"{datetime.date.today()}, {os.cpu_count()} CPU cores; the audit, with surveys that were missing, took {seconds:.0f} s"
    text, numbers = report_of(audit, corpus, copies, truth)
    print(f"{took}\n\n{text}")
    if options.out:
        stem = options.out / f"contamination_{datetime.date.today()}"
        write_text(stem.with_suffix(".md"), f"# Planted copies\n\n{took}\n\n{text}")
        write_text(stem.with_suffix(".json"), json.dumps({"run": took, **numbers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
