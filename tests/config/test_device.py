"""What a run says of its processes, its step and its memory before it begins."""

from __future__ import annotations

import pytest

from surgrec.config.build import accumulation_of
from surgrec.config.compose import compose_config
from surgrec.config.device import device_memory, start_lines
from surgrec.config.estimate import estimate
from surgrec.config.schema import Config
from surgrec.core.errors import UserError
from surgrec.training.launched import World

TINY = ("mix.manifests=[none.parquet]", "backbone=nano", "augment.crop_pixels=32", "backbone.patch=8")
JEPA = ("+variant=jepa", *TINY, "data.num_frames=4", "data.global_batch_size=64")


def composed(*options: str) -> Config:
    return compose_config([*JEPA, *options])


@pytest.mark.parametrize("strategy", ["auto", "ddp"])
def test_without_shards_the_parts_are_the_whole_that_preview_tells(strategy: str) -> None:
    config = composed(f"runtime={strategy}", "runtime.accumulation=4")
    cost, memory = estimate(config), device_memory(config, estimate(config), 2)
    assert memory.total == cost.state_bytes + 8 * cost.clip_bytes
    assert memory.parameters == memory.gradients == memory.optimiser / 2 == 4 * cost.num_trained
    assert memory.target_encoder == 4 * cost.num_frozen > 0


@pytest.mark.parametrize(("shard_size", "parts"), [("null", 8), ("2", 2), ("8", 8), ("1", 1)])
def test_shards_hold_their_part_of_all_that_lasts(shard_size: str, parts: int) -> None:
    whole, config = composed("runtime=ddp"), composed("runtime=fsdp", f"runtime.shard_size={shard_size}")
    one, part = (device_memory(each, estimate(each), 8) for each in (whole, config))
    for name in ("parameters", "gradients", "optimiser", "target_encoder"):
        assert getattr(part, name) == pytest.approx(getattr(one, name) / parts, abs=1)
    cost = estimate(config)
    assert cost.largest_block < cost.num_trained - cost.num_outside_blocks < cost.num_trained


@pytest.mark.parametrize(
    ("world", "options", "says"),
    [
        (World(), ("runtime=cpu",), ["1 process on 1 node, 32-true", "64 samples = 1 process x 1 micro-batch x 64"]),
        (
            World(0, 16, 0, 8),
            ("runtime=fsdp", "runtime.shard_size=8", "runtime.device_batch_size=3"),
            [
                "16 processes on 2 nodes, 2 x 8 (replicate x shard, fsdp), 32-true",
                "64 samples = 16 processes x 2 micro-batches x 2",
            ],
        ),
        (World(0, 4, 0, 4), ("runtime=ddp",), ["4 processes on 1 node, 4 x 1 (replicate x shard, ddp), 32-true"]),
    ],
)
def test_a_run_begins_with_its_mesh_its_step_and_its_memory(
    world: World, options: tuple[str, ...], says: list[str]
) -> None:
    mesh, step, memory = start_lines(composed(*options), world, "32-true")
    for line, wanted in zip((mesh, step), says, strict=False):
        assert line.endswith(wanted)
    assert memory.startswith("memory of a device, estimated: ") and "target encoder " in memory


def test_every_phase_has_a_step_of_its_own() -> None:
    phase = "trainer.phases=[{steps: 2, global_batch_size: 32, lr_end: 0.0}]"
    _, step, _ = start_lines(composed("runtime=cpu", "runtime.device_batch_size=16", phase), World(), "32-true")
    assert (
        step
        == "a step: 64 samples = 1 process x 4 micro-batches x 16; phase 1: 32 samples = 1 process x 2 micro-batches x 16"
    )


# -- how a step is cut


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 16), (2, 8), (4, 4), (16, 1), (32, 1)])
def test_the_most_that_a_device_takes_decides_the_accumulation(world_size: int, accumulation: int) -> None:
    assert accumulation_of(composed("runtime.device_batch_size=4"), world_size) == accumulation


def test_with_neither_a_step_is_one_micro_batch_and_both_must_agree() -> None:
    assert accumulation_of(composed(), 4) == 1
    both = composed("runtime.accumulation=8", "runtime.device_batch_size=4")
    assert accumulation_of(both, 2) == 8
    with pytest.raises(
        UserError, match=r"runtime\.accumulation=8 over 1 processes .*more than runtime\.device_batch_size=4"
    ):
        accumulation_of(both, 1)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("runtime.accumulation=0", "runtime.accumulation=0 must be at least 1, or null"),
        ("runtime.device_batch_size=0", "runtime.device_batch_size=0 must be at least 1, or null"),
        ("runtime.join_minutes=0", "runtime.join_minutes=0.0 must be above 0"),
        ("runtime.hang_minutes=-1", "runtime.hang_minutes=-1.0 must be a number of at least 0"),
        ("runtime.shard_size=2", "runtime.shard_size=2 does nothing under runtime.strategy=single; add runtime=fsdp"),
    ],
)
def test_what_cannot_be_is_told(option: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        composed(option)
