"""What a run leaves in its folder, and how it ends where it cannot go on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from surgrec.config.build import build_data, build_run, build_runtime, load_run
from surgrec.config.compose import claim_folder, compose_config
from surgrec.corpus.manifest import Manifest
from surgrec.objectives.diagnostics import HEALTH
from surgrec.training.folder import RunFolder
from surgrec.training.log import TIMINGS
from surgrec.training.loop import pretrain
from surgrec.training.update import NonFiniteLossError
from tests.training.tiny import (
    RECORDED,
    VARIANTS,
    Runs,
    Warm,
    assert_same_run,
    lines_of,
    metrics_of,
    overrides,
    state_of,
)

OF_SOURCES = ("source_shares", "source_hours", "source_passes", "source_failures")
ELSEWHERE = {"mfu", "gpu_allocated_bytes", "gpu_reserved_bytes", "ranks", "straggler"}  # on GPUs, in several processes
ALL_HEALTH = {"mae": set(HEALTH), "jepa": {*HEALTH, "target_distance"}}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_leaves_metrics_checkpoints_and_pictures(variant: str, uninterrupted: Runs) -> None:
    folder = RunFolder(uninterrupted / variant)
    lines = lines_of(folder.metrics_file)
    assert [line["step"] for line in lines] == list(range(1, 13))  # health from the first step on
    keys = {
        "step",
        "loss",
        "lr",
        "weight_decay",
        "grad_norm",
        "phase",
        "sources",
        *OF_SOURCES,
        *(set(TIMINGS) - ELSEWHERE),
        *ALL_HEALTH[variant],
    }
    assert all(set(line) == keys for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert all(line["clips_per_second"] > 0 and line["seconds_waiting_for_data"] >= 0 for line in lines)
    assert all(line["step_seconds"] > 0 and line["tflops_per_second"] > 0 for line in lines)
    assert all(line["slowest_clip"]["video"].split("_")[0] in line["sources"] for line in lines)
    kept = {"latest", "step_00000009", "step_00000012", "step_00000003"}  # the last, until the patience is over
    assert {path.name for path in folder.checkpoints.iterdir()} == kept
    pictures = {"mae": {"features", "reconstruction"}, "jepa": {"features"}}[variant]
    assert {path.name for path in folder.previews.iterdir()} == {f"step_00000012_{name}.png" for name in pictures}
    assert not folder.failures_file.exists()


def test_sources_are_counted_as_they_were_drawn(uninterrupted: Runs) -> None:
    data = build_data(load_run(uninterrupted / "mae").config)
    for line in metrics_of(uninterrupted / "mae"):
        drawn = data.sampler.draw(np.arange(8 * line["step"])).source_index
        counts = np.bincount(drawn, minlength=3)
        names = data.mixture.table.sources
        assert line["sources"] == dict(zip(names, counts.tolist(), strict=True))
        seconds = data.reader.spec.num_frames * data.reader.spec.frame_interval_seconds
        for name, count, hours in zip(names, counts.tolist(), data.mixture.table.hours, strict=True):
            assert line["source_hours"][name] == pytest.approx(count * seconds / 3600, abs=1e-6)
            assert line["source_passes"][name] == pytest.approx(count * seconds / 3600 / hours, abs=1e-5)
        assert line["source_failures"] == {}
        assert line["source_shares"] == pytest.approx(
            dict(zip(names, data.mixture.table.shares, strict=True)), abs=1e-6
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_is_loaded_with_the_weights_it_ended_with(variant: str, uninterrupted: Runs) -> None:
    loaded, state = load_run(uninterrupted / variant), state_of(uninterrupted / variant)
    weights = {f"/learner/{name}": value for name, value in loaded.objective.learner.state_dict().items()}
    weights |= {f"/frozen/{name}": value for name, value in loaded.objective.frozen.state_dict().items()}
    assert weights and all(torch.equal(value, state[name]) for name, value in weights.items())
    assert loaded.progress.step == 12 and sum(loaded.progress.sources.values()) == 96


def test_a_finished_run_that_is_started_again_changes_nothing(warm: Warm, footage: Path, uninterrupted: Runs) -> None:
    done = uninterrupted / "mae"
    before = {path: path.stat().st_mtime_ns for path in (done / "checkpoints").rglob("*")}
    metrics = (done / "metrics.jsonl").read_text()
    said = warm.run(overrides("mae", footage, uninterrupted.folder, "mae"))
    assert "done: 12 steps; nothing was left to do" in said
    assert before and {path: path.stat().st_mtime_ns for path in (done / "checkpoints").rglob("*")} == before
    assert (done / "metrics.jsonl").read_text() == metrics


def test_another_configuration_in_the_same_folder_is_an_error_that_shows_the_difference(
    warm: Warm, footage: Path, uninterrupted: Runs
) -> None:
    taken = uninterrupted / "mae"
    metrics = (taken / "metrics.jsonl").read_text()
    said = warm.run(overrides("mae", footage, uninterrupted.folder, "mae", "optim.lr=5e-4"), status=2)
    assert "optim.lr 0.001 -> 0.0005" in said and "Traceback" not in said
    assert (taken / "metrics.jsonl").read_text() == metrics


@pytest.mark.slow
def test_vjepa21_on_its_own_masks_continues_in_the_middle_of_its_ramp(
    warm: Warm, footage: Path, tmp_path: Path
) -> None:
    """The weight of the context loss follows from the step alone, masks from the batch: a run that was stopped equals one that was not."""
    more = ("objective.dense=true", "objective.context_ramp_steps=[1,9]", "mask.mode=official", "trainer.steps=6")
    warm.run(overrides("jepa", footage, tmp_path, "whole", *more))
    arguments = overrides("jepa", footage, tmp_path, "resumed", *more)
    warm.run(["--stop-after", "4", *arguments], program=RECORDED)
    warm.run(arguments)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")
    assert lines_of(tmp_path / "whole" / "metrics.jsonl")[-1]["step"] == 6


# -- footage that cannot be read


@pytest.fixture
def broken_footage(footage: Path, tmp_path: Path) -> tuple[Path, str]:
    """A copy of the corpus in which one video was damaged after it was indexed; and that video's id."""
    shutil.copytree(footage.parent, tmp_path / "footage")
    manifest = Manifest.read([footage])
    roots = [str(tmp_path / "footage" / Path(root).name) for root in manifest.column("root")]
    index = manifest.table.column_names.index("root")
    moved = Manifest(manifest.table.set_column(index, manifest.table.schema.field("root"), [roots]))
    moved.write(tmp_path / "footage" / "manifest.parquet")
    row = int(np.flatnonzero(moved.sources == "alpha")[0])
    moved.path_of(row).write_bytes(b"not a video any more" * 50)
    return tmp_path / "footage" / "manifest.parquet", str(moved.video_ids[row])


