"""A sharded stack of blocks, compiled and not, in one process.

In: `half` or `full` precision, then the activation checkpointing, on the command line; the variables of a launcher that started one
process. Out: one line of JSON. It is its own file because a process that has compiled is another one afterwards.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from surgrec.models.block import Block, Checkpointing
from surgrec.training.runtime import Runtime, RuntimeSpec

WIDTH, DEPTH, STEPS = 8, 3, 2


class Stack(nn.Module):
    """Blocks between two layers."""

    def __init__(self, activation_checkpointing: Checkpointing) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(
            Block(WIDTH, 2, 4.0, qkv_bias="qkv", activation_checkpointing=activation_checkpointing)
            for _ in range(DEPTH)
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D)."""
        tokens = self.embed(tokens).float()
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


def train(runtime: Runtime, activation_checkpointing: Checkpointing) -> list[Tensor]:
    """The output and the gradients of the last step."""
    learner, frozen = Stack(activation_checkpointing), Stack(activation_checkpointing).requires_grad_(False)
    wrapped = runtime.wrap_learner(learner)
    runtime.place_frozen(nn.ModuleDict({"frozen": frozen}))
    for step in range(STEPS):
        tokens = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(step))
        learner.zero_grad()
        with torch.no_grad(), runtime.fabric.autocast():
            target = frozen(tokens).float() + 1
        out = wrapped(tokens).float()
        runtime.fabric.backward((out - target).square().mean())
    return [out.detach(), *(weight.grad.full_tensor() for weight in learner.parameters())]


def main() -> int:
    """Both ways, with a compiler that needs no other compiler and counts its graphs."""
    precision = {"half": "bf16-mixed", "full": "32-true"}[sys.argv[1]]
    counter = CompileCounterWithBackend("aot_eager")
    compile_with: Any = torch.compile
    torch.compile = lambda function: compile_with(function, backend=counter)  # type: ignore[assignment]
    spec = {"accelerator": "cpu", "strategy": "fsdp", "precision": precision}
    runtime = Runtime(RuntimeSpec(**spec, compile=True))  # type: ignore[arg-type]
    compiled = train(runtime, sys.argv[2])  # type: ignore[arg-type]
    graphs = counter.frame_count
    runtime.spec = RuntimeSpec(**spec)  # type: ignore[arg-type]
    plain = train(runtime, sys.argv[2])  # type: ignore[arg-type]
    apart = max(float((one - other).abs().max()) for one, other in zip(compiled, plain, strict=True))
    runtime.close()
    print(json.dumps({"graphs": graphs, "more graphs": counter.frame_count - graphs, "apart": apart}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
