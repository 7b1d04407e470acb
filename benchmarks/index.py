"""How fast is indexing? Small files per second and core, what the parent process costs at a corpus' size, and hashing beside `sha256sum`.

    python benchmarks/index.py --out benchmarks/results

In: nothing; videos are generated in a temporary folder (`--folder`, to choose the disk). Out: tables, printed and written with date and
hardware.

* Files: copies of one small H.264 video, each of other bytes (a box at the end that players skip). Per core: one worker process, files over
  wall-clock seconds without the start of the interpreter, and processor seconds of parent and workers together. Then, in this process, what
  reading the metadata (packets, first frame) and hashing take apart, in processor seconds.
* Corpus: `surgrec index` of 10,535 such files on all cores, once more when nothing is left to do, and the parent's peak memory.
* Hashing: a file of uncompressed video, alternately read by `cat`, hashed by `sha256sum`, by hashlib as the index does, and read by the
  index as a whole (packets and hash); from memory, and from the disk after its pages were given back.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import io
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from report import write_result

from surgrec.core.console import run_command
from surgrec.corpus.card import Card
from surgrec.corpus.scan import _read, scan
from surgrec.index import main as index
from surgrec.video.probe import probe

GOAL = 150  # small files per second and core
SMALL = {"128 x 96, 2 s": (128, 96, 2), "320 x 240, 4 s": (320, 240, 4), "640 x 360, 10 s": (640, 360, 10)}
CORPUS = 10_535


def write_video(path: Path, width: int, height: int, seconds: int, codec: str = "libx264") -> None:
    """Noise on a moving ramp, 25 fps, with the B frames and the group of pictures of an ordinary recorder."""
    chance, (rows, columns) = np.random.default_rng(0), np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(25 * seconds):
            ramp = (rows + columns + 4 * number) % 200 + chance.integers(0, 20, (height, width))
            frame = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def copies(folder: Path, video: Path, count: int) -> int:
    """`count` copies of other bytes each, a hundred to a folder; returns the bytes of one."""
    content = video.read_bytes()
    for number in range(count):
        file = folder / f"case_{number // 100}" / f"{number}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content + b"\0\0\0\x10free" + number.to_bytes(8, "big"))
    return len(content) + 16


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def files_per_cpu_second(read: Callable[[Path], object], files: list[Path]) -> float:
    """Of this process alone; the first files are read twice, so that all code is loaded."""
    for path in files[:10]:
        read(path)
    began = time.process_time()
    for path in files:
        read(path)
    return len(files) / (time.process_time() - began)


def measure_files(folder: Path, name: str, count: int) -> dict[str, object]:
    """One size of file, one worker."""
    width, height, seconds = SMALL[name]
    video, root = folder / "video.mp4", folder / "files"
    write_video(video, width, height, seconds)
    num_bytes = copies(root, video, count)
    few = folder / "few"
    copies(few, video, 1)
    for _ in range(2):  # what starting a worker costs, once everything has been started before
        began, began_cpu = time.perf_counter(), cpu_seconds()
        scan(few, Card("few", "other"), num_workers=1)
    start, start_cpu = time.perf_counter() - began, cpu_seconds() - began_cpu
    began, began_cpu = time.perf_counter(), cpu_seconds()
    result = scan(root, Card("many", "other"), num_workers=1)
    wall, cpu = time.perf_counter() - began - start, cpu_seconds() - began_cpu - start_cpu
    assert len(result.rows) == count
    files = sorted(root.rglob("*.mp4"))
    return {
        "files": name,
        "count": count,
        "bytes": num_bytes,
        "per_second": count / wall,
        "per_cpu_second": count / cpu,
        "metadata_per_cpu_second": files_per_cpu_second(probe, files),
        "hashes_per_cpu_second": files_per_cpu_second(hash_file, files),
    }


def measure_corpus(folder: Path, count: int) -> dict[str, object]:
    """The command on all cores, and the command once more."""
    video, root = folder / "video.mp4", folder / "corpus"
    write_video(video, *SMALL["128 x 96, 2 s"])
    copies(root, video, count)
    arguments = ["--root", str(root), "--out", str(folder / "m.parquet"), "--source", "many", "--domain", "other"]
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            index(arguments)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"count": count, "seconds": seconds[0], "seconds_again": seconds[1], "peak_megabytes": peak}


def drop_from_memory(path: Path) -> None:
    """Give the file's pages back, so that the next read comes from the disk (as far as the machine has no cache below that)."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def hash_file(path: Path) -> None:
    """As the index does."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256").hexdigest()


def measure_hashing(folder: Path, seconds: int, repeats: int) -> list[dict[str, object]]:
    """Medians over alternating turns."""
    path = folder / "large.mkv"
    write_video(path, 640, 360, seconds, codec="rawvideo")
    gigabytes = path.stat().st_size / 1e9
    ways: dict[str, Callable[[], object]] = {
        "cat": lambda: subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True),
        "sha256sum": lambda: subprocess.run(["sha256sum", path], stdout=subprocess.DEVNULL, check=True),
        "hashlib": lambda: hash_file(path),
        "index: packets and hash": lambda: _read(path),
    }
    assert isinstance(_read(path), dict)
    rows = []
    for where in ("memory", "disk"):
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, way in ways.items():
                if where == "disk":
                    drop_from_memory(path)
                else:
                    hash_file(path)
                began = time.perf_counter()
                way()
                taken[name].append(time.perf_counter() - began)
        rows += [
            {"from": where, "by": name, "gigabytes": gigabytes, "gb_per_second": gigabytes / statistics.median(values)}
            for name, values in taken.items()
        ]
    return rows


def report(files: list[dict], corpus: dict, hashing: list[dict]) -> str:
    """The tables."""
    lines = [
        f"Small files, one worker; the goal is {GOAL} a second and core for metadata:\n",
        "| file | bytes | files | files/s | per processor second (parent and worker) | metadata alone | hash alone |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {row['files']} | {row['bytes']:,d} | {row['count']} | {row['per_second']:.0f} | {row['per_cpu_second']:.0f} "
            f"| {row['metadata_per_cpu_second']:.0f} | {row['hashes_per_cpu_second']:,.0f} |"
            for row in files
        ),
        f"\n`surgrec index` of {corpus['count']:,d} files of 128 x 96, 2 s, on all cores: {corpus['seconds']:.1f} s "
        f"({corpus['count'] / corpus['seconds']:.0f} a second, the start of the processes included); once more, with nothing left to do: "
        f"{corpus['seconds_again']:.1f} s; peak memory of the parent {corpus['peak_megabytes']:.0f} MB.\n",
        f"Reading a file of {hashing[0]['gigabytes']:.2f} GB, medians of alternating turns, GB/s:\n",
        "| from | " + " | ".join(row["by"] for row in hashing if row["from"] == "memory") + " |",
        "|---" * 5 + "|",
        *(
            f"| {where} | "
            + " | ".join(f"{row['gb_per_second']:.2f}" for row in hashing if row["from"] == where)
            + " |"
            for where in ("memory", "disk")
        ),
    ]
    return "\n".join(lines)


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="small files of each kind")
    parser.add_argument("--corpus", type=int, default=CORPUS, help="files of the corpus")
    parser.add_argument(
        "--large-seconds", type=int, default=120, help="length of the uncompressed video, 8.6 MB a second"
    )
    parser.add_argument("--repeats", type=int, default=5, help="medians of hashing are over so many")
    parser.add_argument("--folder", type=Path, help="where to generate (default: the system's temporary folder)")
    parser.add_argument("--note", default="", help="a remark for the result, such as what else ran")
    parser.add_argument("--out", type=Path, help="folder for index_DATE.md and .json")
    options = parser.parse_args()
    files = []
    for name in SMALL:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            files.append(measure_files(Path(folder), name, options.count))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        corpus = measure_corpus(Path(folder), options.corpus)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        hashing = measure_hashing(Path(folder), options.large_seconds, options.repeats)
    date = datetime.date.today().isoformat()
    versions = f"Python {platform.python_version()}, PyAV {av.__version__}"
    head = f"{date}, {os.cpu_count()} cores, {platform.machine()}, {versions}. {options.note}".strip()
    text = report(files, corpus, hashing)
    print(f"{head}\n\n{text}")
    if options.out:
        page = f"# Indexing\n\n{head}\n\n{text}\n\n`python benchmarks/index.py`\n"
        result = {"about": head, "files": files, "corpus": corpus, "hashing": hashing}
        write_result(options.out / f"index_{date}", page, result)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
