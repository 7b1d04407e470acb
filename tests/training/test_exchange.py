"""What any number of processes saved under any strategy, every other loads: the same bits, and the same training from there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.training.tiny import (
    RECORDED,
    RELOADED,
    Warm,
    assert_close_numbers,
    metrics_of,
    overrides,
    state_of,
)

ON_CPU = ("runtime.accelerator=cpu",)
WORLDS: dict[str, tuple[int, tuple[str, ...]]] = {  # processes, and options
    "single": (1, ()),
    "ddp_2": (2, ("runtime=ddp", *ON_CPU)),
    "fsdp_2": (2, ("runtime=fsdp", *ON_CPU)),
    "hsdp_1_2": (2, ("runtime=fsdp", "runtime.shard_size=2", *ON_CPU)),
    "hsdp_2_1": (2, ("runtime=fsdp", "runtime.shard_size=1", *ON_CPU)),
}
STEPS, SAVED_AFTER, TOLERANCE = 6, 3, 1e-5
SHORT = (f"trainer.steps={STEPS}", "trainer.checkpoint_every=100")


def start(warm: Warm, world: str, arguments: list[str], program: str) -> None:
    size, options = WORLDS[world]
    if size == 1:
        warm.run([*arguments, *options], program=program)
    else:
        warm.run_world(size, [*arguments, *options], program)


@pytest.fixture(scope="module")
def reference(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process made without a break."""
    runs = tmp_path_factory.mktemp("reference")
    warm.run(overrides("jepa", footage, runs, "run", *SHORT), program=RECORDED)
    return runs / "run"


@pytest.fixture(scope="module", params=WORLDS)
def written(
    request: pytest.FixtureRequest, warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run that a world stopped after three steps."""
    runs = tmp_path_factory.mktemp(request.param)
    stop = ["--stop-after", str(SAVED_AFTER), *overrides("jepa", footage, runs, "run", *SHORT)]
    start(warm, request.param, stop, RECORDED)
    return runs / "run"


@pytest.mark.slow
@pytest.mark.parametrize("reader", WORLDS)
def test_every_world_loads_what_every_other_wrote(
    reader: str, written: Path, warm: Warm, footage: Path, reference: Path, tmp_path: Path
) -> None:
    shutil.copytree(written, tmp_path / "run")
    start(warm, reader, overrides("jepa", footage, tmp_path, "run", *SHORT), RELOADED)

    before, after = state_of(written, SAVED_AFTER), state_of(tmp_path / "run" / "reloaded", SAVED_AFTER)
    assert before.keys() == after.keys()
    for kind in ("/learner/", "/frozen/target_encoder", "/optimizer/state/"):
        assert any(name.startswith(kind) for name in before), kind
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == after[name].dtype and torch.equal(value, after[name]), name
        else:
            assert value == after[name], name

    assert [line["step"] for line in metrics_of(tmp_path / "run")] == list(range(1, STEPS + 1))
    assert_close_numbers(tmp_path / "run", reference, ("loss", "grad_norm"), TOLERANCE)
