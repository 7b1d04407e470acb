"""Files are whole or absent, whenever the writer dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec.core.atomic import atomic_path, write_json, write_text


def test_what_is_written_is_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "note.txt", "Blende, Glanz und Rauch – ok\n")
    write_json(tmp_path / "value.json", {"b": 1, "a": [1.5, None]})
    assert (tmp_path / "new" / "note.txt").read_text(encoding="utf-8") == "Blende, Glanz und Rauch – ok\n"
    assert json.loads((tmp_path / "value.json").read_text()) == {"b": 1, "a": [1.5, None]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "value.json"]


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        assert temporary.suffix == ".parquet" and temporary.parent == tmp_path
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, "old")
    program = (
        "import os, signal, sys; from pathlib import Path; from surgrec.core.atomic import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert json.loads(path.read_text()) == "old"
    write_json(path, "new")
    assert json.loads(path.read_text()) == "new"


def test_two_writers_of_one_number_do_not_meet(tmp_path: Path) -> None:
    """In containers on a shared disk both may be process 7."""
    path = tmp_path / "features.safetensors"
    with atomic_path(path) as one:
        one.write_text("one")
        with atomic_path(path) as two:
            assert one != two
            two.write_text("two")
        assert path.read_text() == "two"
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "m.txt"
    link.symlink_to(tmp_path / "far" / "real.txt")
    for text in ("first", "second"):
        write_text(link, text)
        assert link.is_symlink() and (tmp_path / "far" / "real.txt").read_text() == text
