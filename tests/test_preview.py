"""Preview: its pictures and tables are those of the run, its estimates those of torch, and nothing of the run folder is taken."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from surgrec.config.build import build_data, build_masker, build_objective
from surgrec.config.compose import compose_config
from surgrec.config.estimate import estimate
from surgrec.config.footage import resolve_footage
from surgrec.config.schema import Config
from surgrec.core.errors import UserError
from surgrec.core.grid import TokenGrid
from surgrec.masks.masks import MaskSet
from surgrec.preview import preview, schedules
from surgrec.training.sheets import mask_sheet
from tests.footage import HOURS, write_corpus
from tests.training.tiny import VARIANTS, overrides

DENSE = "objective.dense=true"
KINDS = [("mae",), ("jepa",), ("jepa", DENSE)]
NAMES = ("clips", "masks", "mixture", "schedules")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def tiny(variant: str, *more: str) -> Config:
    return compose_config(overrides(variant, Path("nowhere.parquet"), Path("runs"), "tiny", *more))


@pytest.mark.parametrize("variant", ["jepa", pytest.param("mae", marks=pytest.mark.slow)])
def test_pictures_and_tables(variant: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose_config(overrides(variant, manifest, tmp_path, "look", "trainer.steps=10"))
    assert preview(config) == 0
    folder = tmp_path / "look"
    assert [path.name for path in folder.iterdir()] == ["previews"], "the run folder must stay free for a run"
    assert sorted(path.name for path in (folder / "previews").iterdir()) == [f"{name}.png" for name in NAMES]
    for path in (folder / "previews").iterdir():
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 100 and pixels.std() > 10
    said = capsys.readouterr().out
    assert "patient" not in said, "file names may name patients"
    rows = {
        row[0]: row
        for row in re.findall(r"^  (large|small|all) +(\d+) +([\d.]+) +([\d.]+)% +([\d,]+) +([\d,.]+)$", said, re.M)
    }
    weights = {source: hours**0.5 for source, hours in HOURS.items()}
    for source, hours in HOURS.items():
        share = weights[source] / sum(weights.values())
        assert float(rows[source][3]) == pytest.approx(100 * share, abs=0.06)
        assert float(rows[source][4]) == pytest.approx(share * 80, abs=0.51)
        passes = share * 80 * 4 * config.data.frame_interval_seconds / (3600 * hours)
        assert float(rows[source][5]) == pytest.approx(passes, abs=0.06)
    assert rows["all"][1] == "4" and rows["all"][4] == "80"
    shares = {source: weights[source] / sum(weights.values()) for source in HOURS}
    effective = 1 / sum(shares[source] ** 2 / HOURS[source] for source in HOURS)
    assert f"effective footage        {effective:,.3f} hours, {effective / sum(HOURS.values()):.0%} of all" in said
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_passes_are_of_the_seconds_that_each_phase_draws(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schedule whose last stage, of longer clips, draws from the small source alone."""
    more = [
        "trainer.steps=10",
        "trainer.phases=[{steps: 10, num_frames: 8, lr_end: 0.0}]",
        "+mix.schedule.weights.source.large=0",
    ]
    config = compose_config(overrides("mae", manifest, tmp_path, "look", *more))
    assert preview(config) == 0
    row = re.search(r"^  small +\d+ +([\d.]+) +[\d.]+% +[\d,]+ +([\d,.]+)$", capsys.readouterr().out, re.M)
    assert row is not None
    interval = config.data.frame_interval_seconds
    mixture, batch = build_data(config).mixture, config.data.global_batch_size
    first = mixture.strata.shares[:-1, mixture.table.sources.index("small")].sum() * batch * 4 * interval
    expected = (first + 10 * batch * 8 * interval) / (3600 * HOURS["small"])
    assert float(row[2]) == pytest.approx(expected, abs=0.06)


