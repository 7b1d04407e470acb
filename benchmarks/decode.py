"""What does a random clip cost: decord on an original as the peers do, ours and others on training copies, and the bare decoders?

    python benchmarks/decode.py --folder FILES --out benchmarks/results                                # a synthesised scene
    python benchmarks/decode.py --folder FILES --out benchmarks/results --video VIDEO.mp4 --name real  # other footage

In: a video of 720p (or none: a scene of `surgrec synthesize` is rendered). Out: a table, printed and written with date and hardware.

The footage is looped to 3 minutes at 1280 x 720 and 25 frames a second with a keyframe every 250 frames, which is what recorders
write. Of it `surgrec prepare`'s functions make both kinds of copies with their default settings; copies of 3 hours are the same copies
again and again. A clip is 16 frames, 0.16 s apart (SurgRec-MAE), at a random moment; every way reads the same moments, in turn, so
that what else the machine does meets all of them. Each opens its file anew, as a run does whose clips come from thousands of
videos; "kept open" is the other case. One thread. Numbers are medians of cpu-milliseconds of the reading process.

"Video of keyframes" is `surgrec prepare --group 1 --crf 21`. Files are in memory, but for the packs of 3 hours.

Where a row says crop, only the rectangle of the clip's random resized crop is asked for, as training does (0.5 to 1 of the area).

The bare decode limits decode the same packets and keep nothing: no conversion to RGB, no index, no choice of frames. The copy's packets
are those that the clip's frames need, held in memory; so are the JPEGs.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg
from av.video.frame import VideoFrame
from report import cpu_name, goal_lines, write_result

from surgrec.core.console import run_command
from surgrec.core.memory import keep_freed_memory
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.video.copy_reader import CopyReader
from surgrec.video.decode import Region, VideoReader, open_video
from surgrec.video.pack import PackReader, write_jpegs
from surgrec.video.probe import probe
from surgrec.video.transcode import CopySpec, write_frames, write_video

OFFSETS = np.arange(16) * 0.16
FPS, GROUP = 25, 250
KEYFRAMES = CopySpec(group_frames=1, skippable_frames=0, crf=21)
Way = Callable[[int], Any]


def main() -> int:
    options = _parser().parse_args()
    keep_freed_memory()  # as loading processes do
    folder = options.folder / options.name.replace(" ", "_")
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        make_files(options.video, folder, options.seconds, options.loops)
        (folder / "complete").touch()
    if options.repeats:
        for path in folder.iterdir():  # so that decoding is measured, not the disk
            if path.stat().st_size < 1e9:
                path.read_bytes()
        _report(measure(ways_of(folder), options.repeats), _sizes(folder), options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What a random clip costs.", epilog=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--video", type=Path, help="a video of 1280 x 720 to loop (default: a synthesised scene)")
    parser.add_argument("--name", default="synthesised", help="what the footage is called in the table")
    parser.add_argument(
        "--repeats", type=int, default=15, help="clips of each way (default: %(default)s); 0: files only"
    )
    parser.add_argument("--seconds", type=float, default=180.0, help="of the footage (default: %(default)s)")
    parser.add_argument("--loops", type=int, default=60, help="so often in the long files (default: %(default)s)")
    parser.add_argument("--folder", type=Path, required=True, help="for 10 GB of files, which are made once")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the tables")
    return parser


# -- files


def make_files(source: Path | None, folder: Path, seconds: float, num_loops: int) -> None:
    """`original.mp4`, its copies, and these `num_loops` times over, in `folder`."""
    original = folder / "original.mp4"
    write_original(source, original, seconds)
    info = probe(original)
    write_video(original, folder / "copy.mp4", info, CopySpec(), None)
    write_video(original, folder / "keyframes.mp4", info, KEYFRAMES, None)
    write_frames(original, folder / "copy.frames", info, CopySpec("frames"), None)
    loop(folder / "copy.mp4", folder / "long.mp4", num_loops)
    _loop_pack(folder / "copy.frames", folder / "long.frames", num_loops)


def _pictures(source: Path | None) -> list[VideoFrame]:
    if source is None:
        return _synthesised()
    with av.open(str(source)) as container:
        return [frame.reformat(1280, 720, "yuv420p") for frame in container.decode(video=0)]


def _synthesised() -> list[VideoFrame]:
    """Ten seconds of the embedded corpus' laparoscopy, enlarged to 720p."""
    from itertools import islice

    from surgrec.synthetic.plan import make_plan
    from surgrec.synthetic.write import make_theatre, render

    plan = next(plan for plan in make_plan("small", 0) if plan.source.domain == "laparoscopy")
    pictures = islice(render(plan, make_theatre(plan)), GROUP)
    return [VideoFrame.from_ndarray(rgb, format="rgb24").reformat(1280, 720, "yuv420p") for rgb in pictures]


