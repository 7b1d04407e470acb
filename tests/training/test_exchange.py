"""What any number of processes saved under any strategy, every other loads: the same bits, and the same training from there."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
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


# The published recipes' worlds in each of the others, and hybrid shards in their like: that single, ddp and fsdp load their own is what
# the tests of kills rest on. Shards of one process (`hsdp_2_1`, whole models summed as under ddp) come and go by one way each.
COMMON = ("single", "ddp_2", "fsdp_2", "hsdp_1_2")
PAIRS = [
    *(("jepa", writer, reader) for writer in COMMON for reader in COMMON if reader != writer),
    ("jepa", "hsdp_1_2", "hsdp_1_2"),
    ("jepa", "hsdp_2_1", "single"),
    ("jepa", "fsdp_2", "hsdp_2_1"),
    # without a target encoder: what is saved has another form, the ways are the same
    ("mae", "ddp_2", "fsdp_2"),
    ("mae", "fsdp_2", "single"),
    ("mae", "single", "hsdp_1_2"),
]


@pytest.fixture(scope="module")
def made(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str | None], Path]:
    """The folder of a run of a variant that a world stopped after three steps; of no world: that one process made without a break."""
    runs = tmp_path_factory.mktemp("made")

    @functools.cache
    def make(variant: str, world: str | None) -> Path:
        name = f"{variant}_{world or 'whole'}"
        stop = [] if world is None else ["--stop-after", str(SAVED_AFTER)]
        start(warm, world or "single", [*stop, *overrides(variant, footage, runs, name, *SHORT)], RECORDED)
        return runs / name

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "writer", "reader"), PAIRS)
def test_every_world_loads_what_every_other_wrote(
    variant: str,
    writer: str,
    reader: str,
    made: Callable[[str, str | None], Path],
    warm: Warm,
    footage: Path,
    tmp_path: Path,
) -> None:
    reference, written = made(variant, None), made(variant, writer)
    # the run's own name, since a checkpoint says of which configuration it is
    folder = shutil.copytree(written, tmp_path / written.name)
    start(warm, reader, overrides(variant, footage, tmp_path, written.name, *SHORT), RELOADED)

    before, after = state_of(written, SAVED_AFTER), state_of(folder / "reloaded", SAVED_AFTER)
    assert before.keys() == after.keys()
    for kind in ("/learner/", "/frozen/target_encoder", "/optimizer/state/"):
        is_wanted = variant == "jepa" or not kind.startswith("/frozen")
        assert any(name.startswith(kind) for name in before) == is_wanted, kind
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == after[name].dtype and torch.equal(value, after[name]), name
        else:
            assert value == after[name], name

    assert [line["step"] for line in metrics_of(folder)] == list(range(1, STEPS + 1))
    assert_close_numbers(folder, reference, ("loss", "grad_norm"), TOLERANCE)
