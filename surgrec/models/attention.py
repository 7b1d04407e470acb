"""Multi-head self-attention through one function with exchangeable kernels.

In: tokens (B, N, D) and, where the family uses them, rotary positions. Out: tokens (B, N, D). It is its own file so that the
kernel is chosen in one place: `sdpa` (torch's fused kernels, the default), `varlen` (the same, and torch's variable-length kernel where
tokens attend in segments; CUDA in half precision only) or `math` (the formula, the reference for tests).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrec.models.errors import ModelError
from surgrec.models.rotary import Rotary

AttentionBackend = Literal["sdpa", "varlen", "math"]
QkvBias = Literal["qv", "qkv"]
_BLOCK = 392  # queries; 1.2 MB of scores against 1,568 keys


def attend(q: Tensor, k: Tensor, v: Tensor, backend: AttentionBackend = "sdpa") -> Tensor:
    """softmax(q k^T / sqrt(d)) v for q, k, v of shape (B, heads, N, d); the softmax is computed in float32."""
    match backend:
        case "sdpa" | "varlen":
            if _gains_from_blocks(q):
                return _in_blocks(q, k, v)
            return F.scaled_dot_product_attention(q, k, v)
        case "math":
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            return scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v
        case _:
            raise _unknown(backend)


def _gains_from_blocks(q: Tensor) -> bool:
    """On the CPU torch's fused kernel computes half precision as if it were single; products of matrices do not."""
    is_half = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    return is_half and not torch.is_grad_enabled() and q.shape[2] >= _BLOCK and not torch.compiler.is_compiling()


def _in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula, head by head and for `_BLOCK` queries at a time: their scores stay in the cache of a core."""
    mixed = torch.empty(q.transpose(1, 2).shape, dtype=q.dtype).transpose(1, 2)  # heads side by side, as they go on
    q = q * q.shape[-1] ** -0.5
    for row in range(len(q)):
        for head in range(q.shape[1]):
            keys, values = k[row, head].T, v[row, head].contiguous()
            for first in range(0, q.shape[2], _BLOCK):
                scores = q[row, head, first : first + _BLOCK] @ keys
                mixed[row, head, first : first + _BLOCK] = scores.softmax(dim=-1) @ values
    return mixed


def mix(q: Tensor, k: Tensor, v: Tensor, segments: tuple[int, ...], backend: AttentionBackend = "sdpa") -> Tensor:
    """Attention of q, k, v (B, N, heads, d) within segments of the tokens, joined to (B, N, heads * d).

    `segments`: lengths that sum to N, or nothing for a single one. A block-diagonal mask says the same and multiplies what it hides.
    """
    if not segments:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        return attend(q, k, v, backend).transpose(1, 2).flatten(2)
    if backend == "varlen":
        return _mix_packed(q, k, v, segments)
    pieces = zip(q.split(segments, 1), k.split(segments, 1), v.split(segments, 1), strict=True)
    return torch.cat([mix(*piece, (), backend) for piece in pieces], dim=1)


def _mix_packed(q: Tensor, k: Tensor, v: Tensor, segments: tuple[int, ...]) -> Tensor:
    """All segments of all clips as one row of tokens, in one call."""
    _refuse_varlen(q)
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = _segment_bounds(len(q), segments, q.device), max(segments)
    packed = varlen_attn(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), bounds, bounds, longest, longest)
    assert isinstance(packed, Tensor)
    return packed.view(*q.shape[:2], -1)


def _refuse_varlen(q: Tensor) -> None:
    if q.device.type != "cuda" or q.dtype not in (torch.float16, torch.bfloat16):
        raise ModelError(
            f"runtime.attention=varlen needs CUDA in half precision, not {q.device.type} in {q.dtype}; choose runtime.attention=sdpa"
        )


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _segment_bounds(num_clips: int, segments: tuple[int, ...], device: torch.device) -> Tensor:
    """Where the segments of all clips begin in one row, and where the last one ends: int32 (num_clips * segments + 1,)."""
    lengths = torch.tensor([0, *segments * num_clips])
    return lengths.cumsum(0).to(device, torch.int32)


def _unknown(backend: str) -> ModelError:
    return ModelError(f"there is no attention backend {backend!r}; choose {', '.join(get_args(AttentionBackend))}")


class Attention(nn.Module):
    """Self-attention with one fused projection, rows q, k, v, then heads.

    `bias="qkv"` (V-JEPA) is an ordinary bias, `qkv.bias`. `bias="qv"` (VideoMAE) has `q_bias` and `v_bias` and none on the
    keys, where it would add the same number to all scores of a query and change nothing.
    """

    def __init__(self, width: int, num_heads: int, bias: QkvBias, backend: AttentionBackend = "sdpa") -> None:
        super().__init__()
        if width % num_heads:
            raise ModelError(f"width {width} is not a multiple of {num_heads} heads; choose numbers that divide")
        if bias not in ("qv", "qkv"):
            raise ModelError(f"there is no attention bias {bias!r}; choose qv or qkv")
        if backend not in get_args(AttentionBackend):
            raise _unknown(backend)
        self.num_heads, self.backend = num_heads, backend
        self.qkv = nn.Linear(width, 3 * width, bias=bias == "qkv")
        if bias == "qv":
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        self.has_split_bias = bias == "qv"
        self.proj = nn.Linear(width, width)

    @property
    def bias(self) -> Tensor:
        """The bias of queries, keys and values (3 D)."""
        if not self.has_split_bias:
            return self.qkv.bias
        return torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))

    def forward(
        self, x: Tensor, rotary: Rotary | None = None, segments: tuple[int, ...] = (), first: int = 0
    ) -> Tensor:
        """Mix tokens (B, N, D); `rotary` are the positions of these N tokens. See `Block` for `segments` and `first`."""
        sources = (x[:, first:], x) if first else (x,)  # one product for all three where all are wanted of all tokens
        widths = (self.proj.in_features, 2 * self.proj.in_features) if first else (3 * self.proj.in_features,)
        projected = [
            F.linear(*part).unflatten(-1, (-1, self.num_heads, self.proj.in_features // self.num_heads))
            for part in zip(sources, self.qkv.weight.split(widths), self.bias.split(widths), strict=True)
        ]
        q, k, v = (part for group in projected for part in group.unbind(2))
        if rotary is not None:
            q, k = rotary.since(first).rotate(q), rotary.rotate(k)
        return self.proj(mix(q, k, v, segments, self.backend))
