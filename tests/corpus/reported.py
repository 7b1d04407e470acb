"""A manifest made by hand with what a filter found of it, and the report on it, for the tests of that report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surgrec.core.console import run_command
from surgrec.corpus.card import shipped_cards
from surgrec.corpus.filters.table import FINDINGS
from surgrec.corpus.report.known import findings_file, read_known
from surgrec.corpus.report.page import as_html
from surgrec.corpus_command import main
from tests.corpus.conftest import NAME_OF_PATIENT
from tests.corpus.pages import Page
from tests.corpus.test_manifest import manifest as manifest_of
from tests.corpus.test_manifest import row


def video(
    number: int, seconds: float = 4.0, usable: Sequence[tuple[float, float]] | None = None, **changes: Any
) -> dict:
    parts = [(0.0, seconds)] if usable is None else usable
    spans = [{"start_seconds": start, "end_seconds": end} for start, end in parts]
    return row(number, duration_seconds=seconds, usable=spans, root=f"/data/{NAME_OF_PATIENT}", **changes)


def written(folder: Path, *rows: dict) -> Path:
    manifest_of(*rows).write(folder / "m.parquet")
    return folder / "m.parquet"


def write_findings(manifest: Path, *found: tuple[str, float, float, str] | tuple[str, float, float, str, dict]) -> None:
    columns = ("video_id", "start_seconds", "end_seconds", "reason", "region")
    rows = [{"score": 0.5, "region": None, **dict(zip(columns, one, strict=False))} for one in found]
    pq.write_table(pa.Table.from_pylist(rows, schema=FINDINGS), findings_file(manifest))


def page_of(manifest: Path, **files: Any) -> Page:
    known, _ = read_known(manifest, shipped_cards(), **files)
    return Page(as_html(known, None))


def report(*arguments: object) -> int:
    return run_command(lambda: main(["report", *map(str, arguments)]))
