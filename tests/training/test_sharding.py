"""What FSDP2 keeps of a model in each process, in which type, and that its sums lose nothing."""

from __future__ import annotations

import json

import pytest

from surgrec.core.errors import UserError
from surgrec.training.sharding import check_shard_size
from tests.training.reduced import TINY
from tests.training.tiny import Warm


def told_by(warm: Warm, *arguments: str) -> list[dict]:
    said = warm.run_world(2, list(arguments), "tests.training.reduced:main")
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("precision", "shard_size"),
    [
        ("half", "null"),
        ("full", "2"),
        pytest.param("half", "1", marks=pytest.mark.slow),
        pytest.param("half", "2", marks=pytest.mark.slow),
        pytest.param("full", "1", marks=pytest.mark.slow),
        pytest.param("full", "null", marks=pytest.mark.slow),
    ],
)
def test_blocks_are_gathered_in_half_precision_and_all_that_is_kept_or_summed_is_float32(
    precision: str, shard_size: str, warm: Warm
) -> None:
    mesh, part = {"null": ([2], 0.5), "2": ([1, 2], 0.5), "1": ([2, 1], 1.0)}[shard_size]
    for told in (ranks := told_by(warm, precision, shard_size)):
        assert told["gathered"] == ("torch.bfloat16" if precision == "half" else "torch.float32")
        assert {told[name] for name in ("input", "stream", "outside", "kept")} == {"torch.float32"}
        # (1 + 2^-10 of the first process, 2^-10 + 2^-10 of the second) / 2: bf16 would have said 0.5
        assert told["gradient"] == [(1 + 3 * TINY) / 2]
        assert told["mesh"] == mesh and told["part"] == told["slow part"] == part
        assert told["ema"] < 1e-7
    assert len(ranks) == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["half", "full"])
@pytest.mark.parametrize("checkpointing", ["selective", "full"])
def test_all_blocks_share_a_compiled_graph_and_it_computes_the_same(
    precision: str, checkpointing: str, warm: Warm
) -> None:
    """One graph with gradients and one without, however many blocks and steps."""
    said = warm.run_world(1, [precision, checkpointing], "tests.training.compiled:main")
    (told,) = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert (told["graphs"], told["more graphs"]) == (2, 0)
    assert told["apart"] < 1e-5


@pytest.mark.parametrize("shard_size", [None, 1, 2, 3, 4, 6, 12])
def test_shards_that_make_up_the_world_are_right(shard_size: int | None) -> None:
    check_shard_size(shard_size, 12)


@pytest.mark.parametrize("shard_size", [5, 8, 24])
def test_other_shards_are_told_with_those_that_are_right(shard_size: int) -> None:
    with pytest.raises(UserError, match=r"does not divide 12 processes; choose 1, 2, 3, 4, 6, 12, or null"):
        check_shard_size(shard_size, 12)
