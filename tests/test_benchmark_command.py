"""The command as a user starts it: whole, killed and started again, in processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from surgrec.evaluation.results import Results
from surgrec.evaluation.results_json import read_results
from surgrec.synthetic.corpus import synthesize
from tests.evaluation.running.tiny import numbers_of
from tests.training.tiny import overrides

OPTIONS = (
    "tasks.synthesised=tiny",
    "tasks.only=[synthesised_phase,synthesised_phases]",
    "tasks.clip_seconds=0.6",
    "protocols.names=[knn,linear,frame_linear]",
    "encoders.device=cpu",
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus in it."""
    folder = tmp_path_factory.mktemp("place")
    synthesize(folder / "embedded" / "tiny_seed1", "tiny", 1, 0)
    return folder


def start(place: Path, name: str, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "surgrec.benchmark",
        *OPTIONS,
        f"name={name}",
        f"paths.features={name}_features",
        *more,
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return said


def table(place: Path, name: str) -> Results:
    """Without what a clock says, and the name."""
    return replace(numbers_of(read_results(place / "benchmark" / name / "results.json")), name="", date="")


@pytest.fixture(scope="module")
def whole(place: Path) -> Results:
    said = finish(start(place, "whole"))
    assert "report.html" in said
    return table(place, "whole")


def test_the_baselines_stand_in_the_table(whole: Results, place: Path) -> None:
    assert whole.gaps == ()
    assert {cell.encoder for cell in whole.cells} == {"majority", "stratified_random", "colour_histogram"}
    assert (place / "benchmark" / "whole" / "report.md").is_file()


@pytest.mark.parametrize("num_cells", [0, 2])
def test_killed_and_started_again_it_gives_the_same_table(place: Path, whole: Results, num_cells: int) -> None:
    name = f"killed{num_cells}"
    process = start(place, name)
    cells = place / "benchmark" / name / "cells"
    features = place / f"{name}_features"
    deadline = time.monotonic() + 900
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(cells.rglob("*.json"))) >= num_cells and (num_cells or features.is_dir()):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (place / "benchmark" / name / "results.json").exists()
    finish(start(place, name))
    assert table(place, name) == whole


def test_processes_and_shards_give_the_same_table(place: Path, whole: Results) -> None:
    finish(start(place, "processes", "processes=2"))
    assert table(place, "processes") == whole
    assert "the job that ends last" in finish(start(place, "shards", "shard=1/2"))
    finish(start(place, "shards", "shard=0/2"))
    assert table(place, "shards") == whole


def test_a_run_is_measured_by_every_protocol_and_what_it_has_seen_is_told(place: Path) -> None:
    """On the very videos that it was trained on; its random twin saw none."""
    manifest = place / "embedded" / "tiny_seed1" / "manifest.parquet"
    command = [
        sys.executable,
        "-m",
        "surgrec.train",
        *overrides("mae", manifest, place / "runs", "own", "trainer.steps=3"),
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    options = [
        f"+encoders.models.own={place / 'runs' / 'own'}",
        "encoders.random=[own]",
        "encoders.views=[own]",
        "num_seeds=2",
        "protocols.names=[knn,attentive,few_shot_1,finetune,frame_linear,temporal_causal]",
        "protocols.attentive.num_steps=3",
        "protocols.finetune.num_epochs=1",
        "protocols.temporal.num_epochs=1",
    ]
    finish(start(place, "run", *options))
    results = table(place, "run")
    assert results.gaps == () and not any("no gradient" in (cell.note or "") for cell in results.cells)
    said = {encoder.name: encoder.contamination for encoder in results.encoders}
    for task in results.tasks:
        number, _, of, *_ = said["own"][task.name].split()
        assert number == of != "0" and said["own_random"][task.name] == "not pretrained"
    assert {cell.encoder for cell in results.cells if cell.protocol == "full fine-tuning"} == {"own", "own_random"}
    assert list((place / "benchmark" / "run" / "unfinished").iterdir()) == []
    finish(start(place, "run", *options))
    assert table(place, "run") == results
