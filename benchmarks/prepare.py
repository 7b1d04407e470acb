"""What do training copies cost: against the bare ffmpeg command line, over worker processes, and by setting?

    python benchmarks/prepare.py --clips CLIPS --ffmpeg ffmpeg --out benchmarks/results

In: a folder of videos (at least one of 720p with 5 seconds), the ffmpeg command. Out: two tables, printed and written with date and
hardware. The first repeats the packets of one video to 24 seconds and more, and takes the time of the same output from both, in one
process and in two; every process has one thread. The second makes copies of short excerpts with each setting and reads clips from
them at random moments, opening the file anew for each as training does.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from report import cpu_name, write_result

from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.core.memory import keep_freed_memory
from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from surgrec.video.decode import PACK_SUFFIX, open_video
from surgrec.video.probe import probe
from surgrec.video.transcode import CopySpec, write_frames, write_video

NUM_LONG = 4
PARTS = ("ffmpeg", "settings")
NUM_READS = 12
TRAINING_SIDE = 320  # data.short_side_pixels
CLIP_KINDS = {"mae": np.arange(16) * 4 / 25, "jepa": np.arange(16) / 4}  # seconds of the frames after a clip's start
DEFAULT = CopySpec()
SETTINGS = {
    "default": DEFAULT,
    "group 8": replace(DEFAULT, group_frames=8),
    "group 16": replace(DEFAULT, group_frames=16),
    "group 250": replace(DEFAULT, group_frames=250),
    "skippable 0": replace(DEFAULT, skippable_frames=0),
    "skippable 5": replace(DEFAULT, skippable_frames=5),
    "group 16, skippable 0": replace(DEFAULT, group_frames=16, skippable_frames=0),
    "group 1, crf 21": replace(DEFAULT, group_frames=1, crf=21),
    "short side 256": replace(DEFAULT, short_side_pixels=256),
    "short side 320": replace(DEFAULT, short_side_pixels=320),
    "crf 18": replace(DEFAULT, crf=18),
    "crf 28": replace(DEFAULT, crf=28),
    "fps 12.5": replace(DEFAULT, fps=12.5),
    "fps 6.25": replace(DEFAULT, fps=6.25),
    "fps 4": replace(DEFAULT, fps=4.0),
    "frames": replace(DEFAULT, format="frames"),
    "frames, quality 80": replace(DEFAULT, format="frames", jpeg_quality=80),
    "frames, quality 90": replace(DEFAULT, format="frames", jpeg_quality=90),
    "frames, fps 6.25": replace(DEFAULT, format="frames", fps=6.25),
}


@dataclass(frozen=True)
class Cost:
    """Of one way to make the copies of `NUM_LONG` videos."""

    way: str
    processes: int
    wall_seconds: float
    cpu_seconds: float
    num_bytes: int


def main() -> int:
    options = _parser().parse_args()
    if "ffmpeg" in options.parts and shutil.which(options.ffmpeg) is None:
        raise UserError(f"there is no command {options.ffmpeg}; install ffmpeg or name it with --ffmpeg")
    keep_freed_memory()  # as loading processes do
    videos = sorted(path for path in options.clips.glob("*/*.mp4") if path.parent.name != "formats")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs, settings = [], []
        if "ffmpeg" in options.parts:
            costs = against_ffmpeg(_largest(videos), options, folder)
        if "settings" in options.parts:
            settings = by_setting([path for path in videos if probe(path).duration_seconds > 5], folder)
    _report(costs, settings, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What training copies cost.", epilog=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--clips", type=Path, required=True, help="folder with folders of mp4 files")
    parser.add_argument("--ffmpeg", default="ffmpeg", help="the command to compare with (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="of each measurement; the least is reported")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument(
        "--seconds", type=float, default=24.0, help="of a video of the comparison with ffmpeg, and more"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the tables")
    return parser


# -- against ffmpeg


def _largest(videos: Sequence[Path]) -> Path:
    """The largest of those with 720 lines: what most recorders write."""
    high = [path for path in videos if probe(path).height == 720]
    if not high:
        raise UserError("none of the clips has 720 lines")
    return max(high, key=lambda path: path.stat().st_size)


def against_ffmpeg(video: Path, options: argparse.Namespace, folder: Path) -> list[Cost]:
    """The same copies by `ffmpeg` and by `surgrec prepare`, with one process and with two."""
    for number in range(NUM_LONG):
        _lengthen(video, folder / "long" / f"{number}.mp4", options.seconds + number)
    rows = scan(folder / "long", Card("long", "other"), num_workers=0).rows
    if len(rows) != NUM_LONG:
        raise UserError(f"only {len(rows)} of {NUM_LONG} lengthened videos can be read")
    Manifest(rows).write(folder / "manifest.parquet")
    ways: list[tuple[str, int, Callable[[Path], None]]] = []
    for processes in (1, 2):
        ways.append(
            ("ffmpeg", processes, lambda out, n=processes: _run_ffmpeg(folder / "long", out, options.ffmpeg, n))
        )
        ways.append(("surgrec prepare", processes, lambda out, n=processes: _run_prepare(folder, out, n)))
    measured = [_cost(*way, folder) for _ in range(options.repeats) for way in ways]
    return [min(measured[number :: len(ways)], key=lambda cost: cost.wall_seconds) for number in range(len(ways))]


def _lengthen(source: Path, target: Path, seconds: float) -> None:
    """The packets of `source` again and again until `seconds`, without encoding."""
    target.parent.mkdir(exist_ok=True)
    with av.open(str(target), "w") as new:
        stream, offset, is_full = None, 0, False
        while not is_full:
            with av.open(str(source)) as old:
                from_stream = old.streams.video[0]
                stream = stream or new.add_stream_from_template(from_stream)
                tick = from_stream.time_base or 1
                for packet in old.demux(from_stream):
                    if packet.size and packet.pts is not None and packet.dts is not None and not is_full:
                        packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                        is_full = packet.dts * tick >= seconds
                        packet.time_base = from_stream.time_base
                        new.mux(packet)
                offset += from_stream.duration or 0


def _cost(way: str, processes: int, make: Callable[[Path], None], folder: Path) -> Cost:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    wall, cpu = time.perf_counter(), _cpu_seconds()
    make(out)
    wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
    return Cost(way, processes, wall, cpu, sum(path.stat().st_size for path in out.rglob("*.mp4")))


def _cpu_seconds() -> float:
    """Of this process and of all that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _run_prepare(folder: Path, out: Path, processes: int) -> None:
    command = [sys.executable, "-m", "surgrec.prepare", "--manifest", str(folder / "manifest.parquet")]
    subprocess.run(
        [*command, "--out", str(out), "--workers", str(processes)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=_one_thread(),
    )


def _run_ffmpeg(sources: Path, out: Path, ffmpeg: str, processes: int) -> None:
    left = sorted(sources.iterdir())
    running: list[subprocess.Popen] = []
    while left or running:
        while left and len(running) < processes:
            source = left.pop(0)
            running.append(subprocess.Popen(_ffmpeg_command(ffmpeg, source, out / source.name), env=_one_thread()))
        done = [process for process in running if process.poll() is not None]
        if any(process.returncode for process in done):
            raise UserError(f"{ffmpeg} failed")
        running = [process for process in running if process not in done]
        time.sleep(0.005)


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _ffmpeg_command(ffmpeg: str, source: Path, target: Path) -> list[str]:
    spec = DEFAULT
    info = probe(source)
    width = 2 * round(info.width * spec.short_side_pixels / info.height / 2)
    scale = (
        f"scale={width}:{spec.short_side_pixels}:flags=area+accurate_rnd+full_chroma_int:out_range=tv,format=yuv420p"
    )
    x264 = f"keyint={spec.group_frames}:min-keyint={spec.group_frames}:scenecut=0:open-gop=0"
    x264 += f":bframes={spec.skippable_frames}:b-adapt=0:b-pyramid=none"
    return [
        *(ffmpeg, "-v", "error", "-nostdin", "-y", "-threads", "1", "-filter_threads", "1", "-i", str(source)),
        *("-map", "0:v:0", "-map_metadata", "-1", "-map_chapters", "-1", "-vf", scale),
        *("-c:v", "libx264", "-threads", "1", "-preset", "veryfast", "-tune", "fastdecode", "-crf", str(spec.crf)),
        *("-x264-params", x264, "-bsf:v", "filter_units=remove_types=6"),
        *("-movflags", "+faststart+negative_cts_offsets", "-use_editlist", "0", "-fflags", "+bitexact", str(target)),
    ]


# -- by setting


def by_setting(videos: Sequence[Path], folder: Path) -> list[dict[str, Any]]:
    """Bytes, time to make and time to read of each of `SETTINGS`; means over `videos`."""
    rows = []
    for name, spec in SETTINGS.items():
        measured = [_measure(path, spec, folder) for path in videos]
        rows.append({"setting": name, **{key: float(np.mean([m[key] for m in measured])) for key in measured[0]}})
    originals = [_reading(path, path, None) for path in videos]
    size = float(np.mean([path.stat().st_size / probe(path).duration_seconds * 3600 / 1e9 for path in videos]))
    mean = {key: float(np.mean([m[key] for m in originals])) for key in originals[0]}
    return [{"setting": "the originals", "gigabytes_per_hour": size, "cpu_seconds_per_minute": None, **mean}, *rows]


def _measure(video: Path, spec: CopySpec, folder: Path) -> dict[str, float]:
    info = probe(video)
    path = folder / f"copy{'.mp4' if spec.format == 'video' else PACK_SUFFIX}"
    start = _cpu_seconds()
    (write_video if spec.format == "video" else write_frames)(video, path, info, spec, None)
    making = _cpu_seconds() - start
    return {
        "gigabytes_per_hour": path.stat().st_size / info.duration_seconds * 3600 / 1e9,
        "cpu_seconds_per_minute": making / info.duration_seconds * 60,
        **_reading(video, path, spec),
    }


def _reading(video: Path, path: Path, spec: CopySpec | None) -> dict[str, float]:
    """cpu-ms for a clip of each kind from `path`, as training reads it; mean difference to `video` in levels of 255."""
    found: dict[str, float] = {}
    duration = probe(path).duration_seconds
    for kind, offsets in CLIP_KINDS.items():
        starts = np.random.default_rng(0).uniform(0, max(0.0, duration - offsets[-1]), NUM_READS)
        begin = _cpu_seconds()
        for start in starts:
            with open_video(path, short_side_pixels=TRAINING_SIDE) as reader:
                reader.read(start + offsets)
        found[f"{kind}_clip_milliseconds"] = (_cpu_seconds() - begin) / NUM_READS * 1000
    if spec is not None:
        with open_video(video, short_side_pixels=224) as one, open_video(path, short_side_pixels=224) as other:
            copied = other.read(np.arange(0, duration - 0.5, 1.0))
            a, b = one.read(copied.times_seconds + 1e-3).pixels.astype(int), copied.pixels.astype(int)
        height, width = min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2])
        found["difference"] = float(np.abs(a[:, :height, :width] - b[:, :height, :width]).mean())
    return found


