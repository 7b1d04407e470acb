"""The wiring: objects follow the configuration, start alike in every process, and take their first weights from a release."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from surgrec.config.build import (
    build_encoder,
    build_masker,
    build_objective,
    build_plan,
    build_run,
    build_runtime,
    load_run,
    say_first,
)
from surgrec.config.compose import compose_config, save_config
from surgrec.config.estimate import estimate
from surgrec.config.schema import Config
from surgrec.core.errors import ToldError, UserError
from surgrec.data.preprocess import PreprocessSpec
from surgrec.hub.head import head_of
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.hub.release import Release, write_release
from surgrec.masks.multiblock import MultiBlockMasker
from surgrec.masks.official import OfficialMultiBlockMasker
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.training.folder import RunFolder
from surgrec.training.loop import pretrain
from surgrec.training.runtime import Runtime
from tests.footage import write_corpus
from tests.training.tiny import VARIANTS, overrides


def tiny(variant: str, *more: str) -> Config:
    return compose_config(overrides(variant, Path("nowhere.parquet"), Path("runs"), "tiny", *more))


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def release(folder: Path, variant: str, *more: str) -> tuple[Path, torch.nn.Module]:
    """A release of an encoder and a head drawn with seed 99, and that encoder."""
    objective = build_objective(tiny(variant, "seed=99", *more))
    encoder, head = objective.released_encoder, head_of(objective)
    pixels = PreprocessSpec(short_side_pixels=32, crop_pixels=32)
    write_release(Release(encoder, head, ClipPreprocess(4, 0.2, pixels), variant, variant, 1), folder)
    return folder, encoder


def test_the_published_models_have_the_published_shapes() -> None:
    with torch.device("meta"):
        mae, jepa = (build_objective(compose_config([f"+variant={variant}"])) for variant in VARIANTS)
    assert isinstance(mae, MAE) and isinstance(jepa, JEPA)
    assert (mae.released_encoder.width, len(mae.released_encoder.blocks), mae.released_encoder.num_heads) == (
        768,
        12,
        12,
    )
    assert (jepa.released_encoder.width, len(jepa.released_encoder.blocks), jepa.released_encoder.num_heads) == (
        1024,
        24,
        16,
    )
    assert jepa.learner.predictor.mask_tokens.shape == (1, 1, 1, 384)


def test_vjepa21_has_its_published_parts() -> None:
    """Levels after blocks 6, 12, 18 and 24; a predictor of 24 x 384; the survey's input and output layers."""
    with torch.device("meta"):
        objective = build_objective(compose_config(["+variant=jepa", "+experiment=vjepa21"]))
    encoder, predictor = objective.released_encoder, objective.learner.get_submodule("predictor")
    assert isinstance(predictor, Predictor)
    assert encoder.levels == (5, 11, 17, 23) and encoder.rope_style == predictor.rope_style == "interleaved"
    assert encoder.rope_grid == predictor.rope_grid == 16
    shapes = {name: tuple(weight.shape) for name, weight in predictor.named_parameters()}
    assert shapes["embed.0.weight"] == (1024, 4096) and shapes["embed.2.weight"] == (384, 1024)
    assert shapes["proj.weight"] == shapes["proj_context.weight"] == (4096, 384)
    assert shapes["modality"] == (384,) and len(predictor.blocks) == 24
    assert encoder.modality is not None and len(encoder.level_norms) == 3


def test_the_mask_mode_chooses_the_scheme() -> None:
    ours, theirs = (build_masker(tiny("jepa", f"mask.mode={mode}")) for mode in ("exact", "official"))
    assert type(ours) is MultiBlockMasker and type(theirs) is OfficialMultiBlockMasker
    assert (theirs.grid, theirs.groups, theirs.seed, theirs.aspect) == (ours.grid, ours.groups, ours.seed, ours.aspect)
    with pytest.raises(UserError, match=r"mask\.mode"):
        tiny("jepa", "mask.mode=published")


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_depend_on_the_seed_alone(variant: str) -> None:
    first = build_objective(tiny(variant))
    torch.rand(17)  # whatever happened before in the process
    assert equal(first.learner, build_objective(tiny(variant, "runtime.activation_checkpointing=full")).learner)
    assert not equal(first.learner, build_objective(tiny(variant, "seed=1")).learner)


