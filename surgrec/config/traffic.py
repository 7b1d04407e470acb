"""What the processes of a run send each other in a step, in bytes.

In: a configuration. Out: `Traffic`. It is its own file because it follows from how modules are wrapped (surgrec/training/runtime.py) and
is for those who plan a run on many devices; `benchmarks/scaling.py` checks it against the collectives that a step really calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from surgrec.config.build import build_objective
from surgrec.config.schema import Config, Strategy
from surgrec.models.block import Block

_FLOAT32, _BFLOAT16 = 4, 2


@dataclass(frozen=True)
class Parameters:
    """How many there are, trained and frozen, in transformer blocks and outside of them; those of the largest block; and units: blocks, and
    the rest of the learner and of the frozen modules. Under FSDP each unit is gathered by itself.
    """

    trained_in_blocks: int
    trained_outside: int
    frozen_in_blocks: int
    frozen_outside: int
    largest_block: int
    trained_units: int
    frozen_units: int

    @property
    def trained(self) -> int:
        """All that has a gradient."""
        return self.trained_in_blocks + self.trained_outside

    @property
    def frozen(self) -> int:
        """The target encoder."""
        return self.frozen_in_blocks + self.frozen_outside


@dataclass(frozen=True)
class Traffic:
    """Of one step and process, bytes of the whole tensors that its collectives are about: gradients summed over all replicas of a part
    (`all_reduced`), parameters put together from their parts (`gathered`), gradients summed and shared out (`scattered`); and how many
    collectives of each kind there are (of all-reduces under ddp: of buckets).
    """

    all_reduced: int
    gathered: int
    scattered: int
    num_all_reduces: int
    num_gathers: int
    num_scatters: int


BUCKET_BYTES = 25 * 2**20  # of DDP's gradients that are summed at once, but for its first, of 1 MB


def parameters_of(config: Config) -> Parameters:
    """Counted on a model without weights."""
    with torch.device("meta"):
        objective = build_objective(replace(config, init=None))
    learner, frozen = (
        [part for part in module.modules() if isinstance(part, Block)]
        for module in (objective.learner, objective.frozen)
    )
    in_blocks, frozen_in_blocks = (sum(map(_size, blocks)) for blocks in (learner, frozen))
    return Parameters(
        trained_in_blocks=in_blocks,
        trained_outside=_size(objective.learner) - in_blocks,
        frozen_in_blocks=frozen_in_blocks,
        frozen_outside=_size(objective.frozen) - frozen_in_blocks,
        largest_block=max(map(_size, learner)),
        trained_units=len(learner) + 1,
        frozen_units=len(frozen) + len(objective.frozen),
    )


def traffic(of: Parameters, strategy: Strategy, shards: int, num_micro_batches: int, is_bf16: bool) -> Traffic:
    """Of a step of `num_micro_batches`. `shards`: over so many processes parameters are shared out, under fsdp.

    Gradients are summed in float32, under ddp once a step. Under fsdp every micro-batch gathers each unit of the learner twice, for its
    forward and its backward pass, and each of the target encoder once, blocks in the type that they compute in, the rest in float32; and
    it shares its gradients out. Where there are more processes than shards, each then sums its part of the step's gradient with those
    who hold the same part.
    """
    gradients = _FLOAT32 * of.trained
    if strategy is Strategy.single:
        return Traffic(0, 0, 0, 0, 0, 0)
    if strategy is Strategy.ddp:
        return Traffic(gradients, 0, 0, 1 + -(-gradients // BUCKET_BYTES), 0, 0)
    in_blocks, outside = 2 * of.trained_in_blocks + of.frozen_in_blocks, 2 * of.trained_outside + of.frozen_outside
    once = in_blocks * (_BFLOAT16 if is_bf16 else _FLOAT32) + outside * _FLOAT32
    return Traffic(
        all_reduced=gradients // shards,
        gathered=num_micro_batches * once,
        scattered=num_micro_batches * gradients,
        num_all_reduces=of.trained_units,
        num_gathers=num_micro_batches * (2 * of.trained_units + of.frozen_units),
        num_scatters=num_micro_batches * of.trained_units,
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
