"""What FSDP2 gathers, keeps and sums, told by two processes.

In: the launcher's variables; on the command line `half` or `full`, then the number of processes that share a model, or `null`. Out: one
line of JSON a process. It is its own file because it runs under launchers, outside pytest.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor, nn

from surgrec.models.block import Block
from surgrec.objectives.ema import move_towards
from surgrec.training.runtime import Runtime, RuntimeSpec

WIDTH = 8
TINY = 2.0**-10  # beside 1, bf16 cannot tell it from nothing


class Learner(nn.Module):
    """A block between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList([Block(WIDTH, 2, 4.0, qkv_bias="qkv")])
        self.norm = nn.LayerNorm(WIDTH)
        self.seen: dict[str, str] = {}

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens after the block, which are what the loss is made of, and after the norm, which is not."""
        self.seen["input"] = str(tokens.dtype)
        tokens = self.blocks[0](self.embed(tokens).float())
        self.seen["stream"], self.seen["outside"] = str(tokens.dtype), str(self.norm.weight.dtype)
        return tokens + 0.0 * self.norm(tokens)


def main() -> int:
    """Two micro-batches whose gradients for one bias are 1 and `TINY`, or the other way round."""
    precision = {"half": "bf16-mixed", "full": "32-true"}[sys.argv[1]]
    shard_size = None if sys.argv[2] == "null" else int(sys.argv[2])
    spec = RuntimeSpec(accelerator="cpu", strategy="fsdp", precision=precision, shard_size=shard_size)
    runtime = Runtime(spec)
    torch.manual_seed(0)
    learner, slow = Learner(), Learner().requires_grad_(False)
    before = learner.blocks[0].mlp.fc1.weight.detach().clone(), slow.blocks[0].mlp.fc1.weight.detach().clone()
    wrapped = runtime.wrap_learner(learner)
    runtime.place_frozen(nn.ModuleDict({"slow": slow}))
    block = learner.blocks[0]
    compute = block._run

    def seen(*arguments: Any) -> Tensor:
        """Between FSDP2's gathering and its letting go."""
        learner.seen["gathered"] = str(block.mlp.fc1.weight.dtype)
        return compute(*arguments)

    block._run = seen
    scales = (1.0, TINY) if runtime.world.rank == 0 else (TINY, TINY)
    for micro, scale in enumerate(scales):
        with runtime.reducing(wrapped, is_last=micro == 1):
            runtime.fabric.backward(scale * wrapped(torch.randn(1, 1, WIDTH)).float()[0, 0].sum())
    bias, weight = block.mlp.fc2.bias, block.mlp.fc1.weight
    move_towards(slow, learner, 0.75)
    moved = slow.blocks[0].mlp.fc1.weight.full_tensor() - (0.75 * before[1] + 0.25 * before[0])
    told = learner.seen | {
        "kept": str(weight.dtype),
        "gradient": sorted(set(bias.grad.full_tensor().tolist())),
        "part": weight.to_local().numel() / before[0].numel(),
        "slow part": slow.blocks[0].mlp.fc1.weight.to_local().numel() / before[0].numel(),
        "ema": float(moved.abs().max()),
        "mesh": list(runtime.mesh.shape),
    }
    runtime.close()
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
