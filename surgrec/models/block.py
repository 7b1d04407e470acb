"""One transformer block, and stacks of them.

In: tokens (B, N, D). Out: tokens (B, N, D). It is its own file because the block is the unit that runtimes act on: they
shard it (FSDP2), compile it, or recompute it in the backward pass (activation checkpointing).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surgrec.models.attention import Attention, AttentionBackend, QkvBias, mix
from surgrec.models.errors import ModelError
from surgrec.models.lean import NormMLP, NormProject, ProjectResidual
from surgrec.models.rotary import Rotary

Checkpointing = Literal["none", "selective", "full"]

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


class StreamNorm(nn.LayerNorm):
    """LayerNorm in the type of the residual stream (float32), also where FSDP2 has gathered its weights in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D), each by itself."""
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class Block(nn.Module):
    """Pre-norm block: x + attention(norm1(x)), then x + mlp(norm2(x)), with exact GELU (Dosovitskiy et al. 2021).

    `activation_checkpointing` says what the backward pass computes again instead of keeping it: "none", "selective" (what costs no matrix
    product, see `surgrec.models.lean`) or "full" (the whole block, from its input). The switch is inside the block, below FSDP2's
    hooks, which is the order that FSDP2 wants.
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
        activation_checkpointing: Checkpointing = "selective",
    ) -> None:
        super().__init__()
        if activation_checkpointing not in get_args(Checkpointing):
            raise ModelError(
                f"there is no activation checkpointing {activation_checkpointing!r}; choose {', '.join(get_args(Checkpointing))}"
            )
        self.activation_checkpointing = activation_checkpointing
        self.norm1 = StreamNorm(width, eps=norm_eps)
        self.attention = Attention(width, num_heads, qkv_bias, attention_backend)
        self.norm2 = StreamNorm(width, eps=norm_eps)
        self.mlp = MLP(width, round(width * mlp_ratio))  # round: 1408 * (48 / 11) must not become 6143

    def forward(
        self, x: Tensor, rotary: Rotary | None = None, segments: tuple[int, ...] = (), first: int = 0
    ) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D); `rotary` are the positions of these tokens.

        `segments`: lengths that sum to N; tokens attend within their segment only. `first`: only the tokens from this place on are
        worked out, (B, N - first, D), from all of them; for a last block of which the rest is not wanted. Not both.
        """
        if self.activation_checkpointing == "full" and torch.is_grad_enabled():
            # nothing here is random, so there is no generator state to keep
            return checkpoint(self._run, x, rotary, segments, first, use_reentrant=False, preserve_rng_state=False)
        return self._run(x, rotary, segments, first)

    def _run(self, x: Tensor, rotary: Rotary | None, segments: tuple[int, ...], first: int) -> Tensor:
        if self.activation_checkpointing == "none" or torch.compiler.is_compiling() or not self._is_as_built():
            x = x[:, first:] + self.attention(self.norm1(x), rotary, segments, first)
            return x + self.mlp(self.norm2(x))
        attention, mlp, norm1, norm2 = self.attention, self.mlp, self.norm1, self.norm2
        q, k, v = NormProject.apply(
            x, norm1.weight, norm1.bias, attention.qkv.weight, attention.bias, rotary, norm1.eps, attention.num_heads, first
        )  # fmt: skip
        mixed = mix(q, k, v, segments, attention.backend)
        x = ProjectResidual.apply(x[:, first:], mixed, attention.proj.weight, attention.proj.bias)
        return NormMLP.apply(
            x, norm2.weight, norm2.bias, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight, mlp.fc2.bias, norm2.eps
        )

    def _is_as_built(self) -> bool:
        """Whether the parts are what they were built as: one that is wrapped (an adapter), replaced or hooked wants to be called."""
        attention, mlp = self.attention, self.mlp
        parts = (self.norm1, attention, attention.qkv, attention.proj, self.norm2, mlp, mlp.fc1, mlp.fc2)
        return all(type(part) in _BUILT_OF and not _has_hooks(part) for part in parts)


def _has_hooks(part: nn.Module) -> bool:
    """Hooks that torch runs where a module is called, those of the backward pass too."""
    return bool(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks)


_BUILT_OF = (StreamNorm, nn.Linear, Attention, MLP)


def stack(
    depth: int,
    width: int,
    num_heads: int,
    mlp_ratio: float,
    *,
    qkv_bias: QkvBias,
    norm_eps: float = NORM_EPS,
    attention_backend: AttentionBackend,
    activation_checkpointing: Checkpointing,
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
