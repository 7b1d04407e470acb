"""A released MAE with its decoder, and videos, made once."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from surgrec.hub.load import LoadedModel, load_release
from tests.hub.build import written
from tests.video.make_videos import Coded, write


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 4 frames, 0.2 seconds apart: two time steps of 0.4 seconds, 4 x 4 cells."""
    return written(tmp_path_factory.mktemp("hub") / "release", "mae")


@pytest.fixture(scope="session")
def model(release: Path) -> LoadedModel:
    return load_release(release)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Path of a 25 fps video of so many seconds; every frame shows its number."""
    folder = tmp_path_factory.mktemp("videos")
    made: dict[float, Path] = {}

    def path_of(seconds: float) -> Path:
        if seconds not in made:
            times = [Fraction(i, 25) for i in range(round(seconds * 25))]
            made[seconds] = write(folder, Coded(f"seconds_{seconds}.mp4", times=times))
        return made[seconds]

    return path_of
