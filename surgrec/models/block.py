"""One transformer block, and stacks of them.

In: tokens (B, N, D). Out: tokens (B, N, D). It is its own file because the block is the unit that runtimes act on: they
shard it (FSDP2), compile it, or recompute it in the backward pass (activation checkpointing).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surgrec.models.attention import Attention, AttentionBackend, QkvBias
from surgrec.models.rotary import Rotary

NORM_EPS = 1e-6  # every trained norm of VideoMAE and V-JEPA; torch's 1e-5 alone moves outputs by 2e-5


class MLP(nn.Module):
    """Two linear layers with exact GELU between. timm's `Mlp` computes the same; importing timm costs every process seconds."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D), each by itself."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm block: x + attention(norm1(x)), then x + mlp(norm2(x)), with exact GELU (Dosovitskiy et al. 2021).

    `activation_checkpointing` keeps only the block's input and runs the block again in the backward pass. The switch is
    inside the block, below FSDP2's hooks, which is the order that FSDP2 wants.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float,
        *,
        qkv_bias: QkvBias,
        norm_eps: float = NORM_EPS,
        attention_backend: AttentionBackend = "sdpa",
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attention = Attention(width, num_heads, qkv_bias, attention_backend)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, round(width * mlp_ratio))  # round: 1408 * (48 / 11) must not become 6143

    def forward(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D); `rotary` are the positions of these tokens."""
        if self.activation_checkpointing and torch.is_grad_enabled():
            # nothing here is random, so there is no generator state to keep
            return checkpoint(self._run, x, rotary, use_reentrant=False, preserve_rng_state=False)
        return self._run(x, rotary)

    def _run(self, x: Tensor, rotary: Rotary | None) -> Tensor:
        x = x + self.attention(self.norm1(x), rotary)
        return x + self.mlp(self.norm2(x))


def stack(
    depth: int,
    width: int,
    num_heads: int,
    mlp_ratio: float,
    *,
    qkv_bias: QkvBias,
    norm_eps: float = NORM_EPS,
    attention_backend: AttentionBackend,
    activation_checkpointing: bool,
) -> nn.ModuleList:
    """`depth` blocks of the same shape."""
    return nn.ModuleList(
        Block(
            width,
            num_heads,
            mlp_ratio,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            attention_backend=attention_backend,
            activation_checkpointing=activation_checkpointing,
        )
        for _ in range(depth)
    )
