"""What a step sends follows from its parameters; that collectives are called with it is test_scaling of tests/test_benchmarks.py."""

from __future__ import annotations

import pytest

from surgrec.config.build import build_objective
from surgrec.config.compose import compose_config
from surgrec.config.schema import Strategy
from surgrec.config.traffic import BUCKET_BYTES, Parameters, Traffic, parameters_of, traffic

OF = Parameters(
    trained_in_blocks=900, trained_outside=100, frozen_in_blocks=600, frozen_outside=50, largest_block=90, trained_units=11,
    frozen_units=7,
)  # fmt: skip


@pytest.mark.parametrize("variant", ["mae", "jepa"])
def test_parameters_are_those_of_the_model(variant: str) -> None:
    config = compose_config(
        [f"+variant={variant}", "mix.manifests=[none.parquet]", "backbone=nano", "objective.head_depth=2"]
    )
    of, objective = parameters_of(config), build_objective(config)
    assert of.trained == sum(parameter.numel() for parameter in objective.learner.parameters())
    assert of.frozen == sum(parameter.numel() for parameter in objective.frozen.parameters())
    assert of.trained_units == 6 + 2 + 1 and of.frozen_units == (7 if variant == "jepa" else 0)
    assert of.trained_in_blocks / 8 < of.largest_block < of.trained_in_blocks


def test_ddp_sums_each_gradient_once_a_step_however_it_is_cut() -> None:
    for micro_batches in (1, 8):
        assert traffic(OF, Strategy.ddp, 1, micro_batches, True) == Traffic(4000, 0, 0, 2, 0, 0)
    many = Parameters(10**8, 0, 0, 0, 10**6, 100, 0)
    assert traffic(many, Strategy.ddp, 1, 1, True).num_all_reduces == 1 + -(-4 * 10**8 // BUCKET_BYTES)


def test_fsdp_gathers_and_scatters_in_every_micro_batch_and_sums_over_copies_once() -> None:
    """In float32: the learner twice, the target encoder once; in bf16 blocks cost half, gradients as much."""
    once = traffic(OF, Strategy.fsdp, 8, 1, False)
    assert (once.gathered, once.scattered, once.all_reduced) == (4 * (2 * 1000 + 650), 4000, 500)
    assert (once.num_gathers, once.num_scatters, once.num_all_reduces) == (29, 11, 11)
    half = traffic(OF, Strategy.fsdp, 8, 1, True)
    assert half.gathered == 2 * (2 * 900 + 600) + 4 * (2 * 100 + 50) and half.scattered == 4000
    cut = traffic(OF, Strategy.fsdp, 8, 3, True)
    assert (cut.gathered, cut.num_gathers) == (3 * half.gathered, 3 * half.num_gathers)
    assert (cut.scattered, cut.num_scatters) == (3 * half.scattered, 3 * half.num_scatters)
    assert (cut.all_reduced, cut.num_all_reduces) == (half.all_reduced, half.num_all_reduces)


def test_one_process_sends_nothing() -> None:
    assert traffic(OF, Strategy.single, 1, 4, True) == Traffic(0, 0, 0, 0, 0, 0)