def test_the_plan_holds_the_schedules() -> None:
    plan = build_plan(compose_config(["+variant=mae", "optim.weight_decay_end=0.4"]))
    assert (
        plan.rate.at(0) == 0
        and plan.rate.at(11720) == pytest.approx(1.2e-3)
        and plan.rate.at(43950) == pytest.approx(8e-5)
    )
    assert plan.weight_decay.at(0) == pytest.approx(0.05) and plan.weight_decay.at(43950) == pytest.approx(0.4)


def test_masks_of_the_published_runs() -> None:
    (mae,) = build_masker(compose_config(["+variant=mae"])).draw([0])
    first, second = build_masker(compose_config(["+variant=jepa"])).draw([0])
    assert (mae.context.shape, mae.target.shape) == ((1, 160), (1, 1408))
    assert [mask.context.shape[1] for mask in (first, second)] == [64 * 8, 16 * 8]
    assert [mask.target.shape[1] for mask in (first, second)] == [128 * 8, 176 * 8]


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(UserError, match="30"):
        build_encoder(tiny("mae", "augment.crop_pixels=30"))
    with pytest.raises(UserError, match="huge, giant"):
        build_encoder(tiny("mae", "backbone.size=enormous"))


# -- init


@pytest.mark.parametrize("variant", VARIANTS)
def test_encoder_target_encoder_and_head_start_from_the_release(variant: str, tmp_path: Path) -> None:
    folder, encoder = release(tmp_path / "there", variant)
    fresh, started = build_objective(tiny(variant)), build_objective(tiny(variant, f"init=surgrec:{folder}"))
    assert equal(started.learner.encoder, encoder) and not equal(fresh.learner.encoder, encoder)
    assert all(equal(module, encoder) for module in started.frozen.values())
    assert all(parameter.requires_grad for parameter in started.learner.parameters())
    head = "decoder" if variant == "mae" else "predictor"
    assert not equal(getattr(started.learner, head), getattr(fresh.learner, head))
    released = build_objective(tiny(variant, "seed=99"))
    assert equal(getattr(started.learner, head), getattr(released.learner, head))


def test_other_clips_fit_other_encoders_do_not(tmp_path: Path) -> None:
    folder, encoder = release(tmp_path / "there", "jepa")
    longer = build_objective(tiny("jepa", f"init=surgrec:{folder}", "data.num_frames=8", "augment.crop_pixels=64"))
    assert equal(longer.learner.encoder, encoder)
    with pytest.raises(
        UserError, match=r"num_heads is 4, not 2"
    ):  # equal shapes of weights: only the description tells
        build_objective(tiny("jepa", f"init=surgrec:{folder}", "backbone.num_heads=2"))
    with pytest.raises(UserError, match="positions is rope, not sincos"):
        build_objective(tiny("mae", f"init=surgrec:{folder}"))


def test_added_positions_of_another_grid_are_not_computed_in_silence(tmp_path: Path) -> None:
    folder, encoder = release(tmp_path / "there", "mae")
    longer = (f"init=surgrec:{folder}", "data.num_frames=8")
    with pytest.raises(UserError, match=r"on a grid of 2 x 4 x 4 tokens and this run has 4 x 4 x 4; .*position_grid="):
        build_objective(tiny("mae", *longer))
    said: list[str] = []
    resampled = build_objective(tiny("mae", *longer, "backbone.position_grid=[2,4,4]"), said.append)
    assert equal(resampled.learner.encoder, encoder) and "positions: resampled from a grid of 2 x 4 x 4" in said[2]
    assert resampled.released_encoder.position_grid == (2, 4, 4) == resampled.learner.decoder.position_grid


def nano_videomae(folder: Path) -> str:
    """A VideoMAE checkpoint of the tiny run's own shape; skips without transformers."""
    from tests.hub.official_files import mae_file, videomae_pretraining
    from tests.models.oracle import Case, oracle, videomae_config

    case = Case((128, 6, 4, 4.0), (64, 1, 2, 4.0), (4, 32, 32, 2, 8))
    weights = videomae_pretraining(oracle("VideoMAEForPreTraining", videomae_config(case)))
    return f"videomae:{mae_file(folder / 'w.pth', weights, clip=(4, 32))}@heads:4@head_heads:2"


