"""How many planted copies the audit of contamination finds, and how many it invents.

    surgrec synthesize --out corpus --scale large
    python benchmarks/contamination.py --corpus corpus --copies 1100 --out benchmarks/results

Videos of the corpus are drawn, changed, encoded anew and put in a test set of their own; then the audit compares that set with the whole
corpus. Each copy has one true origin; whatever else is reported is a false alarm. Innocent pairs are pairs of a copy and another video of
the same procedure. Copies that are there already are kept, so that an interrupted run continues. `--draw 1` takes other videos and other
changes: what a rule was chosen on says little of the rule.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from report import write_result

from surgrec.core.console import progress
from surgrec.corpus.contamination import ContaminationAudit, TestSet, audit_contamination
from surgrec.corpus.isolated import map_isolated
from surgrec.corpus.manifest import SCHEMA, Manifest
from surgrec.corpus.surveys import default_surveys
from surgrec.synthetic.disguises import DISGUISES, read_frames, write_copy
from surgrec.video.probe import probe

MIN_SECONDS = 7.0  # so that an excerpt of five is one


# -- files


def make_copy(job: tuple[Path, Path, str, int]) -> None:
    """One video; runs in a worker process."""
    source, copy, name, seed = job
    if not copy.is_file():
        write_copy(*read_frames(source), copy, name, seed)


def plant(
    corpus: Manifest, count: int, draw: int, folder: Path, workers: int
) -> tuple[Manifest, dict[str, tuple[str, str]]]:
    """(manifest of the copies, copy's id -> (transformation, origin's id))."""
    durations = corpus.column("duration_seconds")
    random = np.random.default_rng(draw)
    long_enough = np.flatnonzero(durations >= MIN_SECONDS)
    origins = random.choice(long_enough, count, replace=count > len(long_enough))
    jobs, truth, rows = [], {}, []
    for number, row in enumerate(origins.tolist()):
        name = list(DISGUISES)[number % len(DISGUISES)]
        copy = folder / f"copy_{number:05d}.mp4"
        jobs.append((corpus.path_of(row), copy, name, draw * count + number))
        truth[f"copy-{number:05d}"] = (name, str(corpus.video_ids[row]))
    with progress("making copies", len(jobs)) as advance:
        for _, result in map_isolated(make_copy, jobs, workers):
            assert result is None, result
            advance()
    for number, ((_, copy, _, _), row) in enumerate(zip(jobs, origins.tolist(), strict=True)):
        info = probe(copy)
        rows.append(
            corpus.table.slice(row, 1).to_pylist()[0]
            | {
                "video_id": f"copy-{number:05d}", "source": "copies", "group_id": f"copy-{number:05d}", "root": str(folder),
                "path": copy.name, "sha256": f"copy {number}", "size_bytes": copy.stat().st_size,
                "modified_nanoseconds": None, "split": None, "num_frames": info.num_frames,
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
    for name in DISGUISES:
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
    parser.add_argument("--draw", type=int, default=0, help="another number draws other videos and other changes")
    parser.add_argument("--scratch", type=Path, help="where copies and surveys go (default: beside the corpus)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="folder for contamination_DATE.json and .md")
    options = parser.parse_args()
    suffix = f"_draw{options.draw}" if options.draw else ""
    scratch = options.scratch or options.corpus.with_name(f"{options.corpus.name}.copies{suffix}")
    corpus = Manifest.read([options.corpus / "manifest.parquet"])
    copies, truth = plant(corpus, options.copies, options.draw, scratch / "videos", options.workers)
    test = TestSet("copies", copies, scratch / "copies.surveys", tuple(range(len(copies))))
    start = time.perf_counter()
    surveys = default_surveys(options.corpus / "manifest.parquet")
    audit = audit_contamination(corpus, surveys, [test], {}, options.workers, progress)
    seconds = time.perf_counter() - start
    took = f"{datetime.date.today()}, {os.cpu_count()} CPU cores; the audit, with surveys that were missing, took {seconds:.0f} s"
    text, numbers = report_of(audit, corpus, copies, truth)
    print(f"{took}\n\n{text}")
    if options.out:
        stem = options.out / f"contamination{suffix}_{datetime.date.today()}"
        write_result(stem, f"# Planted copies\n\n{took}\n\n{text}", {"run": took, **numbers})


if __name__ == "__main__":
    main()
