"""Every value of the `runtime` group changes speed, never results."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny import VARIANTS, Warm, assert_close_numbers, overrides

FOUR_STEPS = ("trainer.steps=4", "trainer.checkpoint_every=100")
OPTIONS = (
    "runtime.accumulation=2",
    "runtime.accumulation=4",
    "runtime.activation_checkpointing=true",
    "runtime.attention=math",
    "runtime.fused_optimizer=false",
)


@pytest.fixture(scope="module")
def plain(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run `mae` and a run `jepa` of four steps with the defaults."""
    runs = tmp_path_factory.mktemp("plain")
    for variant in VARIANTS:
        warm.run(overrides(variant, footage, runs, variant, *FOUR_STEPS))
    return runs


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_numbers_stay(variant: str, option: str, warm: Warm, footage: Path, plain: Path, tmp_path: Path) -> None:
    warm.run(overrides(variant, footage, tmp_path, "changed", *FOUR_STEPS, option))
    assert_close_numbers(tmp_path / "changed", plain / variant, ("loss", "grad_norm"), 1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_stays_near(variant: str, warm: Warm, footage: Path, plain: Path, tmp_path: Path) -> None:
    warm.run(overrides(variant, footage, tmp_path, "half", *FOUR_STEPS, "runtime.precision=bf16-mixed"))
    distance = assert_close_numbers(tmp_path / "half", plain / variant, ("loss",), 0.02)
    assert distance > 0  # it did compute in half precision


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_compiled_model_computes_the_same(
    variant: str, warm: Warm, footage: Path, plain: Path, tmp_path: Path
) -> None:
    process = warm.start(overrides(variant, footage, tmp_path, "compiled", *FOUR_STEPS, "runtime.compile=true"))
    assert process.wait(500) == 0, process.log.read_text()
    assert_close_numbers(tmp_path / "compiled", plain / variant, ("loss", "grad_norm"), 1e-5)


@pytest.mark.parametrize("clip_norm", [0.1, 1000.0])
def test_clipping_bounds_the_update_and_logs_the_norm_before(
    clip_norm: float, warm: Warm, footage: Path, plain: Path, tmp_path: Path
) -> None:
    more = (f"optim.clip_norm={clip_norm}", "runtime.accumulation=2")
    warm.run(overrides("mae", footage, tmp_path, "clipped", *FOUR_STEPS, *more))
    if clip_norm > 1:  # nothing to clip
        assert_close_numbers(tmp_path / "clipped", plain / "mae", ("loss", "grad_norm"), 1e-5)
    else:
        with pytest.raises(AssertionError, match="grad_norm"):
            assert_close_numbers(tmp_path / "clipped", plain / "mae", ("loss", "grad_norm"), 1e-5)
