"""A tiny corpus on disk, for tests that start from a manifest."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from tests.data.conftest import VIDEO_SECONDS, write_video

SOURCES = {"large": 3, "small": 1}  # name to number of videos
HOURS = {source: count * VIDEO_SECONDS / 3600 for source, count in SOURCES.items()}


def write_corpus(folder: Path) -> Path:
    """Write four videos of four seconds, of two sources, and their manifest; returns its path."""
    tables = []
    for source, count in SOURCES.items():
        (folder / source).mkdir(parents=True)
        for number in range(count):
            write_video(folder / source / f"patient{number}.mp4", 7 * len(tables) + number, width=96, height=64)
        tables.append(scan(folder / source, Card(source, "other"), num_workers=0).rows)
    Manifest(pa.concat_tables(tables)).write(folder / "manifest.parquet")
    return folder / "manifest.parquet"


def write_labels(manifest: Path) -> Path:
    """Two phases in every video of a corpus, in a CSV file beside its manifest; returns its path."""
    names = Manifest.read([manifest]).video_ids
    lines = [
        f"{name},{time},{phase}" for name in names for time, phase in ((0, "first"), (VIDEO_SECONDS / 2, "second"))
    ]
    file = manifest.with_name("labels.csv")
    file.write_text("\n".join(("video_id,time_seconds,phase", *lines)) + "\n")
    return file
