"""Find what is not worth training on: black, frozen, out of the body, blurred, and so on; and what bars surround the picture.

    python -m surgrec.filter --manifest manifest.parquet
    python -m surgrec.filter --manifest manifest.parquet --filters mine.yaml    # other thresholds; nothing is decoded again
    python -m surgrec.filter --manifest manifest.parquet --shard 3/16           # one of 16 jobs of a cluster

In: a manifest. Out: the manifest with `usable` and `content_box` filled in, and beside it every finding with its reason and the surveys
they were computed from. The same command continues after Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import progress, run_command
from surgrec.core.errors import UserError
from surgrec.core.shard import read_shard
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.corpus.filters.videos import Outcome
    from surgrec.corpus.manifest import Manifest

_SHOWN_FAILURES = 20


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec filter`; returns the exit status."""
    options = _parser().parse_args(arguments)
    part, num_parts = read_shard(options.shard)

    from surgrec.core.atomic import remove_old_leftovers
    from surgrec.corpus.filters.thresholds import load_thresholds
    from surgrec.corpus.manifest import Manifest
    from surgrec.corpus.surveys import default_surveys, survey_path

    out = options.out or options.manifest
    if options.out is not None:
        _refuse_replacing(out)
    thresholds = load_thresholds(options.filters)
    manifest = Manifest.read([options.manifest])
    surveys = options.surveys or default_surveys(options.manifest)
    remove_old_leftovers(surveys)
    mine = [row for row in range(len(manifest)) if _part_of(str(manifest.video_ids[row]), num_parts) == part]
    outcomes = _filter(manifest, mine, surveys, thresholds, options.workers)
    others = [row for row in range(len(manifest)) if row not in set(mine)]
    if num_left := sum(not survey_path(surveys, str(manifest.video_ids[row])).is_file() for row in others):
        print(
            f"{counted(len(mine), 'video')} looked at; {num_left} left to other shards, the last of which writes the manifest"
        )
        return 0
    outcomes |= _filter(manifest, others, surveys, thresholds, options.workers)

    missing = {name for name, outcome in outcomes.items() if outcome.failure and outcome.failure.reason == "missing"}
    _print_failures(outcomes)
    if missing == set(outcomes):
        raise UserError(
            f"none of {counted(len(outcomes), 'video')} is where {options.manifest} says; are their disks mounted?"
        )
    judged = {name: outcome for name, outcome in outcomes.items() if name not in missing}
    _finish(options.manifest, out, manifest, judged)
    return 0


def _refuse_replacing(out: Path) -> None:
    """Raise `UserError` where `out` is anything but a manifest, of an earlier run say."""
    from surgrec.corpus.manifest import Manifest, ManifestError

    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the name of a file, such as {out / 'manifest.parquet'}")
    if not out.exists():
        return
    try:
        Manifest.read([out], as_is=True)
    except ManifestError:
        raise UserError(f"--out {out} would replace a file that is no manifest; give it another name") from None


def _finish(path: Path, out: Path, before: Manifest, judged: dict[str, Outcome]) -> None:
    """Write the manifest as it is now, with what was found in bytes that it still lists: rows may have come, changed and gone while
    videos were looked at."""
    import pyarrow.parquet as pq

    from surgrec.core.atomic import atomic_path, remove_leftovers
    from surgrec.core.lock import only_writer
    from surgrec.corpus.filters.table import filtered_manifest, findings_table
    from surgrec.corpus.ledger import Ledger, follow
    from surgrec.corpus.manifest import Manifest
    from surgrec.corpus.verdict import carry

    findings_path = out.with_name(f"{out.stem}.filters.parquet")
    looked_at = set(zip(before.video_ids.tolist(), before.column("sha256"), strict=True))
    with only_writer(out):
        remove_leftovers(out)
        remove_leftovers(findings_path)
        if out.resolve() != path.resolve():
            follow(out, [path])
        now = Manifest(Ledger.of_manifest(out).without_removed(Manifest.read([path]).table))
        rows = zip(now.video_ids.tolist(), now.column("sha256"), strict=True)
        judged = {row[0]: judged[row[0]] for row in rows if row in looked_at and row[0] in judged}
        after, findings = Manifest(filtered_manifest(now.table, judged)), findings_table(judged)
        is_done = _holds(out, after.table) and _holds(findings_path, findings)
        if not is_done:
            with atomic_path(findings_path) as temporary:
                pq.write_table(findings, temporary, compression="zstd")
            after.write(out)
        if out.resolve() != path.resolve():
            carry([path], out)
    _print_summary(after, judged)
    print(f"nothing is left to do: {out} is up to date" if is_done else f"wrote {out} and {findings_path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec filter",
        description="Find what is not worth training on, with a reason each, and the bars around the picture; write both "
        "to the manifest. Run it again to continue, or with other thresholds: no video is decoded twice.",
        epilog="example: surgrec filter --manifest manifest.parquet",
    )
    add = parser.add_argument
    add(
        "--manifest",
        type=Path,
        required=True,
        metavar="FILE",
        help="manifest of the videos, written by `surgrec index`",
    )
    add("--out", type=Path, metavar="FILE", help="manifest to write (default: the same file, replaced as a whole)")
    add("--filters", type=Path, metavar="YAML", help="thresholds that differ from configs/filters/default.yaml")
    add(
        "--surveys",
        type=Path,
        metavar="DIR",
        help="folder of the surveys (default: MANIFEST.surveys beside the manifest); they hold small pictures of patients",
    )
    add(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="decoding processes (default: all cores); with 0 a crash of the decoder library ends the command",
    )
    add(
        "--shard",
        default="0/1",
        metavar="I/N",
        help="look only at part I of N of the videos, counted from 0; the shard that finds all surveys there writes the manifest",
    )
    return parser


