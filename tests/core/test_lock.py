"""One writer at a time, whoever dies in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.core.lock import only_writer

HOLD = """
import sys, time
from surgrec.core.lock import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_to_wait_and_nothing_is_left(tmp_path: Path) -> None:
    file = tmp_path / "new" / "manifest.parquet"
    with (
        only_writer(file),
        pytest.raises(UserError, match=r"another surgrec command is writing .*manifest\.parquet"),
        only_writer(file),
    ):
        pass
    with only_writer(file), only_writer(tmp_path / "new" / "other.parquet"):
        pass
    assert list(file.parent.iterdir()) == []


def test_a_file_under_two_names_has_one_writer(tmp_path: Path) -> None:
    (tmp_path / "real.parquet").touch()
    (tmp_path / "link.parquet").symlink_to("real.parquet")
    with only_writer(tmp_path / "real.parquet"), pytest.raises(UserError), only_writer(tmp_path / "link.parquet"):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "manifest.parquet"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError), only_writer(file):
            pass
        holder.send_signal(signal.SIGKILL)
    with only_writer(file):
        pass
    assert list(tmp_path.iterdir()) == []
