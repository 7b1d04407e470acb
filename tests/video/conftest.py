"""Coded videos, written once per session and only those that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.video.make_videos import CODED, remux, write


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of the video with the given title in `CODED`."""
    folder = tmp_path_factory.mktemp("coded")
    written: dict[str, Path] = {}

    def path_of(title: str) -> Path:
        if title not in written:
            written[title] = write(folder, CODED[title])
        return written[title]

    return path_of


@pytest.fixture(scope="session")
def faststart(coded: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mp4 with its index in front, as on the web."""
    target = tmp_path_factory.mktemp("faststart") / "faststart.mp4"
    return remux(coded("h264 with B frames"), target, lambda packet: True, movflags="faststart")