@pytest.mark.slow
def test_a_run_starts_from_a_foreign_checkpoint_says_so_once_and_continues_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = nano_videomae(tmp_path)
    manifest = write_corpus(tmp_path / "corpus")
    config = compose_config(overrides("mae", manifest, tmp_path, "run", f"init={init}", "trainer.steps=1"))
    assert estimate(config) == estimate(replace(config, init=None))
    runtime = build_runtime(config)
    (tmp_path / "run").mkdir()
    save_config(config, RunFolder(tmp_path / "run").config_file)
    run = build_run(config, runtime)
    weights = torch.load(tmp_path / "w.pth", weights_only=False)["model"]
    state = run.trained.learner.state_dict()
    assert torch.equal(state["encoder.norm.weight"], weights["encoder.norm.weight"])
    assert torch.equal(state["decoder.head.weight"], weights["decoder.head.weight"])
    said = capsys.readouterr().err
    assert "videomae: 101 of 101 weights of the encoder and decoder filled; no key dropped\n" in said
    assert "videomae: the decoder starts from the file too\n" in said
    pretrain(run)
    (tmp_path / "w.pth").unlink()
    assert pretrain(build_run(config, runtime)) is None
    assert "videomae" not in capsys.readouterr().err
    runtime.close()


def test_only_the_first_rank_tells_what_was_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for is_first in (True, False):
        say_first(cast(Runtime, SimpleNamespace(is_first=is_first)))("vjepa2: loaded")
        assert ("vjepa2: loaded" in capsys.readouterr().err) == is_first


@pytest.mark.parametrize("init", ["vjepa9:weights.pt", "surgrec", "surgrec:", "weights.pt"])
def test_an_unknown_family_lists_the_known(init: str) -> None:
    with pytest.raises(UserError, match=r"known family \(surgrec, videomae, .*surgrec-jepa, .*endofm\)"):
        build_objective(replace(tiny("mae"), init=init))


def test_no_release_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no release folder"):
        build_objective(tiny("mae", f"init=surgrec:{tmp_path / 'nothing'}"))


def test_a_run_that_continues_no_longer_needs_what_it_started_from(tmp_path: Path) -> None:
    folder, _ = release(tmp_path / "there", "mae")
    manifest = write_corpus(tmp_path / "corpus")
    options = overrides("mae", manifest, tmp_path, "run", f"init=surgrec:{folder}", "trainer.steps=1")
    config = compose_config(options)
    runtime = build_runtime(config)
    (tmp_path / "run").mkdir()
    save_config(config, tmp_path / "run" / "config.yaml")
    pretrain(build_run(config, runtime))
    folder.rename(tmp_path / "gone")
    assert pretrain(build_run(config, runtime)) is None
    loaded = load_run(tmp_path / "run")
    assert loaded.progress.step == 1 and f"init None -> surgrec:{folder}" in loaded.distance
    manifest.rename(tmp_path / "elsewhere.parquet")
    elsewhere = load_run(tmp_path / "run")
    assert elsewhere.objective.released_encoder.width == loaded.objective.released_encoder.width, (
        "weights need no footage"
    )
    with pytest.raises(UserError, match="on which this run was trained"):
        _ = elsewhere.table
    runtime.close()


# -- several processes


@pytest.mark.parametrize("is_first, fails", [(True, False), (True, True), (False, False), (False, True)])
def test_a_mistake_that_the_first_process_finds_is_told_once(is_first: bool, fails: bool) -> None:
    """The first process raises; the others end with the same status, having waited in the same reduction."""
    calls: list[float] = []

    def action() -> None:
        calls.append(0.5)
        if fails:
            raise UserError("told once")

    def mean_over_two(value: torch.Tensor) -> torch.Tensor:
        assert float(value) == float(is_first and fails)
        return torch.tensor(0.5 if fails else 0.0)

    runtime = cast(Runtime, SimpleNamespace(is_first=is_first, device=torch.device("cpu"), mean=mean_over_two))
    kind, words = (UserError, "told once") if is_first else (ToldError, "the first process tells")
    expected = pytest.raises(kind, match=words)
    with expected if fails else nullcontext():
        Runtime.on_first(runtime, action)
    assert len(calls) == is_first
