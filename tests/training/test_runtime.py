"""Every value of the `runtime` group changes speed, never results."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from surgrec.training.runtime import Runtime, RuntimeSpec
from surgrec.training.update import clip_gradients
from tests.training.tiny import SHALLOW, VARIANTS, Runs, Warm, assert_close_numbers, overrides

FOUR_STEPS = ("trainer.steps=4", "trainer.checkpoint_every=100")
OPTIONS = (
    "runtime.accumulation=2",
    "runtime.accumulation=4",
    "runtime.activation_checkpointing=full",
    "runtime.attention=math",
    "runtime.fused_optimizer=false",
)
EVERYTHING_ELSE = OPTIONS[1:]  # at once


@pytest.fixture(scope="module")
def plain(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run `mae` and a run `jepa` of four steps with the defaults."""
    folder = tmp_path_factory.mktemp("plain")
    return Runs(folder, lambda variant: warm.run(overrides(variant, footage, folder, variant, *FOUR_STEPS)))


@pytest.mark.parametrize(
    "options", [EVERYTHING_ELSE, *(pytest.param([option], marks=pytest.mark.slow) for option in OPTIONS)]
)
@pytest.mark.parametrize("variant", ["mae", pytest.param("jepa", marks=pytest.mark.slow)])
def test_the_numbers_stay(
    variant: str, options: list[str], warm: Warm, footage: Path, plain: Runs, tmp_path: Path
) -> None:
    warm.run(overrides(variant, footage, tmp_path, "changed", *FOUR_STEPS, *options))
    assert_close_numbers(tmp_path / "changed", plain / variant, ("loss", "grad_norm"), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["jepa", pytest.param("mae", marks=pytest.mark.slow)])
def test_half_precision_stays_near(variant: str, warm: Warm, footage: Path, plain: Runs, tmp_path: Path) -> None:
    warm.run(overrides(variant, footage, tmp_path, "half", *FOUR_STEPS, "runtime.precision=bf16-mixed"))
    distance = assert_close_numbers(tmp_path / "half", plain / variant, ("loss",), 0.02)
    assert distance > 0  # it did compute in half precision


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_compiled_model_computes_the_same(variant: str, warm: Warm, footage: Path, tmp_path: Path) -> None:
    for name in ("compiled", "plain"):
        is_compiled = f"runtime.compile={str(name == 'compiled').lower()}"
        warm.run(overrides(variant, footage, tmp_path, name, *FOUR_STEPS, is_compiled), program=SHALLOW)
    assert_close_numbers(tmp_path / "compiled", tmp_path / "plain", ("loss", "grad_norm"), 1e-5)


@pytest.mark.slow
def test_clipping_to_a_norm_that_is_never_reached_changes_nothing(
    warm: Warm, footage: Path, plain: Runs, tmp_path: Path
) -> None:
    warm.run(overrides("mae", footage, tmp_path, "clipped", *FOUR_STEPS, "optim.clip_norm=1000"))
    assert_close_numbers(tmp_path / "clipped", plain / "mae", ("loss", "grad_norm"), 0.0)


@pytest.mark.parametrize("clip_norm", [None, 0.25, 1000.0])
def test_clipping_scales_gradients_to_the_norm_and_tells_the_norm_before(clip_norm: float | None) -> None:
    learner = nn.Linear(3, 2)
    for weight in learner.parameters():
        weight.grad = torch.randn_like(weight)
    before = torch.cat([weight.grad.flatten() for weight in learner.parameters()])
    assert float(clip_gradients(SimpleNamespace(learner=learner), clip_norm)) == pytest.approx(float(before.norm()))
    after = torch.cat([weight.grad.flatten() for weight in learner.parameters()])
    wanted = before * min(1.0, (clip_norm or 1e9) / float(before.norm()))
    torch.testing.assert_close(after, wanted, rtol=1e-4, atol=0)


@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_numbers_of_all_ranks_are_reduced_without_a_barrier(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a barrier the host waits, and every step reduces. Here a world of one; of two, see test_world.py."""
    if strategy == "ddp":
        launched = {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
        for name, value in (launched | {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "tests"}).items():
            monkeypatch.setenv(name, value)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    runtime = Runtime(RuntimeSpec(accelerator="cpu", strategy=strategy, precision="32-true"))
    barriers: list[str] = []
    try:
        assert dist.is_initialized() == (strategy == "ddp")
        monkeypatch.setattr(dist, "barrier", lambda *_, **__: barriers.append("waited"))
        values = torch.tensor([1.5, -2.0])
        each = [runtime.mean(values), runtime.sum(values)]
        assert barriers == []
        assert all(torch.equal(reduced, values) and reduced is not values for reduced in each)
        runtime.barrier()
        assert barriers == (["waited"] if strategy == "ddp" else [])  # it is seen where there is one
    finally:
        runtime.close()
