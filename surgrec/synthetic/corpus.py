"""A whole embedded corpus on disk: videos, cards, manifest, labels; continued where it was left.

In: a folder, a scale, a seed. Out: `manifest.parquet` and what it lists. It is its own file because `surgrec synthesize` and
`surgrec train +experiment=quickstart` both ask for the corpus, and neither should know how it is made.

    DIR/corpus.json                            scale, seed, version: a folder holds one corpus
    DIR/videos/SOURCE/case_000/video_00.mp4    written atomically: a file that is there is whole
    DIR/cards/SOURCE.yaml
    DIR/labels/VIDEO_ID.csv                    one line per frame
    DIR/manifest.parquet                       written last: where it is, the rest is there
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import signal
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from surgrec.core.atomic import write_json, write_text
from surgrec.core.console import progress
from surgrec.core.errors import UserError
from surgrec.corpus.card import Card, load_card
from surgrec.corpus.isolated import Failed, map_isolated
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from surgrec.synthetic.plan import GENERATOR, Source, VideoPlan, event_at, make_plan, segment_at, sources_of
from surgrec.synthetic.write import make_theatre, write_video

LABEL_COLUMNS = ("frame", "time_seconds", "phase", "instruments", "case_id", "event")
_MANY_FILES = 200  # below it, starting processes takes longer than reading the files


def synthesize(out: Path, scale: str, seed: int, num_workers: int) -> Path:
    """Write what is missing of the corpus (`scale`, `seed`) in `out`; returns the path of its manifest.

    `num_workers` processes render; up to 1 renders in this one. The files do not depend on it. Raises `UserError` for an
    unknown scale or a folder that holds something else; what Ctrl-C interrupts, the next call continues.
    """
    out = Path(out)
    plans = make_plan(scale, seed)
    claim(out, scale, seed)
    if is_finished(out, plans):
        return out / "manifest.parquet"
    _render(out, plans, num_workers)
    for source in sources_of(plans):
        _write_card(out, source)
    tables = [_scan_source(out, source.name, plans, num_workers) for source in sources_of(plans)]
    _write_labels(out, plans, pa.concat_tables(tables))
    Manifest(pa.concat_tables(tables)).write(out / "manifest.parquet")
    return out / "manifest.parquet"


def claim(out: Path, scale: str, seed: int) -> None:
    """Make `out` the folder of this corpus, or raise `UserError` where it belongs to something else."""
    marker = out / "corpus.json"
    wanted = {"scale": scale, "seed": seed, "generator": GENERATOR}
    if marker.is_file():
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{marker} is damaged; choose another --out or delete {out}") from None
        if found != wanted:
            raise UserError(f"{out} holds the corpus {found}, not {wanted}; choose another --out or delete it")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an embedded corpus; choose an empty or new folder for --out")
    write_json(marker, wanted)


def is_finished(out: Path, plans: list[VideoPlan]) -> bool:
    """Whether every file of the corpus is there and the manifest tells where."""
    if not (out / "manifest.parquet").is_file():
        return False
    manifest = Manifest.read([out / "manifest.parquet"])
    listed = {manifest.path_of(row) for row in range(len(manifest))}
    wanted = {video_path(out, plan).resolve() for plan in plans}
    companions = [out / "cards" / f"{source.name}.yaml" for source in sources_of(plans)]
    companions += [label_path(out, str(video_id)) for video_id in manifest.video_ids]
    return listed == wanted and all(path.is_file() for path in [*wanted, *companions])


def video_path(out: Path, plan: VideoPlan) -> Path:
    """Where the video of a plan lies."""
    return out / "videos" / plan.source.name / plan.path


def label_path(out: Path, video_id: str) -> Path:
    """Where the labels of a video lie."""
    return out / "labels" / f"{video_id}.csv"


# -- pictures


@dataclass(frozen=True)
class _Job:
    """The missing videos of one case: they share its anatomy, so one process renders them."""

    out: Path
    plans: tuple[VideoPlan, ...]

    @property
    def cost(self) -> float:
        """Pixels to render."""
        return sum(len(plan.ticks) * plan.source.width * plan.source.height for plan in self.plans)


def _render(out: Path, plans: list[VideoPlan], num_workers: int) -> None:
    """Render the videos that are not there, the most expensive cases first, so that all processes end together."""
    cases: dict[tuple[int, int], list[VideoPlan]] = defaultdict(list)
    for plan in plans:
        if not video_path(out, plan).is_file():
            cases[plan.source_index, plan.case].append(plan)
    jobs = sorted((_Job(out, tuple(case)) for case in cases.values()), key=lambda job: -job.cost)
    num_missing = sum(len(job.plans) for job in jobs)
    with progress("synthesising videos", len(plans), len(plans) - num_missing) as advance:
        for index, result in map_isolated(_render_case, jobs, num_workers if num_workers > 1 else 0):
            if isinstance(result, Failed):
                raise RuntimeError(f"rendering failed: {result.as_error().detail}; run the command again")
            advance(len(jobs[index].plans))


def _render_case(job: _Job) -> None:
    """Render the videos of a case; runs in a worker process."""
    if multiprocessing.parent_process() is not None:  # let an ended worker remove its temporary file
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    theatre = make_theatre(job.plans[0])
    for plan in job.plans:
        write_video(plan, theatre, video_path(job.out, plan))


# -- tables


def _write_card(out: Path, source: Source) -> None:
    card: dict[str, Any] = {
        "name": source.name,
        "domain": source.domain,
        "procedure": source.procedure,
        "licence": "Apache-2.0",
        "group_pattern": r"(case_\d+)/",
        "notes": "Procedurally rendered by `surgrec synthesize`: no patient, no clinical meaning.",
    }
    write_text(out / "cards" / f"{source.name}.yaml", yaml.safe_dump(card, sort_keys=False))


def _scan_source(out: Path, name: str, plans: list[VideoPlan], num_workers: int) -> pa.Table:
    """Rows of one source. Raises `UserError` where a file on disk is not what was written."""
    card: Card = load_card(out / "cards" / f"{name}.yaml")
    num_files = sum(plan.source.name == name for plan in plans)
    workers = num_workers if num_workers > 1 and num_files > _MANY_FILES else 0
    result = scan(out / "videos" / name, card, workers)
    if result.refusals:
        refusal = result.refusals[0]
        raise UserError(
            f"{out / 'videos' / name / refusal.path} is damaged ({refusal.detail}); delete it and run again"
        )
    if len(result.rows) != num_files:
        raise UserError(
            f"{out / 'videos' / name} holds videos that do not belong to the corpus; delete it and run again"
        )
    return result.rows


def _write_labels(out: Path, plans: list[VideoPlan], rows: pa.Table) -> None:
    """One CSV per video, named by its `video_id`; `case_id` is the manifest's `group_id`."""
    plan_of = {(plan.source.name, plan.path.as_posix()): plan for plan in plans}
    for row in rows.select(["source", "path", "video_id", "group_id"]).to_pylist():
        plan = plan_of[row["source"], row["path"]]
        write_text(label_path(out, row["video_id"]), labels(plan, row["group_id"]))


def labels(plan: VideoPlan, case_id: str) -> str:
    """Per-frame labels as CSV with the columns `LABEL_COLUMNS`; times are those of the frames in the file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(LABEL_COLUMNS)
    for frame, seconds in enumerate(plan.times_seconds):
        phase = plan.segments[segment_at(plan, float(seconds))].phase
        event = event_at(plan, float(seconds))
        instruments = "" if event in ("black", "out_of_body") else ";".join(phase.instruments)
        table.writerow((frame, f"{seconds:.6f}", phase.name, instruments, case_id, event))
    return text.getvalue()
