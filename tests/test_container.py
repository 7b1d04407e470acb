"""The images, as far as they can be judged without an engine: hadolint's rules, what is copied and installed, and that both are alike."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CONSTRAINTS = REPOSITORY / "launch" / "constraints.txt"
SHELL_OPERATORS = ("&&", "||", ";", "|")


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, continued lines joined."""

    name: str
    rest: str


def instructions() -> list[Instruction]:
    """Those of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def recipe() -> dict[str, str]:
    """Sections of the Apptainer recipe; the header is that without a name."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "launch" / "surgrec.def").read_text(), flags=re.M).replace("\\\n", " ")
    header, *sections = re.split(r"^%(\w+)\n", text, flags=re.M)
    return {"": header, **dict(zip(sections[::2], sections[1::2], strict=True))}


def commands(shell: str) -> list[list[str]]:
    """The simple commands of a script, in words, without the variables before them."""
    found: list[list[str]] = [[]]
    lexer = shlex.shlex(shell.replace("\n", " ; "), posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    for word in lexer:
        if word in SHELL_OPERATORS:
            found.append([])
        elif found[-1] or not re.match(r"\w+=", word):
            found[-1].append(word)
    return [command for command in found if command]


def of_dockerfile() -> list[list[str]]:
    """All commands that build the image."""
    return [command for one in instructions() if one.name == "RUN" for command in commands(one.rest)]


def only(found: list[list[str]], *words: str) -> list[str]:
    """The one command that begins so."""
    (command,) = (one for one in found if tuple(one[: len(words)]) == words)
    return command


# -- hadolint's rules


def test_the_base_is_a_pinned_cuda_13_runtime() -> None:
    bases = [one.rest for one in instructions() if one.name == "FROM"]
    assert bases and all(
        re.fullmatch(r"nvidia/cuda:13\.\d+\.\d+-runtime-ubuntu\d\d\.\d\d(@sha256:[0-9a-f]{64})?", base)
        for base in bases
    )


def test_the_container_does_not_run_as_root() -> None:
    users = [one.rest for one in instructions() if one.name == "USER"]
    assert users and users[-1].split(":")[0] not in ("root", "0")
    (made,) = (one for one in of_dockerfile() if one[0] == "useradd")
    assert made[-1] == users[-1]
    names = [one.name for one in instructions()]
    assert max(place for place, name in enumerate(names) if name == "RUN") < names.index("USER")


def test_packages_are_installed_without_more_and_their_lists_removed() -> None:
    runs = [commands(one.rest) for one in instructions() if one.name == "RUN" and "apt-get" in one.rest]
    assert runs
    for run in runs:
        assert run[0] == ["apt-get", "update"] and run[-1] == ["rm", "-rf", "/var/lib/apt/lists/*"]
        assert {"--yes", "--no-install-recommends"} <= set(only(run, "apt-get", "install"))
    assert not any(set(command) & {"apt", "sudo", "cd", "curl", "wget"} for command in of_dockerfile())


def test_instructions_are_the_plain_ones() -> None:
    names = [one.name for one in instructions()]
    assert "ADD" not in names and "MAINTAINER" not in names
    assert all(names.count(name) == 1 for name in ("HEALTHCHECK", "ENTRYPOINT", "CMD"))
    for one in instructions():
        if one.name == "WORKDIR":
            assert one.rest.startswith("/"), one
        if one.name in ("CMD", "ENTRYPOINT"):
            assert one.rest.startswith("["), f"{one}: as a list, or signals reach a shell and not the run"
        if one.name == "HEALTHCHECK":
            assert 'CMD ["' in one.rest
    assert "--no-cache-dir" in only(of_dockerfile(), "pip", "install")


# -- what is copied


def is_ignored(path: PurePosixPath) -> bool:
    """Whether .dockerignore keeps a path of the repository from the engine: the last line that fits it or a folder above decides."""
    ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        names = [path, *path.parents][:-1]
        fits = any(
            (fnmatch(str(name), pattern) and str(name).count("/") == pattern.count("/"))
            or (pattern.startswith("**/") and fnmatch(name.name, pattern[3:]))
            for name in names
        )
        ignored = (not line.startswith("!")) if fits else ignored
    return ignored


def copied() -> list[str]:
    """What the Dockerfile copies."""
    return [source for one in instructions() if one.name == "COPY" for source in one.rest.split()[:-1]]


def test_all_that_is_copied_exists_and_reaches_the_engine() -> None:
    assert {"pyproject.toml", "surgrec", "configs", "corpora"} <= set(copied())
    for source in copied():
        assert (REPOSITORY / source).exists() and not is_ignored(PurePosixPath(source)), source
    for module in (REPOSITORY / "surgrec").rglob("*.py"):
        assert not is_ignored(PurePosixPath(module.relative_to(REPOSITORY).as_posix())), module


@pytest.mark.parametrize("path", [".git/config", "runs/first/metrics.jsonl", "embedded/a.mp4", "tests/conftest.py", "corpus.parquet",
                                  "launch/slurm/site.env", "surgrec/core/__pycache__/grid.pyc"])  # fmt: skip
def test_nothing_else_reaches_the_engine(path: str) -> None:
    assert is_ignored(PurePosixPath(path))


def test_the_copied_files_are_all_that_the_wheel_is_built_of() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {PROJECT["readme"], *PROJECT["license-files"], *build["packages"], *build["force-include"]}
    assert needed <= set(copied())


# -- what is installed


def installed_requirements() -> list[Requirement]:
    """Those of the project and of the extras that the image has."""
    (target,) = (word for word in only(of_dockerfile(), "pip", "install") if word.startswith("."))
    extras = re.fullmatch(r"\.\[([\w,]+)\]", target)
    assert extras
    listed = PROJECT["optional-dependencies"]
    named = extras[1].split(",")
    assert set(named) <= listed.keys()
    # test and dev are for developing; slurm submits jobs, which an image cannot; xformers' wheels each need one certain build of torch;
    # onnx writes a release for runtimes without torch, umap a map on a page: no work of a cluster
    assert listed.keys() - set(named) == {"test", "dev", "slurm", "xformers", "onnx", "umap", "benchmark"}
    return [
        Requirement(text) for text in [*PROJECT["dependencies"], *(each for name in named for each in listed[name])]
    ]


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    command = only(of_dockerfile(), "pip", "install")
    assert command[command.index("--constraint") + 1] == CONSTRAINTS.relative_to(REPOSITORY).as_posix()
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}
    assert list(pins) == sorted(pins) and len(pins) == len(lines)
    assert all(version.local is None for version in pins.values()), "a build for one machine"
    for requirement in installed_requirements():
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_compiler_and_ffmpeg_are_there() -> None:
    assert {"ffmpeg", "g++", "python3", "python3-dev", "python3-venv"} <= set(
        only(of_dockerfile(), "apt-get", "install")
    )


