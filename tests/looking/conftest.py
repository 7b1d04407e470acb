"""A released MAE with its decoder, and videos, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub.build import written
from tests.released import model, video

__all__ = ["model", "video"]


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 4 frames, 0.2 seconds apart: two time steps of 0.4 seconds, 4 x 4 cells."""
    return written(tmp_path_factory.mktemp("hub") / "release", "mae")
