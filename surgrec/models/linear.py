"""One linear layer and its two gradients, by the fastest matrix product that this machine has for them.

In: tokens (B, N, D) and a weight. Out: tokens, or gradients. It is its own file because of one fact about CPUs: torch hands float32
products to MKL, which on some processors (AMD's among them) is a tenth slower than oneDNN, which torch has on board too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MANY_ROWS = 256  # below, oneDNN's packing of the weight costs more than its product saves


def _prefers_onednn(x: Tensor) -> bool:
    is_large = x.numel() // x.shape[-1] >= _MANY_ROWS
    return is_large and x.device.type == "cpu" and x.dtype is torch.float32 and torch.backends.mkldnn.is_available()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias, without a gradient of its own."""
    if _prefers_onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Gradient of a linear layer's input (B, N, D in) from that of its output (B, N, D out)."""
    if _prefers_onednn(gradient):
        return torch.ops.mkldnn._linear_pointwise(gradient, weight.t(), None, "none", [], "")
    return gradient @ weight


def weight_gradient(gradient: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """Gradient of a linear layer's weight (D out, D in) from that of its output and from its input, summed over all tokens."""
    return torch.mm(gradient.flatten(0, 1).t(), x.flatten(0, 1), out=out)