# -- the recipe for Apptainer


def test_the_recipe_makes_the_same_image() -> None:
    (base,) = (one.rest for one in instructions() if one.name == "FROM")
    assert recipe()[""].split() == ["Bootstrap:", "docker", "From:", base]
    post = commands(recipe()["post"])
    for words in (("apt-get", "install"), ("pip", "install"), ("python3", "-m", "venv")):
        assert only(post, *words) == only(of_dockerfile(), *words)
    files = dict(line.split() for line in recipe()["files"].splitlines() if line.strip())
    (workdir, *_) = (one.rest for one in instructions() if one.name == "WORKDIR")
    assert files == {source: f"{workdir}/{source}" for source in copied()}
    (path,) = (one.rest for one in instructions() if one.name == "ENV")
    assert commands(recipe()["environment"]) == [["export", path]]


def test_the_recipe_starts_and_checks_what_the_container_does() -> None:
    (health,) = (one.rest.partition("CMD ")[2] for one in instructions() if one.name == "HEALTHCHECK")
    assert commands(recipe()["test"]) == [json.loads(health)]
    (entry,) = (one.rest for one in instructions() if one.name == "ENTRYPOINT")
    assert entry == '["surgrec"]' and commands(recipe()["runscript"]) == [["exec", "surgrec", "$@"]]