@pytest.mark.slow
def test_a_video_that_fails_is_replaced_within_its_source_and_listed_once(
    warm: Warm, broken_footage: tuple[Path, str], tmp_path: Path
) -> None:
    manifest, broken = broken_footage
    more = ("trainer.steps=6", "trainer.checkpoint_every=2")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    warm.run(overrides("mae", manifest, tmp_path, whole.name, *more))
    failures = lines_of(whole / "failures.jsonl")
    source_of = dict(zip(Manifest.read([manifest]).video_ids, Manifest.read([manifest]).sources, strict=True))
    assert len(failures) > 3
    for failure in failures:
        assert failure["video_id"] == broken and failure["source"] == "alpha" and failure["reason"]
        assert failure["replaced_by"] != broken and source_of[failure["replaced_by"]] == "alpha"
        assert failure["step"] == failure["position"] // 8 + 1
    assert "mp4" not in (whole / "failures.jsonl").read_text()  # no file name
    for line in lines_of(whole / "metrics.jsonl"):
        listed = sum(failure["step"] < line["step"] for failure in failures)
        assert line["source_failures"] == ({"alpha": listed} if listed else {})

    arguments = overrides("mae", manifest, tmp_path, resumed.name, *more)
    stop = ["--stop-after", "3", *arguments]
    warm.run(stop, program=RECORDED)
    crashed = warm.start(arguments, crash=(resumed / "failures.jsonl", 2))
    assert crashed.wait() == -9
    warm.run(arguments)
    assert lines_of(resumed / "failures.jsonl") == failures
    assert_same_run(resumed, whole)


def test_a_source_of_which_nothing_can_be_read_ends_the_run(
    warm: Warm, broken_footage: tuple[Path, str], tmp_path: Path
) -> None:
    manifest, _ = broken_footage
    shutil.rmtree(tmp_path / "footage" / "gamma")
    said = warm.run(overrides("mae", manifest, tmp_path, "gone"), status=2)
    assert "source 'gamma': none of 1 video" in said and "(missing: " in said and "Traceback" not in said


# -- numbers that are none


@pytest.mark.parametrize("variant", ["mae", pytest.param("jepa", marks=pytest.mark.slow)])
def test_a_loss_that_is_no_number_stops_before_the_update(
    variant: str, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    name = f"wild_{variant}"
    more = ("optim.lr=1e30", "optim.lr_end=1e30", "trainer.checkpoint_every=1")
    said = warm.run(overrides(variant, footage, tmp_path, name, *more), status=2)
    found = re.search(r"error: the (?:loss of|gradient's norm at) step (\d+) is (?:nan|inf); nothing was updated", said)
    assert found and "Traceback" not in said, said
    named = set(said.rsplit("whose loss it is: ", 1)[-1].rsplit("of this rank: ", 1)[-1].strip().split(", "))
    manifest = Manifest.read([footage])
    step = int(found[1])
    rows = build_data(load_run(tmp_path / name).config).sampler.draw(np.arange(8 * (step - 1), 8 * step)).rows
    assert named == {str(manifest.video_ids[row]) for row in rows}
    assert metrics_of(tmp_path / name)[-1]["step"] == step - 1 == load_run(tmp_path / name).progress.step
    weights = {key: value for key, value in state_of(tmp_path / name).items() if key.startswith("/learner")}
    assert all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.slow
def test_a_gradient_that_is_no_number_stops_before_the_update(footage: Path, tmp_path: Path) -> None:
    config = compose_config(overrides("mae", footage, tmp_path, "broken", "trainer.checkpoint_every=1"))
    claim_folder(config, tmp_path / "broken" / "config.yaml")
    run = build_run(config, build_runtime(config))
    weight = run.trained.learner.encoder.norm.weight
    calls = []
    weight.register_hook(lambda gradient: calls.append(1) or (gradient * float("nan") if len(calls) == 4 else gradient))
    with pytest.raises(NonFiniteLossError, match=r"gradient's norm at step 4 is nan; nothing was updated.*alpha_"):
        pretrain(run)
    assert all(torch.isfinite(value).all() for value in run.trained.learner.parameters())
    restored = load_run(tmp_path / "broken")
    assert restored.progress.step == 3
    for mine, saved in zip(run.trained.learner.parameters(), restored.objective.learner.parameters(), strict=True):
        assert torch.equal(mine, saved)
