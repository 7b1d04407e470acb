"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests run in a process a core, so each has one thread; before torch is loaded, and for the processes that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder of real surgical clips; `SURGREC_CLIPS` or `../shared/clips` beside the repository. Skips where it is absent."""
    folder = Path(os.environ.get("SURGREC_CLIPS", REPOSITORY.parent / "shared" / "clips"))
    if not folder.is_dir():
        pytest.skip(f"real surgical clips are not at {folder}; set SURGREC_CLIPS to their folder")
    return folder


def surgery_in(clips: Path) -> list[Path]:
    """The six recordings of operations; the other folders hold awkward files and licences."""
    return sorted(
        path
        for domain in ("cataract", "endoscopy", "laparoscopy", "robotic")
        for path in (clips / domain).glob("*.mp4")
    )
