"""The estimate of docs/scaling.md: its formulas at their ends, and that the page shows what the script prints."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("scaling_estimate", REPOSITORY / "benchmarks" / "scaling_estimate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


estimate = _load()
CLUSTER = estimate.Cluster()
DDP, FSDP, HSDP = estimate.LAYOUTS


@pytest.fixture(scope="module")
def model() -> Any:
    return estimate.Model.of("jepa", "large")


def test_a_ring_sends_all_but_one_part_and_a_sum_is_two_rings() -> None:
    free = replace(CLUSTER, nvlink_seconds=0.0, network_seconds=0.0, efficiency=1.0)
    assert free.ring_seconds(8e9, 5, 1, True) == 0.0
    assert free.ring_seconds(8e9, 5, 8, True) == pytest.approx(7e9 / free.nvlink_bytes)
    assert free.ring_seconds(8e9, 1, 16, False) == pytest.approx(15 / 16 * 8e9 / free.node_bytes)
    assert free.reduce_seconds(8e9, 1, 8, True) == 2 * free.ring_seconds(8e9, 1, 8, True)
    assert (
        free.replica_seconds(1e9, 1, 16) == pytest.approx(2 * 15 / 16 * 1e9 / 50e9)
        and free.replica_seconds(1e9, 1, 1) == 0
    )


def test_hops_are_paid_by_every_collective_and_trees_have_few_of_them() -> None:
    ring = [CLUSTER.ring_seconds(0, count, 1024, False) for count in (1, 10)]
    assert ring[1] == pytest.approx(10 * ring[0]) and ring[0] == pytest.approx((1023 - 128) * 1e-6 + 128 * 5e-6)
    assert CLUSTER.reduce_seconds(0, 1, 1024, False) < ring[0] / 10


def test_compute_shrinks_with_devices_and_what_ddp_sends_does_not(model: Any) -> None:
    steps = [estimate.step_of(model, DDP, world, CLUSTER) for world in (8, 128, 1024)]
    assert [step.compute * world for step, world in zip(steps, (8, 128, 1024), strict=True)] == pytest.approx(
        [model.flops * 3072 / CLUSTER.flops] * 3
    )
    assert len({step.traffic.all_reduced for step in steps}) == 1
    assert all(step.least <= step.most for step in steps)
    assert estimate.step_of(model, DDP, 2048, CLUSTER) is None, "3,072 clips cannot be shared out evenly"


def test_what_does_not_fit_is_cut_and_what_never_fits_is_none(model: Any) -> None:
    parts = [sum(model.state_bytes(layout, 128).values()) for layout in (DDP, HSDP, FSDP)]
    assert parts == sorted(parts, reverse=True)
    micro = model.micro_batches(DDP, 8)
    room = (1 - estimate.FREE) * estimate.MEMORY - sum(model.state_bytes(DDP, 8).values())
    assert micro is not None and 384 // micro * model.clip_bytes["selective"] <= room
    assert 384 // (micro - 1) * model.clip_bytes["selective"] > room or 384 % (micro - 1)
    huge = replace(model, clip_bytes=dict.fromkeys(model.clip_bytes, 10**12))
    assert huge.micro_batches(FSDP, 128) is None and estimate.step_of(huge, FSDP, 128, CLUSTER) is None


@pytest.mark.slow
def test_the_page_shows_what_is_printed() -> None:
    printed = set(estimate.estimate_lines(CLUSTER))
    page = (REPOSITORY / "docs" / "scaling.md").read_text(encoding="utf-8")
    shown = [line for line in page.splitlines() if line.startswith(("| ", "- A ", "- Nodes "))]
    assert len(shown) >= 50 and [line for line in shown if line not in printed] == []
