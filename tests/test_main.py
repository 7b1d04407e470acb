"""The console script: verbs, statuses, and how each command gets its arguments."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from surgrec import __main__ as console
from surgrec.core.errors import UserError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the modules of `index` and `train` that records what it is given."""
    module = ModuleType("stand_in")
    module.main = lambda argv=None: module.calls.append((argv, list(sys.argv))) or module.status
    module.calls, module.status = [], 0
    monkeypatch.setitem(sys.modules, "surgrec.index", module)
    monkeypatch.setitem(sys.modules, "surgrec.train", module)
    monkeypatch.setattr(sys, "argv", ["surgrec", "untouched"])
    return module


def test_every_verb_is_a_module_of_the_package() -> None:
    assert [
        verb for verb in console.VERBS if importlib.util.find_spec(console.MODULES.get(verb, f"surgrec.{verb}")) is None
    ] == []
    assert set(console.HYDRA_VERBS) <= set(console.VERBS)


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in console.VERBS) and "Example:" in text


def test_without_a_verb_or_with_an_unknown_one_the_status_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.main([]) == 2
    assert console.main(["trian", "+variant=mae"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no command 'trian'" in captured.err.splitlines()[-1] and "train" in captured.err.splitlines()[-1]


def test_flags_are_passed_as_a_list_and_the_status_comes_back(command: ModuleType) -> None:
    command.status = 1
    assert console.main(["index", "--root", "a folder"]) == 1
    assert command.calls == [(["--root", "a folder"], ["surgrec", "untouched"])]


def test_hydra_reads_its_overrides_from_sys_argv(command: ModuleType) -> None:
    assert console.main(["train", "+variant=mae", "seed=3"]) == 0
    assert command.calls == [(None, ["surgrec train", "+variant=mae", "seed=3"])]


def test_a_user_error_is_one_sentence(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> int:
        raise UserError("no manifest at there; run surgrec index first")

    command.main = main
    assert console.main(["index"]) == 2
    assert capsys.readouterr().err == "error: no manifest at there; run surgrec index first\n"
