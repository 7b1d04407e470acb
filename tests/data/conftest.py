"""A small corpus of real video files with a manifest made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest

from surgrec.corpus.manifest import SCHEMA, Manifest

FPS = 10
SOURCES = {"alpha": (6, 64, 48), "beta": (3, 96, 64), "gamma": (2, 48, 80)}  # videos, width, height
VIDEO_SECONDS = 4


def manifest_of(videos: Sequence[dict]) -> Manifest:
    """A manifest of rows that give `video_id`, `source`, `usable` and, where they matter, `root` and `path`."""
    filler = {"domain": "other", "procedure": None, "root": "/nowhere", "sha256": "0" * 64, "codec": "h264"}
    numbers = {"num_frames": 40, "duration_seconds": 4.0, "fps": 10.0, "width": 64, "height": 48, "schema_version": 1}
    rows = []
    for video in videos:
        row = {**filler, **numbers, "group_id": video["video_id"], "path": video["video_id"] + ".mp4", **video}
        row["usable"] = [{"start_seconds": start, "end_seconds": end} for start, end in row["usable"]]
        rows.append({name: row.get(name) for name in SCHEMA.names})
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA))


def write_video(path: Path, number: int, width: int, height: int) -> None:
    """An mp4 whose colour tells the video and whose brightness tells the frame."""
    rows, columns = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", Fraction(1, FPS)
        for index in range(FPS * VIDEO_SECONDS):
            frame = np.stack([rows * 2 + index, columns + 20 * number, np.full_like(rows, 5 * index)], axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray((frame % 256).astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Eleven videos of four seconds in three sources of different frame sizes."""
    root = tmp_path_factory.mktemp("corpus")
    videos = []
    for source, (count, width, height) in SOURCES.items():
        for index in range(count):
            video_id = f"{source}_{index:02d}"
            write_video(root / f"{video_id}.mp4", len(videos), width, height)
            videos.append(
                {"video_id": video_id, "source": source, "root": str(root), "usable": [(0.0, float(VIDEO_SECONDS))]}
            )
    return manifest_of(videos)


@pytest.fixture
def with_broken(corpus: Manifest, tmp_path: Path) -> Callable[[dict[str, str]], Manifest]:
    """A function from {video_id: "corrupt" | "missing"} to the corpus with those videos broken."""

    def broken(which: dict[str, str]) -> Manifest:
        rows = corpus.table.to_pylist()
        for row in rows:
            row["usable"] = [(interval["start_seconds"], interval["end_seconds"]) for interval in row["usable"]]
            if row["video_id"] in which:
                row["root"] = str(tmp_path)
                if which[row["video_id"]] == "corrupt":
                    (tmp_path / row["path"]).write_bytes(b"not a video at all" * 100)
        return manifest_of(rows)

    return broken
