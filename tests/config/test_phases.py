"""Laws of phases and of the presets that use them: each phase is a configuration, schedules join, numbers are the published ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from surgrec.config.build import build_grid, build_momentum, build_plan, build_preprocess, head_size
from surgrec.config.compose import compose_config, distance_from_variant, read_config, save_config
from surgrec.config.estimate import estimate
from surgrec.config.phases import phase_after, phases_of
from surgrec.config.schema import Config, JEPAConfig
from surgrec.core.errors import UserError
from surgrec.models.sizes import SIZES, HeadSize

LONGER = "{steps: 4, num_frames: 32, crop_pixels: 384, lr_end: 0}"
SMALLER = "{steps: 6, global_batch_size: 1024, lr: 1e-4, lr_end: 1e-5}"
TWO = f"trainer.phases=[{LONGER}, {SMALLER}]"


def jepa(*options: str) -> Config:
    return compose_config(["+variant=jepa", *options])


def test_a_phase_is_a_configuration() -> None:
    config = jepa("trainer.steps=10", TWO)
    main, longer, smaller = phases_of(config)
    assert main.config is config and [phase.number for phase in (main, longer, smaller)] == [0, 1, 2]
    assert [phase.span.first_step for phase in (main, longer, smaller)] == [0, 10, 14]
    assert smaller.span.first_position == 14 * 3072 and smaller.span.stop_step == build_plan(config).steps == 20
    assert build_grid(longer.config).num_tokens == 16 * 24 * 24 and build_preprocess(longer.config).crop_pixels == 384
    assert smaller.config.data.num_frames == 16 and smaller.config.augment.crop_pixels == 256, "null is the run's own"
    assert estimate(longer.config).run_flops == estimate(longer.config).clip_flops * 4 * 3072
    assert [phase_after(config, steps).number for steps in (0, 1, 10, 11, 14, 15, 20)] == [0, 0, 0, 1, 1, 2, 2]


def test_the_learning_rate_goes_on_from_where_the_phase_before_ended() -> None:
    config = jepa("trainer.steps=10", "optim.warmup_steps=5", TWO)
    rate = build_plan(config).rate
    assert rate.at(0) == pytest.approx(1e-4) and rate.at(9) == rate.at(10) == pytest.approx(5.25e-4)
    assert rate.at(12) == pytest.approx(5.25e-4 / 2)
    assert rate.at(14) == pytest.approx(1e-4) and rate.at(17) == pytest.approx(5.5e-5)


def momentum_of(config: Config) -> list[float]:
    assert isinstance(config.objective, JEPAConfig)
    schedule = build_momentum(config, config.objective)
    return [schedule.at(step) for step in range(build_plan(config).steps)]


def test_a_half_life_in_samples_is_kept_at_any_batch() -> None:
    """After as many samples as the half-life, the weights that the average began with count half, whatever the batch."""
    for batch in (64, 512, 3072):
        steps = 1000
        half_life = f"objective.ema_half_life_samples={batch * steps}"
        values = momentum_of(
            jepa(half_life, "objective.ema=null", f"data.global_batch_size={batch}", f"trainer.steps={steps}")
        )
        assert math.prod(values) == pytest.approx(0.5)


def test_a_half_life_holds_through_phases_of_other_batches() -> None:
    values = momentum_of(jepa("objective.ema=null", "objective.ema_half_life_samples=24576", "trainer.steps=10", TWO))
    assert values == pytest.approx([0.5 ** (3072 / 24576)] * 14 + [0.5 ** (1024 / 24576)] * 6)


def test_a_momentum_that_moves_stays_at_its_end() -> None:
    values = momentum_of(jepa("objective.ema=0.9", "objective.ema_end=1.0", "trainer.steps=10", TWO))
    assert values == pytest.approx([0.9 + 0.01 * step for step in range(10)] + [1.0] * 10)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["objective.ema_half_life_samples=1e6"], "give exactly one and set the other to null"),
        (["objective.ema=null"], "give exactly one and set the other to null"),
        (["objective.ema=null", "objective.ema_half_life_samples=-1"], "ema_half_life_samples=-1.0 must be above 0"),
        (["objective.ema=null", "objective.ema_half_life_samples=9", "objective.ema_end=1"], "ema_end=1.0 .* set it to null"),
        (["trainer.phases=[{steps: 0, lr_end: 0}]"], r"trainer\.phases\[0\]\.steps=0 must be at least 1"),
        (["trainer.phases=[{steps: 1, lr_end: -1}]"], r"trainer\.phases\[0\]\.lr_end=-1\.0 must be a number of at least 0"),
        (["trainer.phases=[{steps: 1, lr_end: 0, num_frames: 0}]"], r"trainer\.phases\[0\]\.num_frames=0 must be"),
        (["trainer.phases=[{steps: 1}]"], r"leaves open: trainer\.phases\[0\]\.lr_end"),
        (["trainer.phases=[{steps: 1, lr_end: 0, crop: 384}]"], "no option .*crop"),
        (["data.repeats=0"], "data.repeats=0 must be at least 1"),
        (["mix.rehearsal_share=1"], "mix.rehearsal_share=1.0 must be null, or a share"),
        (["objective.head_width=0"], "objective.head_width=0 must be at least 1, or null"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(options: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        jepa(*options)


def test_phases_are_read_back_from_the_run_folder(tmp_path: Path) -> None:
    config = jepa(TWO, "objective.ema=null", "objective.ema_half_life_samples=1e6")
    save_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


# -- decoders and predictors by the encoder's size

BY_SIZE = ("objective.head_width=null", "objective.head_depth=null", "objective.head_heads=null")


@pytest.mark.parametrize("variant", ["mae", "jepa"])
@pytest.mark.parametrize(
    "size", ["base", *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES if size != "base")]
)
def test_every_encoder_has_its_decoder_and_predictor(variant: str, size: str) -> None:
    config = compose_config([f"+variant={variant}", f"backbone={size}", *BY_SIZE])
    assert sum(estimate(config).counts.values()) > 0, "it can be built"
    head = head_size(config)
    assert head.width < SIZES[size].width and head.width % head.num_heads == 0
    assert head_size(compose_config([f"+variant={variant}", f"backbone={size}"])).width == 384, (
        "the published ones are kept"
    )


@pytest.mark.slow
def test_published_decoders_and_predictors() -> None:
    """VideoMAE V2's decoders; V-JEPA 2's predictor at ViT-L, and at ViT-B one that takes about the same share of the step."""
    decoders = {size: head_size(compose_config(["+variant=mae", f"backbone={size}", *BY_SIZE])) for size in SIZES}
    assert decoders["small"] == HeadSize(192, 4, 3) and decoders["base"] == HeadSize(384, 4, 6)
    assert decoders["large"] == decoders["giant"] == HeadSize(512, 4, 8) and decoders["huge"] == HeadSize(640, 4, 8)
    assert head_size(jepa("backbone=large", *BY_SIZE)) == HeadSize(384, 12, 12)
    whole, sized = estimate(jepa("backbone=base")), estimate(jepa("backbone=base", *BY_SIZE))
    assert sized.clip_flops / whole.clip_flops == pytest.approx(0.71, abs=0.01)


# -- presets


def test_videomae2_is_its_published_batch_and_rate() -> None:
    config = compose_config(["+variant=mae", "+experiment=videomae2"])
    videos = config.data.global_batch_size / config.data.repeats
    assert videos == 32 * 32 and config.optim.lr == pytest.approx(1e-3 * videos / 256)
    cost, full = estimate(config), estimate(compose_config(["+variant=mae"]))
    assert cost.tokens == ((160, 704),) and cost.clip_flops / full.clip_flops == pytest.approx(0.682, abs=0.001)


def test_the_cooldown_is_v_jepa_2_s() -> None:
    plan = build_plan(jepa("+experiment=cooldown"))
    assert plan.steps == 252_000 and plan.rate.at(239_999) == plan.rate.at(240_000) == pytest.approx(5.25e-4)
    assert plan.rate.at(252_000) == pytest.approx(1e-6) and plan.rate.at(246_000) == pytest.approx((5.25e-4 + 1e-6) / 2)
    assert build_grid(phases_of(jepa("+experiment=cooldown"))[1].config).num_tokens == 8192


@pytest.mark.parametrize("batch", [256, 512, 1024, 3072])
def test_continuing_scales_rate_and_momentum_with_the_batch(batch: int) -> None:
    config = jepa("+experiment=continue", "init=vjepa2:/path", f"data.global_batch_size={batch}")
    assert config.optim.lr == config.optim.lr_end == pytest.approx(5.25e-4 * batch / 3072)
    assert f"optim.lr 0.000525 -> {config.optim.lr}" in distance_from_variant(config) or batch == 3072
    assert momentum_of(config)[0] == pytest.approx(0.99925 ** (batch / 3072), abs=1e-7)
    rate = build_plan(config).rate
    assert rate.at(3000) == pytest.approx(config.optim.lr) and rate.at(3600) == pytest.approx(1e-6 * batch / 3072)
    assert phases_of(config)[1].config.data.num_frames == 64


@pytest.mark.parametrize("variant", ["mae", "jepa"])
def test_continuing_from_nothing_is_told(variant: str) -> None:
    with pytest.raises(
        UserError, match=r"^\+experiment=continue goes on from weights that exist; add init=FAMILY:PATH"
    ):
        compose_config([f"+variant={variant}", "+experiment=continue"])
