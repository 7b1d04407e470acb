"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder of real surgical clips; `SURGREC_CLIPS` or `../shared/clips` beside the repository. Skips where it is absent."""
    folder = Path(os.environ.get("SURGREC_CLIPS", REPOSITORY.parent / "shared" / "clips"))
    if not folder.is_dir():
        pytest.skip(f"real surgical clips are not at {folder}; set SURGREC_CLIPS to their folder")
    return folder
