"""Exit statuses, sentences, and bars that are silent in a log."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest

from surgrec.core.console import progress, run_command
from surgrec.core.errors import OutageError, ToldError, UserError


def raising(error: BaseException):
    def command() -> int:
        raise error

    return command


def test_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: 0) == 0
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 2) == 2
    assert run_command(raising(UserError("the folder is empty; give another"))) == 2
    assert capsys.readouterr().err == "error: the folder is empty; give another\n"
    assert run_command(raising(ToldError("another process has said it"))) == 2
    assert run_command(raising(ToldError(OutageError("the server does not answer")))) == 1
    assert capsys.readouterr().err == ""
    assert run_command(raising(KeyboardInterrupt())) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_other_exceptions_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EISDIR, errno.ENOENT, errno.EIO])
def test_what_the_system_refuses_of_a_file_is_a_sentence(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(OSError(number, os.strerror(number), "out/m.parquet"))) == (
        1 if number == errno.EIO else 2
    )
    said = capsys.readouterr().err
    assert said.startswith(f"error: out/m.parquet: {os.strerror(number)}; ") and said.count("\n") == 1


def test_an_error_of_the_program_that_is_one_of_the_system_keeps_its_traceback() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        run_command(raising(OSError(errno.EBADF, "Bad file descriptor")))


@pytest.mark.parametrize("num_lines", [1, 100_000])  # broken while Python exits, and in the middle
def test_a_reader_that_leaves_ends_the_command_quietly(num_lines: int) -> None:
    program = f"""
import sys
from surgrec.core.console import run_command
sys.exit(run_command(lambda: print("line\\n" * {num_lines})))
"""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_broken_pipe_is_not_taken_for_it() -> None:
    def command() -> None:
        raise BrokenPipeError("a worker's")

    with pytest.raises(BrokenPipeError, match="a worker's"):
        run_command(command)


def test_a_bar_says_nothing_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("probing", total=3) as advance:
        advance()
        advance(2, note="loss 0.5")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_bar_in_a_terminal_shows_count_rate_and_note_and_leaves_stdout_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress("training", total=100, completed=40) as advance:
        for _ in range(60):
            advance(note="loss 0.25")
    shown = terminal.getvalue()
    assert "training" in shown and "100/100" in shown and "/s" in shown and "loss 0.25" in shown
    assert capsys.readouterr().out == ""


def test_an_error_inside_a_bar_comes_out() -> None:
    with pytest.raises(UserError, match="stop"), progress("probing", total=None) as advance:
        advance()
        raise UserError("stop")