# -- the report


def _report(costs: Sequence[Cost], settings: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    version, stem = "none", "prepare_settings"
    if costs:
        asked = subprocess.run([options.ffmpeg, "-version"], capture_output=True, text=True, check=True)
        version, stem = asked.stdout.split()[2], "prepare"
    libraries = ".".join(map(str, av.library_versions["libavcodec"]))
    today = datetime.date.today().isoformat()
    hardware = (
        f"{os.cpu_count()} cores of {platform.machine()}, {cpu_name()}, PyAV {av.__version__} (libavcodec {libraries})"
    )
    text = "\n".join(
        [
            "# Training copies",
            "",
            f"{today}, {hardware}; ffmpeg {version}. Least of {options.repeats}; every process one thread.",
            "",
            *(_comparison(costs, options.seconds) if costs else ()),
            *(_by_setting(settings) if settings else ()),
        ]
    )
    print(text)
    facts = {"date": today, "hardware": hardware, "ffmpeg": version, "costs": [asdict(c) for c in costs]}
    write_result(options.out / f"{stem}_{today}", text, {**facts, "settings": list(settings)})


def _by_setting(settings: Sequence[dict[str, Any]]) -> list[str]:
    return [
        "By setting, means over the clips of more than 5 seconds; a clip is 16 frames, 0.16 s (MAE) or 0.25 s (JEPA) apart, read as",
        "training does by default (short side 320 at most), the file opened anew; the difference is to the source, both shrunk to",
        "224, in levels of 255:",
        "",
        "| setting | GB an hour | cpu s to make a minute | cpu-ms a MAE clip | cpu-ms a JEPA clip | difference |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in settings),
        "",
    ]


def _comparison(costs: Sequence[Cost], seconds: float) -> list[str]:
    bare = {cost.processes: cost.wall_seconds for cost in costs if cost.way == "ffmpeg"}

    def row(cost: Cost) -> str:
        over = cost.wall_seconds / bare[cost.processes] - 1
        megabytes = cost.num_bytes / 1e6
        return f"| {cost.way} | {cost.processes} | {cost.wall_seconds:.1f} | {over:+.1%} | {cost.cpu_seconds:.1f} | {megabytes:.2f} |"

    return [
        f"{NUM_LONG} videos of 720p, {seconds:.0f} seconds and more each, to 288p with the default settings:",
        "",
        "| way | processes | wall s | over ffmpeg | cpu s | MB |",
        "|---|---|---|---|---|---|",
        *(row(cost) for cost in costs),
        "",
        "`surgrec prepare` also starts an interpreter, reads all packets of the source, checks the copy by decoding it, and hashes it.",
        "",
    ]


def _line(row: dict[str, Any]) -> str:
    def shown(key: str, digits: int) -> str:
        return "" if row.get(key) is None else f"{row[key]:.{digits}f}"

    return (
        f"| {row['setting']} | {shown('gigabytes_per_hour', 2)} | {shown('cpu_seconds_per_minute', 1)} "
        f"| {shown('mae_clip_milliseconds', 0)} | {shown('jepa_clip_milliseconds', 0)} | {shown('difference', 2)} |"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