def _part_of(video_id: str, num_parts: int) -> int:
    """Which shard a video belongs to, whatever else the manifest lists."""
    return int.from_bytes(hashlib.blake2b(video_id.encode(), digest_size=8).digest(), "big") % num_parts


def _filter(manifest: Manifest, rows: list[int], surveys: Path, thresholds, workers: int) -> dict[str, Outcome]:  # type: ignore[no-untyped-def]
    """Outcomes by `video_id`; the longest videos first, so that all processes end together."""
    from surgrec.corpus.filters.videos import filter_videos
    from surgrec.corpus.surveys import survey_jobs

    duration_seconds = manifest.column("duration_seconds")
    rows = sorted(rows, key=lambda row: -duration_seconds[row])
    jobs = survey_jobs(manifest, rows, surveys)
    outcomes = {}
    with progress("looking at videos", len(jobs)) as advance:
        for index, outcome in filter_videos(jobs, thresholds, workers):
            outcomes[str(manifest.video_ids[rows[index]])] = outcome
            advance()
    return outcomes


def _holds(path: Path, table) -> bool:  # type: ignore[no-untyped-def]
    """Whether a Parquet file holds this very table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return path.is_file() and pq.read_table(path, partitioning=None).equals(table)
    except (pa.ArrowInvalid, OSError):
        return False


# -- what the user is told


def _print_failures(outcomes: Mapping[str, Outcome]) -> None:
    failed = [(name, outcome.failure) for name, outcome in sorted(outcomes.items()) if outcome.failure is not None]
    for name, failure in failed[:_SHOWN_FAILURES]:
        kept = "; its row stays as it was" if failure.reason == "missing" else ""
        print(f"could not decode {name}: {failure.reason} ({failure.detail}){kept}", file=sys.stderr)
    if len(failed) > _SHOWN_FAILURES:
        print(f"... and {len(failed) - _SHOWN_FAILURES} more", file=sys.stderr)


def _print_summary(manifest: Manifest, outcomes: Mapping[str, Outcome]) -> None:
    """Hours of each source, how much of them is usable, and what each reason takes; regions by the number of videos they are in."""
    from surgrec.corpus.filters.find import OF_REGIONS, OF_TIME

    seconds: dict[str, float] = defaultdict(float)
    usable: dict[str, float] = defaultdict(float)
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    marked: dict[str, Counter[str]] = defaultdict(Counter)
    empty: Counter[str] = Counter()
    for row, name in enumerate(manifest.video_ids.tolist()):
        if (outcome := outcomes.get(name)) is None:
            continue
        source = str(manifest.sources[row])
        seconds[source] += float(manifest.column("duration_seconds")[row])
        usable[source] += sum(end - start for start, end in outcome.usable)
        empty[source] += not outcome.usable
        for finding in outcome.findings:
            if finding.reason in OF_TIME:
                taken[source][finding.reason] += finding.end_seconds - finding.start_seconds  # type: ignore[assignment]
        for reason in {finding.reason for finding in outcome.findings} & set(OF_REGIONS):
            marked[source][reason] += 1
    print(
        f"{counted(len(outcomes), 'video')}, {sum(outcome.is_new for outcome in outcomes.values())} of them looked at now"
    )
    for source in sorted(seconds):
        total = seconds[source]
        reasons = [f"{reason} {taken[source][reason] / total:.1%}" for reason in OF_TIME if taken[source][reason]]
        reasons += [
            f"{reason} in {counted(marked[source][reason], 'video')}" for reason in OF_REGIONS if marked[source][reason]
        ]
        nothing = [f"nothing usable in {counted(empty[source], 'video')}"] if empty[source] else []
        told = ", ".join(reasons + nothing) or "nothing found"
        print(
            f"  {source}: {usable[source] / 3600:.3f} of {total / 3600:.3f} hours usable ({usable[source] / total:.1%}); {told}"
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
