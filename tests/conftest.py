"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder of real surgical clips; `SURGREC_CLIPS` or `../shared/clips` beside the repository. Skips where it is absent."""
    folder = Path(os.environ.get("SURGREC_CLIPS", REPOSITORY.parent / "shared" / "clips"))
    if not folder.is_dir():
        pytest.skip(f"real surgical clips are not at {folder}; set SURGREC_CLIPS to their folder")
    return folder
