"""What importing costs, and the torchvision guard; each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
HEAVY = ("torch", "torchvision", "timm", "av", "pyarrow", "hydra", "matplotlib", "lightning_fabric", "numpy", "rich")


def python(program: str, *path: Path) -> str:
    """Run a program in a fresh interpreter, with `path` before everything else; its standard output."""
    search = os.pathsep.join(map(str, [*path, REPOSITORY]))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": search}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_surgrec_loads_nothing_heavy() -> None:
    """So that it takes far less than a second everywhere: the modules are checked, since times differ between machines."""
    loaded = python("import sys, surgrec; print(surgrec.__version__); print(*sys.modules)")
    version, modules = loaded.splitlines()
    assert version.count(".") == 2
    assert not {name.split(".")[0] for name in modules.split()} & set(HEAVY)


def test_help_of_the_console_script_loads_nothing_heavy() -> None:
    program = "import sys; from surgrec.__main__ import main; status = main(['--help']); print(*sys.modules); sys.exit(status)"
    modules = python(program).splitlines()[-1]
    assert not {name.split(".")[0] for name in modules.split()} & set(HEAVY)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        import surgrec

        surgrec.no_such_name  # noqa: B018


@pytest.mark.slow
def test_timm_and_torchvision_work_behind_the_guard() -> None:
    program = """
import surgrec.core.torchvision_guard, torch, timm, torchvision
from torchvision.transforms import v2
print(tuple(v2.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape), timm.layers.DropPath is not None)
"""
    assert python(program) == "(3, 4, 4) True"


BROKEN = """
import torch
torch.library.register_fake("torchvision::nms")(lambda dets, scores, threshold: dets)
from . import part
"""


@pytest.mark.slow
def test_the_guard_mends_a_torchvision_whose_operators_are_missing(tmp_path: Path) -> None:
    """A stand-in for a torchvision of another build: its first import dies at an operator that nobody declared."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(BROKEN)
    (package / "part.py").write_text("whole = True\n")
    assert "torchvision::nms" in python(
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)", tmp_path
    )
    program = "import surgrec.core.torchvision_guard, torchvision; print(torchvision.__file__, torchvision.part.whole)"
    assert python(program, tmp_path) == f"{package / '__init__.py'} True"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("", "fine"),
        ("raise ImportError('no torchvision here')", "ImportError no torchvision here"),
        ("raise RuntimeError('out of memory')", "RuntimeError out of memory"),
    ],
)
def test_the_guard_leaves_everything_else_alone(tmp_path: Path, program: str, outcome: str) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(program)
    guarded = """
try:
    import surgrec.core.torchvision_guard as guard
    assert guard._library is None
    print("fine")
except Exception as error:
    print(type(error).__name__, error)
"""
    assert python(guarded, tmp_path) == outcome