def test_the_captions_name_video_and_moment(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from surgrec.config.build import build_data
    from surgrec.training import sheets

    config = compose_config(overrides("mae", manifest, tmp_path, "look"))
    seen: list[str] = []
    draw_clips = sheets.clip_sheet
    monkeypatch.setattr(
        sheets, "clip_sheet", lambda clips, captions: seen.extend(captions) or draw_clips(clips, captions)
    )
    preview(config)
    data = build_data(config)
    draws = data.sampler.draw(np.arange(8))
    expected = [
        f"{data.manifest.video_ids[row]} of {data.mixture.table.sources[source]}, from {start:.2f} s"
        for row, source, start in zip(draws.rows, draws.source_index, draws.start_seconds, strict=True)
    ]
    assert seen == expected


def test_masks_are_drawn_where_they_are() -> None:
    grid = TokenGrid(2, 2, 2)
    # cell 0 is seen, 1 and 2 are predicted, 3 is in neither
    mask = MaskSet(torch.tensor([[0, 4]]), torch.tensor([[1, 2, 5, 6]]))
    clip = np.full((1, 4, 32, 32, 3), 0.5, dtype=np.float32)
    figure = mask_sheet(clip, (mask,), grid)
    picture = np.asarray(figure.axes[0].get_images()[0].get_array())
    corners = [picture[8, 8], picture[8, 24], picture[24, 8], picture[24, 24]]
    assert corners[0] == pytest.approx([0.5] * 3)
    assert all(blue > 1.5 * red for red, _, blue in corners[1:3])
    assert corners[3] == pytest.approx([corners[3][0]] * 3) and corners[3][0] > 0.7
    assert "25.0% seen" in figure.axes[0].get_title(loc="left") and "25.0% in neither" in figure.axes[0].get_title(
        loc="left"
    )


def test_schedules_are_those_of_the_run() -> None:
    steps, curves = schedules(compose_config(["+variant=jepa"]))
    assert steps[0] == 0 and steps[-1] == 239_999
    assert curves["learning rate"][[0, -1]] == pytest.approx([1e-4, 5.25e-4])
    assert curves["weight decay"] == pytest.approx(0.04) and curves["momentum of the target encoder"] == pytest.approx(
        0.99925
    )
    assert set(schedules(compose_config(["+variant=mae"]))[1]) == {"learning rate", "weight decay"}
    weight = schedules(compose_config(["+variant=jepa", "+experiment=vjepa21"]))[1]["weight of the context loss"]
    assert weight[0] == 0 and weight[-1] == 0.5 and 0.4 < (weight == 0.5).mean() < 0.9


# -- footage


def test_without_a_manifest_the_sentence_names_both_ways_out() -> None:
    with pytest.raises(UserError, match=r"mix\.manifests=.*\+experiment=quickstart"):
        resolve_footage(compose_config(["+variant=mae"]))


@pytest.mark.slow
def test_the_embedded_corpus_is_rendered_where_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from surgrec.synthetic import corpus

    asked = []

    def synthesize(out: Path, scale: str, seed: int, num_workers: int) -> Path:
        asked.append((out, scale, seed))
        return write_corpus(out)

    monkeypatch.setattr(corpus, "synthesize", synthesize)
    options = [
        option for option in overrides("mae", Path("x"), tmp_path, "look") if not option.startswith("mix.manifests")
    ]
    config = compose_config([*options, "+experiment=quickstart", *options[2:], f"paths.embedded={tmp_path}"])
    assert preview(config) == 0
    assert asked == [(tmp_path / "quickstart", "quickstart", 0)]
    assert config.mix.manifests == [str(tmp_path / "quickstart" / "manifest.parquet")]


# -- estimates


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_and_state(kind: tuple[str, ...]) -> None:
    config = tiny(*kind)
    cost, objective = estimate(config), build_objective(config)
    trained = sum(parameter.numel() for parameter in objective.learner.parameters())
    frozen = sum(parameter.numel() for parameter in objective.frozen.parameters())
    assert sum(cost.counts.values()) == trained + frozen
    assert cost.state_bytes == 16 * trained + 4 * frozen and not cost.is_bf16  # runtime=cpu
    assert estimate(tiny(*kind, "runtime=ddp")).state_bytes == (16 + 2 + 4) * trained + 4 * frozen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
def test_operations_are_what_torch_counts(kind: tuple[str, ...], checkpointing: str) -> None:
    config = tiny(*kind, "runtime.attention=math", f"runtime.activation_checkpointing={checkpointing}")
    objective, masks = build_objective(config), build_masker(config).draw([0])
    video = torch.randn(1, 3, 4, 32, 32)
    with FlopCounterMode(display=False) as counter:
        targets = objective.targets(video, masks)
        objective.learner(video, masks, targets).loss.backward()
    # exact, but for torch leaving out the end of a block that it computes again
    tolerance = 0.1 if checkpointing == "full" else 1e-9
    assert estimate(config).clip_flops == pytest.approx(counter.get_total_flops(), rel=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_what_autograd_keeps(kind: tuple[str, ...]) -> None:
    config = tiny(*kind)
    objective, positions = build_objective(config), range(16)
    masks, video = build_masker(config).draw(positions), torch.randn(len(positions), 3, 4, 32, 32)
    parameters = {parameter.untyped_storage().data_ptr() for parameter in objective.learner.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    targets = objective.targets(video, masks)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outcome = objective.learner(video, masks, targets)
    assert estimate(config).clip_bytes * len(positions) == pytest.approx(sum(kept.values()), rel=0.25)
    del outcome


def test_official_masks_count_as_their_batches_are_cut() -> None:
    """The mean counts of 2,000 batches of 24 clips: 0.241 and 0.475, 0.063 and 0.703 of 2048 tokens."""
    cost = estimate(compose_config(["+variant=jepa", "mask.mode=official", "data.global_batch_size=24"]))
    (context, target), (few, most) = cost.tokens
    assert context == pytest.approx(0.241 * 2048, rel=0.15) and target == pytest.approx(0.475 * 2048, rel=0.15)
    assert few == pytest.approx(0.063 * 2048, rel=0.4) and most == pytest.approx(0.703 * 2048, rel=0.05)
    alone = estimate(compose_config(["+variant=jepa", "mask.mode=official", "data.global_batch_size=1"]))
    assert all(sum(tokens) == 2048 for tokens in alone.tokens)  # nothing to cut


def test_vjepa21_costs_more_by_its_deeper_predictor_and_its_ends() -> None:
    plain, dense = (estimate(compose_config(["+variant=jepa", *more])) for more in ((), ("+experiment=vjepa21",)))
    assert dense.counts["encoder"] - plain.counts["encoder"] == 3 * 2 * 1024 + 1024  # level norms, modality embedding
    assert dense.counts["predictor"] > 2 * plain.counts["predictor"]
    assert 1.1 < dense.clip_flops / plain.clip_flops < 1.4 and dense.clip_bytes > plain.clip_bytes


def test_the_published_runs_cost_what_their_surveys_say() -> None:
    """Training operations of a clip, analytic: VideoMAE-B 207 G with all patches embedded, V-JEPA 2 ViT-L 3.6 T."""
    mae, jepa = (estimate(compose_config([f"+variant={variant}"])) for variant in VARIANTS)
    assert mae.clip_flops == pytest.approx(0.96 * 207e9, rel=0.03) and jepa.clip_flops == pytest.approx(
        3.6e12, rel=0.03
    )
    assert mae.run_flops == mae.clip_flops * 2048 * 43950
    assert (mae.counts["encoder"], jepa.counts["encoder"]) == (86_227_200, 303_885_312)
    assert mae.clips_that_fit(80e9) == (0.8 * 80e9 - mae.state_bytes) // mae.clip_bytes and mae.clips_that_fit(1e9) == 0
