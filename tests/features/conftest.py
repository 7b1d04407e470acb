"""A released encoder and videos, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub.build import written
from tests.released import model, video

__all__ = ["model", "video"]


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small JEPA release: clips of 4 frames, 0.2 seconds apart, a window of 0.8 seconds."""
    return written(tmp_path_factory.mktemp("hub") / "release")
