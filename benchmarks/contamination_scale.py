"""What comparing a whole corpus with all test sets costs, on generated fingerprints.

    python benchmarks/contamination_scale.py --out benchmarks/results

At scale 1: 10,535 videos of together 214.5 million frames at 25 a second (2,383 hours), against 100 hours of test material, which is
about what the 16 test sets hold. Fingerprints are mixtures of those of rendered surgery, with noise, so that they crowd as real ones do;
240 test videos show 8, 30 or 300 seconds of the corpus, with so much noise that the
cosine is 0.9 (a re-encoded copy) or 0.7 (a cropped one). The proposals are timed
(`propose` in surgrec/corpus/proposals.py); what deciding on one costs is printed by benchmarks/contamination.py. Each scale runs in a
process of its own, whose peak memory is told,
with the corpus's vectors in a file, as an audit has them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from report import write_result

from surgrec.corpus.fingerprint import DIMENSIONS, HOP_SECONDS, WINDOWS, as_floats, fingerprint
from surgrec.corpus.proposals import Moments, propose
from surgrec.corpus.survey import survey_video
from surgrec.synthetic.corpus import synthesize

VIDEOS, FRAMES, FPS, TEST_HOURS = 10_535, 214.5e6, 25.0, 100.0
PLANTED = [(seconds, cosine) for seconds in (8.0, 30.0, 300.0) for cosine in (0.9, 0.7) for _ in range(40)]
_POOL = 1 << 16  # vectors


def seeds_of(folder: Path) -> np.ndarray:
    """Vectors (n, 6, 99) of rendered surgery, which is rendered where it is not there."""
    from surgrec.corpus.manifest import Manifest

    manifest = Manifest.read([synthesize(folder, "quickstart", 0, os.cpu_count() or 1)])
    found = []
    for row in range(len(manifest)):
        survey = survey_video(manifest.path_of(row), float(manifest.table["duration_seconds"][row].as_py()))
        found.append(fingerprint(survey).vectors)
    return np.concatenate(found)


def fill(vectors: np.ndarray, seeds: np.ndarray, random: np.random.Generator) -> None:
    """Every vector: one of a pool, each of which is one of the seeds with half of another added, and noise of its own."""
    pool = 0.75 * seeds[random.integers(0, len(seeds), _POOL)].astype(np.float32)
    pool += 0.5 * random.choice([-1.0, 1.0], (_POOL, 1, 1)) * seeds[random.integers(0, len(seeds), _POOL)]
    pool = np.clip(np.rint(pool), -100, 100).astype(np.int8)
    noise = np.clip(np.rint(random.normal(0, 12, (_POOL, *vectors.shape[1:]))), -27, 27).astype(np.int8)
    for start in range(0, len(vectors), _POOL):
        count = min(_POOL, len(vectors) - start)
        vectors[start : start + count] = (
            pool[random.integers(0, _POOL, count)] + noise[random.integers(0, _POOL, count)]
        )


def moments(vectors: np.ndarray, num_videos: int) -> Moments:
    """Videos of equal length, one after another."""
    video = (np.arange(len(vectors)) * num_videos // len(vectors)).astype(np.int32)
    first = np.searchsorted(video, np.arange(num_videos))
    return Moments(vectors, ((np.arange(len(vectors)) - first[video]) * HOP_SECONDS).astype(np.float32), video)


def _with_children(pid: int) -> list[int]:
    """The process and all that it has started."""
    try:
        told = " ".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:  # it has gone
        return []
    return [pid, *(other for child in told.split() for other in _with_children(int(child)))]


def _own_gigabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1e6


class PeakMemory:
    """The most memory of this process's own and its workers', looked at ten times a second. Pages of mapped files are not in it, as
    `ru_maxrss` has them: the system takes them back when it needs them."""

    def __enter__(self) -> PeakMemory:
        self.gigabytes, self._is_over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.gigabytes = max(self.gigabytes, sum(map(_own_gigabytes, _with_children(os.getpid()))))
            if self._is_over.wait(0.1):
                return


def measure(scale: float, tests: float, seeds_file: Path, folder: Path) -> dict[str, float]:
    """Time and memory at a scale; runs in a process of its own."""
    seeds, random = np.load(seeds_file, mmap_mode="r"), np.random.default_rng(0)
    shape = (round(FRAMES / FPS / HOP_SECONDS * scale), len(WINDOWS), DIMENSIONS)
    path = folder / "vectors.bin"
    stored = np.memmap(path, np.int8, "w+", shape=shape)
    fill(stored, seeds, random)
    mine = np.empty((round(TEST_HOURS * 3600 / HOP_SECONDS * tests), *shape[1:]), np.int8)
    fill(mine, seeds, random)
    corpus, test = moments(stored, max(1, round(VIDEOS * scale))), moments(mine, max(len(PLANTED), round(400 * tests)))
    truth = {}
    for number, (seconds, cosine) in enumerate(PLANTED):
        at, stop = (int(np.searchsorted(test.video, video)) for video in (number, number + 1))
        video = int(random.integers(0, corpus.video[-1] + 1))
        first, last = (int(np.searchsorted(corpus.video, one)) for one in (video, video + 1))
        length = min(round(seconds / HOP_SECONDS), stop - at, last - first)
        origin = int(random.integers(first, last - length + 1))
        copied = as_floats(stored[origin : origin + length]) * 256
        sigma = 256 * (1 / cosine**2 - 1) ** 0.5 / copied.shape[-1] ** 0.5
        mine[at : at + length] = np.clip(np.rint(copied + random.normal(0, sigma, copied.shape)), -127, 127).astype(
            np.int8
        )
        truth[number] = video
    stored.flush()
    times, videos = corpus.times_seconds, corpus.video
    del stored, corpus  # or its pages would be counted twice
    mapped = Moments(np.memmap(path, np.int8, "r", shape=shape), times, videos)
    start = time.perf_counter()
    with PeakMemory() as peak:
        candidates = propose(test, mapped, os.cpu_count() or 1)
    seconds = time.perf_counter() - start
    found = {(one.first, one.second) for one in candidates}
    likeness = float(np.median(np.sum(as_floats(mine[:1000, 0]) * as_floats(mapped.vectors[:1000, 0]), axis=-1)))
    proposed: dict[str, list[bool]] = {}
    for number, video in truth.items():
        proposed.setdefault("{:g} s, {:g}".format(*PLANTED[number]), []).append((number, video) in found)
    return {
        "scale": scale, "test_scale": tests, "corpus_moments": shape[0], "test_moments": len(mine), "seconds": seconds,
        "peak_gigabytes": peak.gigabytes, "candidates": len(candidates),
        "proposed": {kind: sum(each) / len(each) for kind, each in proposed.items()}, "unrelated_cosine": likeness,
    }  # fmt: skip


def table(results: list[dict[str, float]]) -> str:
    lines = [
        "| corpus | tests | corpus hours | test hours | minutes | peak GB of its own | candidates | copies proposed: "
        + " | ".join(results[0]["proposed"])
        + " |",
        "|" + "---|" * (7 + len(results[0]["proposed"])),
    ]
    lines += [
        f"| {r['scale']:g}x | {r['test_scale']:g}x | {r['corpus_moments'] * HOP_SECONDS / 3600:,.0f} "
        f"| {r['test_moments'] * HOP_SECONDS / 3600:,.0f} | {r['seconds'] / 60:.2f} | {r['peak_gigabytes']:.1f} "
        f"| {r['candidates']:,.0f} | {' | '.join(format(share, '.0%') for share in r['proposed'].values())} |"
        for r in results
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.01, 0.1, 1.0], help="of the corpus")
    parser.add_argument(
        "--test-scales", type=float, nargs="+", help="of the test sets, one for each scale (default: 1)"
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        help="folder of the rendered surgery, made where there is none (default: a temporary one)",
    )
    parser.add_argument(
        "--scratch", type=Path, help="folder for the vectors: 10 GB at scale 1 (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, help="folder for contamination_scale_DATE.json and .md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(
            json.dumps(measure(*json.loads(options.worker), *(options.scratch / name for name in ("seeds.npy", "."))))
        )
        return
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        np.save(scratch / "seeds.npy", seeds_of(options.corpus or scratch / "corpus"))
        results = []
        for scale, tests in zip(options.scales, options.test_scales or [1.0] * len(options.scales), strict=True):
            command = [sys.executable, __file__, "--worker", json.dumps([scale, tests]), "--scratch", folder]
            answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            results.append(json.loads(answer.splitlines()[-1]))
            print(table(results[-1:]), flush=True)
    report = f"{datetime.date.today()}, {os.cpu_count()} CPU cores"
    print(f"{report}\n\n{table(results)}")
    if options.out:
        stem = options.out / f"contamination_scale_{datetime.date.today()}"
        text = f"# Cost of the contamination audit\n\n{report}\n\n{table(results)}"
        write_result(stem, text, {"run": report, "rows": results})


if __name__ == "__main__":
    main()
