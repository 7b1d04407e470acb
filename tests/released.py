"""Fixtures of what reads a release and a video, each made once: the release's encoder, and videos of any length.

In: the fixture `release` of the tests that import them, the folder of a release. It is its own file because features and looks start alike.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from surgrec.hub.load import LoadedModel, load_release
from tests.video.make_videos import Coded, write


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
