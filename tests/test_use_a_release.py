"""docs/use_a_release.md is true: executed as it stands, from a wheel in a fresh environment, away from the repository.

And what it says of features is: those of the encoder as it stood in training, bit for bit in surgrec, timm and torch.hub, to 1e-5 in
transformers and ONNX. The environment takes its dependencies from the one that runs the tests, and surgrec from nothing but the wheel.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surgrec import convert, extract
from surgrec.config.build import build_preprocess, build_run, build_runtime, run_folder
from surgrec.config.compose import claim_folder, compose_config
from surgrec.corpus.manifest import Manifest
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.training.loop import pretrain
from surgrec.video.decode import open_video
from tests.footage import write_corpus, write_labels
from tests.training.tiny import overrides

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "use_a_release.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
EXECUTED = [(language, text) for language, text in BLOCKS if language in ("bash", "python")]
BYTECODE = "PYTHONPYCACHEPREFIX"
BITWISE, CLOSE = ("tokens", "timm_tokens", "hub_tokens"), ("transformers_tokens", "onnx_tokens")


def test_blocks_are_well_formed() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python", "console"}
    names = {
        name for language, text in EXECUTED if language == "python" for name in compile(text, "page", "exec").co_names
    }
    assert {*BITWISE, *CLOSE} <= names
    parsers = {"convert": convert._parser(), "extract": extract._parser()}
    for command in (shlex.split(text) for language, text in EXECUTED if language == "bash"):
        assert command[0] == "surgrec" and parsers[command[1]].parse_args(command[2:]).model == "release"


# -- in an environment of its own

SESSION = """
import json, sys
from pathlib import Path
import numpy as np
import surgrec
assert Path(surgrec.__file__).is_relative_to(sys.prefix), f"not the wheel's: {surgrec.__file__}"
session, blocks, scripts = {"__name__": "page"}, json.loads(Path("blocks.json").read_text()), Path(sys.prefix, "bin")
import os, subprocess
os.environ["PATH"] = f"{scripts}{os.pathsep}{os.environ['PATH']}"
for language, text in blocks:
    if language == "bash":
        subprocess.run(["bash", "-euc", text], check=True)
    else:
        exec(compile(text, "use_a_release.md", "exec"), session)
for name in sys.argv[1:]:
    value = session[name]
    np.save(f"{name}.npy", value if isinstance(value, np.ndarray) else value.detach().numpy())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that has surgrec from a wheel."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; pip install -e '.[dev]' installs it")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("surgrec-*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    inside = folder / "venv" / "bin" / "python"
    install = ["-m", "pip", "--quiet", "--python", str(inside), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, cwd=folder)
    own = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder / "venv")}))
    # a path in a .pth file comes after the environment's own folder, and .pth files in that path (editable installs) are not read
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return inside


def trained(folder: Path, variant: str, manifest: Path, video: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """A run of two steps, and the features of the beginning of `video` by the encoder in the process that trained it."""
    config = compose_config(overrides(variant, manifest, folder / "runs", variant, "trainer.steps=2"))
    runtime = build_runtime(config)
    claim_folder(config, run_folder(config).config_file)
    run = build_run(config, runtime)
    pretrain(run)
    preprocess = ClipPreprocess(config.data.num_frames, config.data.frame_interval_seconds, build_preprocess(config))
    with open_video(video) as reader:
        frames = reader.read(np.arange(preprocess.num_frames) * preprocess.frame_interval_seconds).pixels
    with torch.no_grad():
        tokens = run.step.objective.released_encoder.eval()(preprocess(frames))
    runtime.close()
    return folder / "runs" / variant, tokens.numpy()


def alone() -> dict[str, str]:
    """The environment of a process that knows nothing of the repository; of Python's variables it keeps where bytecode lies."""
    kept = {key: value for key, value in os.environ.items() if key == BYTECODE or not key.startswith("PYTHON")}
    return kept | {"HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("variant", ["mae", "jepa"])
def test_the_page_from_a_wheel_gives_the_features_of_training(variant: str, python: Path, tmp_path: Path) -> None:
    for package in ("transformers", "onnxruntime", "onnxscript", "sklearn"):
        pytest.importorskip(package)
    manifest = write_corpus(tmp_path / "corpus")
    work = tmp_path / "work"
    (work / "videos").mkdir(parents=True)
    (work / "clone").mkdir()
    shutil.copy(REPOSITORY / "hubconf.py", work / "clone")
    shutil.copy(write_labels(manifest), work / "labels.csv")
    shutil.copy(manifest, work / "operations.parquet")
    video = tmp_path / "corpus" / str(Manifest.read([manifest]).table["source"][0]) / "patient0.mp4"
    shutil.copy(video, work / "videos" / "operation.mp4")
    run, expected = trained(tmp_path, variant, manifest, video)

    def execute(*command: str | Path) -> str:
        done = subprocess.run(list(map(str, command)), cwd=work, env=alone(), capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    execute(python.with_name("surgrec"), "export", "--run", run, "--out", "release")
    (work / "blocks.json").write_text(json.dumps(EXECUTED))
    bytecode = ["-X", f"pycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else []  # which -I would forget
    said = execute(python, "-I", *bytecode, "-c", SESSION, *BITWISE, *CLOSE, "larger_tokens")
    assert re.search(r"^\d+% of the windows of an operation", said, flags=re.MULTILINE)
    for name in BITWISE:
        assert np.load(work / f"{name}.npy").tobytes() == expected.tobytes(), f"{name} are not those of training"
    for name in CLOSE:
        found = np.load(work / f"{name}.npy")
        assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5, name
    assert np.load(work / "larger_tokens.npy").shape[1] == 4 * (64 // 8) ** 2
