"""A tiny corpus of real video files, indexed as `surgrec index` does, and a place where runs are started from."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest

from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from surgrec.training.runtime import Runtime, RuntimeSpec
from tests.training.tiny import Runs, Warm, overrides

SOURCES = {"alpha": (3, 96, 72, 10), "beta": (2, 64, 48, 25), "gamma": (1, 72, 96, 5)}  # videos, width, height, fps
VIDEO_SECONDS = 3


def write_video(path: Path, number: int, width: int, height: int, fps: int) -> None:
    """Moving blobs on a texture; every video has its own."""
    random = np.random.default_rng(number)
    texture = random.integers(0, 80, (height, width, 3))
    rows, columns = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "g": str(fps)})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", Fraction(1, fps)
        for index in range(fps * VIDEO_SECONDS):
            seconds = index / fps
            row, column = height * (0.5 + 0.4 * np.sin(seconds + number)), width * (0.5 + 0.4 * np.cos(2 * seconds))
            blob = 150 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (0.02 * width * height))
            frame = np.clip(texture + blob[..., None] * [1.0, 0.6, 0.3 * (number % 3)], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of six videos in three sources of different sizes, rates and lengths."""
    root = tmp_path_factory.mktemp("footage")
    tables = []
    for name, (count, width, height, fps) in SOURCES.items():
        (root / name).mkdir()
        for index in range(count):
            write_video(root / name / f"{index}.mp4", len(tables) * 10 + index, width, height, fps)
        tables.append(scan(root / name, Card(name, "other")).rows)
    Manifest(pa.concat_tables(tables)).write(root / "manifest.parquet")
    return root / "manifest.parquet"


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """One process on the CPU."""
    return Runtime(RuntimeSpec(accelerator="cpu", strategy="single", precision="32-true"))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Where the tests of this folder start processes."""
    server = Warm(tmp_path_factory.mktemp("logs"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def uninterrupted(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run `mae` and a run `jepa` of twelve steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return Runs(folder, lambda variant: warm.run(overrides(variant, footage, folder, variant)))
