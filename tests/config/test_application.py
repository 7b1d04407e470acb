"""What the Hydra commands do with a command line: one sentence and status 2 for a mistake, and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf.errors import ConfigKeyError

from surgrec import doctor, preview, train
from surgrec.config.application import run_application
from surgrec.config.schema import Config

REPOSITORY = Path(__file__).resolve().parent.parent.parent
Main = Callable[[], int]

MISTAKES = [
    ([], "+variant=mae or +variant=jepa"),
    (["variant=mae"], "write +variant=mae"),
    (["+variant=mea"], "no variant 'mea'"),
    (["+variant=mae"], "+experiment=quickstart"),
    (["+variant=jepa", "+experiment=[quickstart,continue]"], "add init=FAMILY:PATH"),
    (["+experiment=[quickstart]", "+variant=jepa"], "write +variant=jepa before"),
    (["+variant=mae", "backbone=null"], "backbone=null names no option"),
    (["+variant=mae", "optim.lrr=1"], "no option optim.lrr"),
    (["+variant=mae", "+optim.lrr=1"], "no option optim.lrr"),
    (["+variant=mae", "optim.lr=fast"], "optim.lr=fast"),
    (["+variant=mae", "optim.lr"], "optim.lr"),
    (["+variant=mae", "mix.manifests=[nowhere.parquet]", "runtime=cpu"], "no manifest at nowhere.parquet"),
]


def status_of(main: Main, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The status that the process would end with."""
    monkeypatch.setattr(sys, "argv", ["surgrec", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    try:
        return main()
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    "main",
    [
        pytest.param(train.main, id="train"),
        *(pytest.param(each.main, id=each.__name__, marks=pytest.mark.slow) for each in (preview, doctor)),
    ],
)
@pytest.mark.parametrize(
    "arguments, words", MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    main: Main,
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(main, arguments, monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    assert words in captured.err and captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_process_itself_ends_with_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "surgrec.train", "+variant=mae", "optim.lrr=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no option optim.lrr; did you mean optim.lr?\n"


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(train, id="train"),
        *(pytest.param(each, id=each.__name__, marks=pytest.mark.slow) for each in (preview, doctor)),
    ],
)
def test_help_has_an_example_and_every_option(
    module: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(module.main, ["--help"], monkeypatch) == 0  # type: ignore[attr-defined]
    said = capsys.readouterr().out
    assert "+variant=jepa +experiment=quickstart" in said and "variant: jepa, mae" in said
    assert "frame_interval_seconds: 0.16" in said and "runtime: auto, cpu, ddp, fsdp" in said


def test_the_command_gets_a_typed_configuration_and_its_status_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Config] = []

    def command(config: Config) -> int:
        given.append(config)
        return 130

    assert status_of(lambda: run_application(command, "help"), ["+variant=jepa", "seed=7"], monkeypatch) == 130
    assert isinstance(given[0], Config) and (given[0].variant, given[0].seed) == ("jepa", 7)


def test_a_sweep_is_a_run_for_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its own folder; what else Hydra notes lies beside them, out of sight."""
    given: list[Config] = []

    def command(config: Config) -> int:
        given.append(config)
        return 0

    runs = f"paths.runs={tmp_path}"
    sweep = ["--multirun", "+variant=mae", "backbone=small", "optim.lr=1e-4,2e-4", "name=lr${optim.lr}", runs]
    assert status_of(lambda: run_application(command, "help"), sweep, monkeypatch) == 0
    assert [(config.name, config.optim.lr) for config in given] == [("lr0.0001", 1e-4), ("lr0.0002", 2e-4)]
    assert {config.backbone.size for config in given} == {"small"}
    assert [path.name for path in tmp_path.iterdir()] == [".sweep"]
    wrong = [*sweep, "optim.lrr=1"]
    assert status_of(lambda: run_application(command, "help"), wrong, monkeypatch) == 2 and len(given) == 2


def test_an_error_of_ours_is_not_told_as_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(config: Config) -> int:
        raise ConfigKeyError("a mistake of the program, not of the command line")

    with pytest.raises(ConfigKeyError):
        status_of(lambda: run_application(command, "help"), ["+variant=mae"], monkeypatch)


def test_local_launch_tells_a_mistake_once_and_before_it_starts_processes(tmp_path: Path) -> None:
    def launch(*arguments: str) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHON": sys.executable}
        script = REPOSITORY / "launch" / "local.sh"
        done = subprocess.run([script, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr

    assert launch("2", "+variant=mae", "optim.lrr=1") == (
        2,
        "error: there is no option optim.lrr; did you mean optim.lr?\n",
    )
    for wrong in ((), ("2",), ("two", "+variant=mae"), ("0", "+variant=mae")):
        status, said = launch(*wrong)
        assert status == 2 and said.startswith("usage: launch/local.sh") and said.count("\n") == 1
