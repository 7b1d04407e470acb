"""Findings as a table, and what they change in a manifest.

In: outcomes of `filter_videos`. Out: Arrow tables. It is its own file because the columns are a contract with reports and users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from surgrec.corpus.filters.videos import Outcome
from surgrec.corpus.manifest import SCHEMA

_EDGES = ("left", "top", "right", "bottom")
FINDINGS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("start_seconds", pa.float64(), nullable=False),
        pa.field("end_seconds", pa.float64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        # Shares of the upright picture, 0 to 1; null where the whole picture is meant.
        pa.field("region", pa.struct([pa.field(edge, pa.float64()) for edge in _EDGES])),
    ]
)


def findings_table(outcomes: Mapping[str, Outcome]) -> pa.Table:
    """All findings, by video and time."""
    rows = [
        {
            "video_id": video_id,
            "start_seconds": finding.start_seconds,
            "end_seconds": finding.end_seconds,
            "reason": finding.reason,
            "score": finding.score,
            "region": None if finding.region is None else {edge: getattr(finding.region, edge) for edge in _EDGES},
        }
        for video_id in sorted(outcomes)
        for finding in outcomes[video_id].findings
    ]
    return pa.Table.from_pylist(rows, schema=FINDINGS)


def filtered_manifest(table: pa.Table, outcomes: Mapping[str, Outcome]) -> pa.Table:
    """The manifest with `usable` and `content_box` of the videos in `outcomes`; other rows stay as they are."""
    rows = table.select(["video_id", "width", "height", "usable", "content_box"]).to_pylist()
    usable, boxes = [], []
    for row in rows:
        outcome = outcomes.get(row["video_id"])
        if outcome is None:
            usable.append(row["usable"])
            boxes.append(row["content_box"])
            continue
        usable.append([{"start_seconds": start, "end_seconds": end} for start, end in outcome.usable])
        boxes.append(_box(outcome, row))
    for name, values in (("usable", usable), ("content_box", boxes)):
        field = SCHEMA.field(name)
        table = table.set_column(table.column_names.index(name), field, pa.array(values, field.type))
    return table


def _box(outcome: Outcome, row: dict[str, Any]) -> dict[str, int] | None:
    """In pixels; null for a video that could not be decoded, or is too small to be cut."""
    if outcome.box is None or min(row["width"], row["height"]) < 2:
        return None
    return outcome.box.even_pixels(row["height"], row["width"])._asdict()
