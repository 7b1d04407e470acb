"""The project's own promises: pins agree, nothing of one machine is in it, and the wheel holds what a run needs."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import surgrec

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
DEV = PROJECT["project"]["optional-dependencies"]["dev"]
PINS = dict(requirement.split("==") for requirement in DEV if "==" in requirement)

# What must not be committed, each written so that this file does not match itself.
FORBIDDEN = re.compile(
    "|".join(
        (
            r"/(?:work|opt|root|home|Users)(?:/)[\w.-]+",  # absolute folders of one machine
            r"(?:index)-url|(?:find)-links|https?://\S+/simple(?:/|\b)",  # package indexes other than pip's own choice
            r"download\.pytorch\.(?:org)",
        )
    )
)


def tracked_files() -> list[Path]:
    """Files that are, or would be, committed; skips outside a git checkout."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [REPOSITORY / name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def test_hooks_run_the_pinned_tools_of_the_environment() -> None:
    """Versions are pinned once, in the dev extra: every hook is local and names neither a version nor another repository."""
    assert set(PINS) == {"ruff", "mypy", "import-linter"}
    text = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    config = yaml.safe_load(text)
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert {hook["language"] for hook in hooks} == {"system"} and not any(
        "additional_dependencies" in hook for hook in hooks
    )
    entries = " ".join(hook["entry"] for hook in hooks)
    assert all(word in entries for word in ("ruff check", "ruff format", "mypy", "lint-imports"))


@pytest.mark.parametrize("tool", PINS)
def test_the_installed_tools_are_the_pinned_ones(tool: str) -> None:
    try:
        installed = importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{tool} is not installed; pip install -e '.[dev]' installs it")
    assert installed == PINS[tool]


def test_torch_keeps_its_upper_bound() -> None:
    assert any(
        requirement.startswith("torch>=") and ",<" in requirement for requirement in PROJECT["project"]["dependencies"]
    )


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    requirements = PROJECT["project"]["dependencies"] + [
        requirement for extra in extras.values() for requirement in extra
    ]
    unbounded = [
        requirement
        for requirement in requirements
        if not requirement.startswith("surgrec[")
        and "==" not in requirement
        and not (">=" in requirement and "<" in requirement)
    ]
    assert unbounded == []


def test_nothing_of_one_machine_is_committed() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures
        found += [f"{path.relative_to(REPOSITORY)}: {match.group()}" for match in FORBIDDEN.finditer(text)]
    assert found == []
    assert not (REPOSITORY / "uv.lock").exists(), "uv resolves torch differently on every machine; no lock file"


def test_no_videos_or_weights_are_committed() -> None:
    suffixes = {".mp4", ".mkv", ".avi", ".mov", ".safetensors", ".pt", ".pth", ".ckpt", ".parquet", ".pkl"}
    assert [path for path in tracked_files() if path.suffix.lower() in suffixes] == []
    assert [path for path in tracked_files() if path.stat().st_size > 3_000_000] == []


def test_licence_notice_and_citation_agree_with_the_package() -> None:
    licence = (REPOSITORY / "LICENSE").read_text()
    assert (
        "Apache License" in licence
        and "Version 2.0, January 2004" in licence
        and "END OF TERMS AND CONDITIONS" in licence
    )
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "CC BY-NC" in (REPOSITORY / "NOTICE").read_text()
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (surgrec.__version__, "Apache-2.0")
    assert "2603.29966" in str(citation["references"])
    assert "## [Unreleased]" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_decisions_are_numbered_and_short() -> None:
    notes = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert [note.name[:5] for note in notes] == [f"{number:04d}-" for number in range(1, len(notes) + 1)]
    for note in notes:
        lines = note.read_text().splitlines()
        assert lines[0].startswith(f"# {note.name[:4]} ") and "Decision:" in lines[2] and len(lines) <= 30, note.name


def test_the_check_script_is_executable() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "chmod +x .ci/run"
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.slow
def test_the_wheel_holds_configs_corpora_and_licence(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; pip install -e '.[dev]' installs it")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=REPOSITORY, check=True
    )
    (wheel,) = tmp_path.glob("surgrec-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, place in (("configs", "surgrec/_configs"), ("corpora", "surgrec/_corpora")):
        sources = [path.relative_to(REPOSITORY / folder) for path in (REPOSITORY / folder).rglob("*.yaml")]
        assert sources, f"{folder}/ is empty"
        assert {f"{place}/{path.as_posix()}" for path in sources} <= names
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "surgrec").rglob("*.py")}
    assert modules <= names
    assert any(name.endswith("licenses/LICENSE") for name in names) and any(
        name.endswith("licenses/NOTICE") for name in names
    )
    assert not any(name.startswith(("tests/", "docs/")) for name in names)
