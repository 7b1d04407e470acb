"""A run of several phases, and with several samples of a clip, is still a pure function of (configuration, step)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from surgrec.config.build import build_data, load_run
from surgrec.core.grid import TokenGrid
from surgrec.core.spans import Spans
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.export import main as export
from surgrec.masks.tube import TubeMasker
from surgrec.training.phases import PhasedAugment, PhasedMasker
from tests.training.tiny import (
    RECORDED,
    VARIANTS,
    Runs,
    Warm,
    assert_close_numbers,
    assert_same_run,
    lines_of,
    metrics_of,
    overrides,
)

# Four steps of 8 samples of clips of 4 frames, then four of 4 samples of longer and larger clips; each clip in two samples.
PHASES = (
    "trainer.steps=4",
    "trainer.phases=[{steps: 4, num_frames: 8, crop_pixels: 48, global_batch_size: 4, lr_end: 1e-4}]",
    "data.repeats=2",
    "trainer.checkpoint_every=100",
)
EACH = ("jepa", pytest.param("mae", marks=pytest.mark.slow))
SPECIFIC = {"mae": (), "jepa": ("objective.ema=null", "objective.ema_half_life_samples=100")}


def options(variant: str, footage: Path, runs: Path, name: str, *more: str) -> list[str]:
    return overrides(variant, footage, runs, name, *PHASES, *SPECIFIC[variant], *more)


@pytest.fixture(scope="module")
def whole(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run `mae` and a run `jepa` that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return Runs(folder, lambda variant: warm.run(options(variant, footage, folder, variant), program=RECORDED))


def read_by(folder: Path) -> list[list]:
    return sorted(row for file in folder.glob("read_by_rank_*.jsonl") for row in lines_of(file))


@pytest.mark.parametrize("variant", EACH)
def test_each_line_names_its_phase_and_its_rate(variant: str, whole: Runs) -> None:
    lines = metrics_of(whole / variant)
    assert [line["phase"] for line in lines] == [0] * 4 + [1] * 4
    begin = {"mae": 8e-5, "jepa": 1e-3}[variant]  # where the first phase ends: a cosine to lr_end, a constant
    assert [line["lr"] for line in lines[4:]] == pytest.approx([begin + (1e-4 - begin) * k / 4 for k in range(4)])


@pytest.mark.parametrize("variant", EACH)
def test_sources_count_each_clip_once(variant: str, whole: Runs) -> None:
    """4 steps of 8 / 2 clips, then 4 of 4 / 2."""
    lines = metrics_of(whole / variant)
    assert [sum(line["sources"].values()) for line in lines] == [4, 8, 12, 16, 18, 20, 22, 24]
    assert [row[0] for row in read_by(whole / variant)] == list(range(24)), "each clip is decoded once"
    data = build_data(load_run(whole / variant).config)
    counts = np.bincount(data.sampler.draw(np.arange(24)).source_index, minlength=3)
    assert lines[-1]["sources"] == dict(zip(data.mixture.table.sources, counts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("variant", "stop"),
    [
        ("jepa", 4),
        pytest.param("mae", 6, marks=pytest.mark.slow),
        pytest.param("mae", 3, marks=pytest.mark.slow),
        pytest.param("mae", 4, marks=pytest.mark.slow),
        pytest.param("jepa", 3, marks=pytest.mark.slow),
        pytest.param("jepa", 6, marks=pytest.mark.slow),
    ],
)
def test_to_continue_is_never_to_have_stopped(
    variant: str, stop: int, warm: Warm, footage: Path, whole: Runs, tmp_path: Path
) -> None:
    """Stopped before the boundary (3), at it (4), inside the second phase (6)."""
    command = options(variant, footage, tmp_path, "stopped", "data.workers=1" if stop == 3 else "data.workers=0")
    warm.run(["--stop-after", str(stop), *command], program=RECORDED)
    assert metrics_of(tmp_path / "stopped")[-1]["step"] == stop
    assert load_run(tmp_path / "stopped").clip.num_frames == (4 if stop <= 4 else 8)
    warm.run(command, program=RECORDED)
    assert_same_run(tmp_path / "stopped", whole / variant)


@pytest.mark.slow
def test_a_phase_added_to_a_finished_run_is_as_if_it_had_been_planned(
    warm: Warm, footage: Path, whole: Runs, tmp_path: Path
) -> None:
    command = options("mae", footage, tmp_path, "short")
    warm.run([*command, "trainer.phases=[]"])
    assert load_run(tmp_path / "short").progress.step == 4
    warm.run(command)
    assert_same_run(tmp_path / "short", whole / "mae")
    said = warm.run([*command, "trainer.phases=[]"], status=2)
    assert "holds a run with another configuration (trainer.phases" in said


@pytest.mark.slow
def test_two_processes_train_as_one(warm: Warm, footage: Path, whole: Runs, tmp_path: Path) -> None:
    command = options("jepa", footage, tmp_path, "two", "runtime=ddp", "runtime.accelerator=cpu")
    warm.run_world(2, command)
    assert read_by(tmp_path / "two") == read_by(whole / "jepa")
    assert_close_numbers(tmp_path / "two", whole / "jepa", ("loss", "grad_norm"), 1e-5)
    shares = [{row[0] for row in lines_of(tmp_path / "two" / f"read_by_rank_{rank}.jsonl")} for rank in range(2)]
    assert shares[0].isdisjoint(shares[1]) and len(shares[0]) == len(shares[1]) == 12


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_of_a_phase_of_fewer_clips_than_are_drawn(
    variant: str, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    """A step of two clips, each in four samples, then one of one."""
    short = ("trainer.steps=1", "trainer.phases=[{steps: 1, crop_pixels: 48, global_batch_size: 4, lr_end: 0.0}]")
    more = ("data.repeats=4", "trainer.picture_every=1", "trainer.health_every=100", "optim.warmup_steps=0")
    warm.run(options(variant, footage, tmp_path, "short", *short, *more))
    file = "step_{:08d}_features.png"
    heights = []
    for done in (1, 2):
        with Image.open(tmp_path / "short" / "previews" / file.format(done)) as picture:
            heights.append(picture.height)
    assert heights == [2 * 2 * (32 + 4), 1 * 2 * (48 + 4)]  # two rows a clip, each with its gap


def test_a_batch_that_would_part_a_clip_s_samples_ends_with_a_sentence(
    warm: Warm, footage: Path, tmp_path: Path
) -> None:
    said = warm.run(options("mae", footage, tmp_path, "none", "runtime.accumulation=4"), status=2)
    assert "data.global_batch_size=4 cannot be split" in said and "accumulate 1, 2" in said


@pytest.mark.parametrize("variant", EACH)
def test_a_release_takes_clips_as_its_last_phase_did(variant: str, whole: Runs) -> None:
    run = load_run(whole / variant)
    assert (run.clip.num_frames, run.preprocess.crop_pixels, run.preprocess.short_side_pixels) == (8, 48, 48)
    architecture = run.objective.released_encoder.architecture
    assert (architecture["num_frames"], architecture["height_pixels"], architecture["width_pixels"]) == (8, 48, 48)
    assert any(line.startswith("trainer.phases [] -> ") for line in run.distance)


@pytest.mark.slow
def test_continuing_from_a_release_on_surgery_and_general_video(
    warm: Warm, footage: Path, whole: Runs, tmp_path: Path
) -> None:
    """The preset, made small: weights of a release, a momentum by its half-life, rehearsal, a second phase."""
    release = tmp_path / "release"
    assert export(["--run", str(whole / "jepa"), "--out", str(release)]) == 0
    few = ("trainer.steps=2", "trainer.phases.0.steps=1", "trainer.phases.0.num_frames=8", "optim.warmup_steps=1")
    rehearsal = ("mix.rehearsal_sources=[gamma]", "mix.rehearsal_share=0.5")
    preset = ("+experiment=continue", f"init=surgrec:{release}", *few, *rehearsal)
    said = warm.run(overrides("jepa", footage, tmp_path, "further", *preset))
    assert f"init None -> surgrec:{release}" in said and "trainer.phases [] -> [{'steps': 1" in said
    lines = metrics_of(tmp_path / "further")
    assert [line["phase"] for line in lines] == [0, 0, 1] and sum(lines[-1]["sources"].values()) == 24
    table = load_run(tmp_path / "further").table
    assert table.rehearsed == ("gamma",) and table.shares[2] == pytest.approx(0.5)


# -- by position


def test_masks_and_crops_are_those_of_the_phase_that_draws_the_sample() -> None:
    spans = Spans([(2, 4), (2, 2)])
    maskers = [TubeMasker(TokenGrid(2, 4, 4), 0.5, seed=0), TubeMasker(TokenGrid(4, 6, 6), 0.5, seed=0)]
    augments = [ClipAugment(AugmentSpec(crop_pixels=size), seed=0) for size in (16, 24)]
    masker, augment = PhasedMasker(spans, maskers), PhasedAugment(spans, augments)
    frames = torch.randint(0, 255, (4, 40, 50, 3), dtype=torch.uint8)
    for number, positions in enumerate([[4, 5, 6, 7], [8, 9]]):
        (mine,), (its,) = masker.draw(positions), maskers[number].draw(positions)
        assert torch.equal(mine.context, its.context) and torch.equal(mine.target, its.target)
        clips = [frames] * len(positions)
        assert torch.equal(augment(clips, positions), augments[number](clips, positions))
    with pytest.raises(ValueError, match="one phase"):
        masker.draw([7, 8])


def test_samples_of_a_clip_are_cropped_and_masked_anew() -> None:
    frames = torch.randint(0, 255, (4, 40, 50, 3), dtype=torch.uint8)
    views = ClipAugment(AugmentSpec(crop_pixels=16), seed=0)([frames] * 4, range(4))
    (masks,) = TubeMasker(TokenGrid(2, 4, 4), 0.5, seed=0).draw(range(4))
    for one in range(4):
        for other in range(one):
            assert not torch.equal(views[one], views[other])
            assert not torch.equal(masks.context[one], masks.context[other])
