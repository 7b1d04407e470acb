"""The README is true: its blocks run as they stand, its links lead somewhere, its two lines are on the first screen.

Blocks fenced as `bash` and `python` are executed in order in one folder; `console` and `text` are only shown. The one change: training
is cut to a few steps, and installing and testing are left out, since `.ci/run` executes that line itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec.__main__ import VERBS

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
EXECUTED = [(language, text) for language, text in BLOCKS if language in ("bash", "python")]
FEW_STEPS = "trainer.steps=4"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov")


def test_the_two_lines_are_on_the_first_screen() -> None:
    screen = README.splitlines()[:24]
    assert "pip install -e . && python -m surgrec.train +variant=jepa +experiment=quickstart" in screen
    assert "pip install -e '.[test]' && pytest" in screen


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert targets and [target for target in targets if not (REPOSITORY / target).exists()] == []


def test_every_command_is_in_the_table() -> None:
    assert [verb for verb in VERBS if f"| `surgrec {verb} " not in README] == []


def test_blocks_are_well_formed() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python", "console", "text"}
    for language, text in EXECUTED:
        if language == "python":
            compile(text, "README.md", "exec")
        else:
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def cut_short(script: str) -> str:
    """A bash block without installing and testing, and with few steps of training."""
    lines = []
    for line in script.splitlines():
        parts = [part for part in line.split(" && ") if not part.startswith(("pip install", "pytest"))]
        lines += [f"{part} {FEW_STEPS}" if re.search(r"\bsurgrec[ .]train ", part) else part for part in parts]
    return "\n".join(lines)


def test_cutting_short_changes_only_what_it_says() -> None:
    assert cut_short("pip install -e . && python -m surgrec.train +variant=jepa\n") == (
        "python -m surgrec.train +variant=jepa trainer.steps=4"
    )
    assert cut_short("pip install -e '.[test]' && pytest\n") == ""
    assert (
        cut_short("surgrec index --root x && surgrec export --run y")
        == "surgrec index --root x\nsurgrec export --run y"
    )


def execute(language: str, text: str, folder: Path, environment: dict[str, str]) -> None:
    command = (
        [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", cut_short(text)]
    )
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, (
        f"this block of the README failed:\n{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )


def some_footage(corpus: Path, folder: Path) -> None:
    """A small folder of videos, as a user would have: the smallest mp4 and two others of the embedded corpus."""
    by_size = sorted(
        (path for path in corpus.rglob("*") if path.suffix in VIDEO_SUFFIXES), key=lambda path: path.stat().st_size
    )
    chosen = [path for path in by_size if path.suffix == ".mp4"][:1] + by_size[1:3]
    folder.mkdir()
    for number, path in enumerate(chosen):
        shutil.copy(path, folder / f"case{number}{path.suffix}")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_blocks_run(tmp_path: Path) -> None:
    scripts = tmp_path / "bin"
    scripts.mkdir()
    if not (Path(sys.executable).parent / "surgrec").exists():  # running from a checkout that is not installed
        (scripts / "surgrec").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m surgrec "$@"\n')
        (scripts / "surgrec").chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(scripts), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(REPOSITORY),
        "VIDEOS": str(tmp_path / "footage"),
    }
    first, *rest = EXECUTED
    execute(*first, folder, environment)  # the quickstart, which also renders the embedded corpus
    some_footage(folder / "embedded", tmp_path / "footage")
    for language, text in rest:
        execute(language, text, folder, environment)
    assert (folder / "releases" / "first-look" / "encoder.safetensors").is_file()
    assert (folder / "features.zarr").exists()
