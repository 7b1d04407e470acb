"""A folder of three small videos of two cases, one of them named after a patient."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from tests.video.make_videos import Coded, write

NAME_OF_PATIENT = "Jane_Doe"


@pytest.fixture(scope="session")
def written_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for number, name in enumerate(("case_1/a.mp4", "case_1/b.mkv", f"case_2/{NAME_OF_PATIENT}.mp4")):
        (root / name).parent.mkdir(exist_ok=True)
        times = [Fraction(i, 25) for i in range(50)]
        write(root, Coded(name, times=times, shown=range(100 * number, 100 * number + 50)))
    return root


@pytest.fixture
def folder(written_folder: Path, tmp_path: Path) -> Path:
    """A copy for one test."""
    return Path(shutil.copytree(written_folder, tmp_path / "videos"))