def write_original(source: Path | None, target: Path, seconds: float) -> None:
    pictures = _pictures(source)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23", "g": str(GROUP)})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(round(seconds * FPS)):
            frame = pictures[number % len(pictures)]
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, FPS), 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def loop(source: Path, target: Path, num_loops: int) -> None:
    """The packets of a copy `num_loops` times over, laid out as `surgrec prepare` does."""
    options = {"movflags": "+faststart+negative_cts_offsets", "use_editlist": "0"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        first, step = min(packet.pts for packet in packets), packets[0].duration
        raw = [(bytes(p), p.pts - first, p.dts - first, p.is_keyframe, p.time_base) for p in packets]
        for number in range(num_loops):
            for data, pts, dts, is_keyframe, time_base in raw:
                packet = av.Packet(data)
                shift = number * len(raw) * step
                packet.pts, packet.dts, packet.time_base = pts + shift, dts + shift, time_base
                packet.stream, packet.is_keyframe, packet.duration = stream, is_keyframe, step
                new.mux(packet)


def _loop_pack(source: Path, target: Path, num_loops: int) -> None:
    """The pictures of a pack `num_loops` times over, encoded once."""
    with PackReader(source) as pack:
        times = np.arange(pack.num_frames) / FPS
        rows = pack.rows_at(times).astype(np.int64)
        every = times + np.arange(num_loops)[:, None] * pack.duration_seconds
        size, duration = (pack.width, pack.height), pack.duration_seconds * num_loops
    data = source.read_bytes()
    jpegs = [data[start:end] for start, end, _ in rows.tolist()]
    write_jpegs(target, (jpeg for _ in range(num_loops) for jpeg in jpegs), lambda: size, every.ravel(), duration)


def _sizes(folder: Path) -> dict[str, float]:
    """Gigabytes of an hour."""
    names = {
        "original": "original.mp4",
        "video": "copy.mp4",
        "video of keyframes": "keyframes.mp4",
        "frames": "copy.frames",
    }
    hours = probe(folder / "copy.frames").duration_seconds / 3600
    return {name: (folder / file).stat().st_size / hours / 1e9 for name, file in names.items()}


# -- ways to read


def ways_of(folder: Path) -> dict[str, Way]:
    """Each reads clip number i, the same moments in all."""
    short, long = (probe(folder / name).duration_seconds for name in ("copy.frames", "long.frames"))
    starts = np.random.default_rng(0).uniform(0, short - 3, 1000)
    late = np.random.default_rng(1).uniform(0, long - 3, 1000)
    crops = ClipAugment(AugmentSpec(224, (0.5, 1.0), (3 / 4, 4 / 3)), seed=0)

    def region(number: int, height: int, width: int) -> Region:
        box = crops.boxes([number], [height], [width])
        return Region(int(box.top[0]), int(box.left[0]), int(box.height[0]), int(box.width[0]))

    def ours(name: str, is_cropped: bool = True, moments: Any = starts, backend: str = "pyav") -> Way:
        def read(number: int) -> Any:
            wanted = (lambda *size: region(number, *size)) if is_cropped else None
            with open_video(folder / name, backend) as reader:
                return reader.read(moments[number] + OFFSETS, wanted)

        return read

    def kept(name: str) -> Way:
        reader: VideoReader = open_video(folder / name)

        def read(number: int) -> Any:
            frames = reader.read(starts[number] + OFFSETS, lambda *size: region(number, *size))
            reader.restart()
            return frames

        return read

    return {
        "a: decord, original": _decord(folder / "original.mp4", starts),
        "ours, original": ours("original.mp4", False),
        "b: ours, video, crop": ours("copy.mp4"),
        "ours, video, whole frames": ours("copy.mp4", False),
        "ours, video, crop, kept open": kept("copy.mp4"),
        "ours, video of keyframes, crop": ours("keyframes.mp4"),
        "e: bare H.264": _bare_video(folder / "copy.mp4", starts),
        "c: ours, frames, crop": ours("copy.frames"),
        "ours, frames, whole frames": ours("copy.frames", False),
        "ours, frames, crop, kept open": kept("copy.frames"),
        "e: bare JPEG": _bare_jpeg(folder / "copy.frames", starts),
        "d: decord, video": _decord(folder / "copy.mp4", starts),
        **_torchcodec(folder / "copy.mp4", starts),
        "ours, video of 3 hours, crop": ours("long.mp4", moments=late),
        "ours, frames of 3 hours, crop": ours("long.frames", moments=late),
    }


def _decord(path: Path, starts: Any) -> Way:
    import decord

    def read(number: int) -> Any:
        reader = decord.VideoReader(str(path), num_threads=1)
        return reader.get_batch(((starts[number] + OFFSETS) * FPS).astype(int)).asnumpy()

    return read


def _torchcodec(path: Path, starts: Any) -> dict[str, Way]:
    """Its two modes, where it finds FFmpeg."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        print(f"torchcodec is left out: {str(error).splitlines()[0]}", file=sys.stderr)
        return {}

    def way(mode: str) -> Way:
        def read(number: int) -> Any:
            decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=mode)
            return decoder.get_frames_played_at((starts[number] + OFFSETS).tolist()).data.numpy()

        return read

    return {f"d: torchcodec, video, {mode}": way(mode) for mode in ("approximate", "exact")}


def _bare_video(path: Path, starts: Any) -> Way:
    """libavcodec on the packets that a clip needs; they are read beforehand, when the clip is asked for the first time."""
    reader = CopyReader(path)
    ready: dict[int, list[bytes]] = {}

    def prepare(number: int) -> None:
        frames = sorted(set(((starts[number] + OFFSETS + 1e-4) * FPS).astype(int).tolist()))
        ready[number] = [bytes(packet) for packet in reader._packets(frames)]

    def read(number: int) -> Any:
        decoder = reader._decoder()
        for data in ready[number]:
            decoder.decode(av.Packet(data))
        decoder.decode(None)

    read.prepare = prepare  # type: ignore[attr-defined]
    return read


def _bare_jpeg(path: Path, starts: Any) -> Way:
    """libjpeg-turbo on whole JPEGs in memory."""
    pack = PackReader(path)
    ready: dict[int, list[bytes]] = {}

    def prepare(number: int) -> None:
        rows = pack.rows_at(starts[number] + OFFSETS).astype(np.int64)
        ready[number] = [os.pread(pack._file.fileno(), end - start, start) for start, end, _ in rows.tolist()]

    def read(number: int) -> Any:
        for data in ready[number]:
            simplejpeg.decode_jpeg(data)

    read.prepare = prepare  # type: ignore[attr-defined]
    return read


def measure(ways: dict[str, Way], repeats: int) -> dict[str, list[float]]:
    """cpu-seconds of `repeats` clips of every way; before each another clip that does not count, as the last way left other caches."""
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats):
        for name, way in ways.items():
            for each in (number, number + 500):
                getattr(way, "prepare", _nothing)(each)
            way(number + 500)
            began = time.process_time()
            way(number)
            costs[name].append(time.process_time() - began)
    return costs


def _nothing(number: int) -> None:
    return None


# -- the report


def _report(costs: dict[str, list[float]], sizes: dict[str, float], options: argparse.Namespace) -> None:
    medians = {name: statistics.median(values) * 1000 for name, values in costs.items()}
    goals = goals_of(medians)
    today = datetime.date.today().isoformat()
    hardware = f"one of {os.cpu_count()} cores of {platform.machine()}, {cpu_name()}, PyAV {av.__version__}"
    lines = [
        f"# Random clips: {options.name} footage",
        "",
        f"{today}, {hardware}. Medians of {options.repeats}; cpu-milliseconds of a clip of 16 frames, 0.16 s apart.",
        "",
        "| way | ms a clip | clips a second | quarter to three quarters |",
        "|---|---|---|---|",
        *(_line(name, values) for name, values in costs.items()),
        "",
        f"Gigabytes of an hour: {', '.join(f'{name} {size:.2f}' for name, size in sizes.items())}.",
        "",
        *goal_lines(goals),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    stem = f"decode_{options.name.replace(' ', '_')}_{today}"
    facts = {"date": today, "hardware": hardware, "seconds": costs, "gigabytes_per_hour": sizes, "goals": goals}
    write_result(options.out / stem, text, facts)


def goals_of(ms: dict[str, float]) -> dict[str, tuple[str, float]]:
    """What was wanted, and the ratio that came out."""
    peer, video, frames = ms["a: decord, original"], ms["b: ours, video, crop"], ms["c: ours, frames, crop"]
    return {
        "video over decord on the original": (">= 60", peer / video),
        "video over the bare decoder": (">= 0.70", ms["e: bare H.264"] / video),
        "frames over decord on the original": (">= 150", peer / frames),
        "frames over the bare decoder": (">= 0.70", ms["e: bare JPEG"] / frames),
        "video over decord on the same file": (">= 2", ms["d: decord, video"] / video),
        "video of 3 hours to one of 3 minutes": ("<= 1.3", ms["ours, video of 3 hours, crop"] / video),
        "frames of 3 hours to those of 3 minutes": ("<= 1.3", ms["ours, frames of 3 hours, crop"] / frames),
    }


def _line(name: str, values: list[float]) -> str:
    low, middle, high = (value * 1000 for value in statistics.quantiles(values, n=4))
    return f"| {name} | {middle:.1f} | {1000 / middle:.0f} | {low:.1f} to {high:.1f} |"


if __name__ == "__main__":
    sys.exit(run_command(main))
