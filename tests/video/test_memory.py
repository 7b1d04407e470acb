"""Memory stays flat however many videos are opened."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.video.decode import BACKENDS, open_video
from surgrec.video.transcode import CopySpec
from tests.video.make_videos import remux
from tests.video.test_transcode import copy

NUM_OPENS, WARM_UP, LIMIT_BYTES = 5000, 500, 20_000_000

_SCRIPT = """
import os, sys
from pathlib import Path
from surgrec.video.open_readers import OpenReaders

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

paths, backend, num_opens, warm_up = [Path(sys.argv[1]), Path(sys.argv[2])], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
readers = OpenReaders(1, backend)  # too little for one: opens and closes every time
for number in range(num_opens + warm_up):
    if number == warm_up:
        before = resident()
    readers.read(paths[number % 2], [0.4])
assert len(readers) == 0
print(resident() - before)
"""


def _beginning(source: Path, target: Path) -> Path:
    """Two groups of pictures, so that opening costs more than what follows."""
    numbers = iter(range(10**6))
    return remux(source, target, lambda packet: next(numbers) < 24)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", [*BACKENDS, "copy", "frames"])
def test_memory_is_flat(kind: str, coded: Callable[[str], Path], tmp_path: Path) -> None:
    """Two files in turn, 5,000 opens of which each reads a frame, after 500 that fill what the libraries keep."""
    names = ("h264 with B frames", "h264, mkv")
    paths = [_beginning(coded(name), tmp_path / f"short{coded(name).suffix}") for name in names]
    if kind in ("copy", "frames"):
        spec = CopySpec("video" if kind == "copy" else "frames")
        paths = [copy(paths[0], tmp_path / f"{name}.mp4", spec) for name in "ab"]
    backend = kind if kind in BACKENDS else "pyav"
    try:
        open_video(paths[0], backend).close()
    except UserError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-c", _SCRIPT, *map(str, paths), backend, str(NUM_OPENS), str(WARM_UP)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < LIMIT_BYTES
