"""The halves of a transformer block, written so that little is kept for the backward pass and little is moved.

In: the residual stream (B, N, D) and a half's parameters. Out: queries, keys and values, or the residual stream again. It is its own
file because it says nothing new about the model: every function here equals the plain formula in its docstring, which the tests hold
it to. What it changes is the cost. Torch keeps the input of every layer; of those, normed tokens, unrotated queries and keys, and the
MLP's hidden layer after GELU are cheaper to compute again than to keep: 10 D values a token are kept instead of 17. This is selective
recomputation (Korthikanti et al. 2022, arXiv 2205.05198) with nothing recomputed that costs a matrix product.

`torch.compile` finds the same savings by itself, so compiled graphs take the plain formulas.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from surgrec.models.linear import input_gradient, linear, weight_gradient
from surgrec.models.rotary import Rotary

_NORM_GRADIENTS = [True, True, True]


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What matrix products run in: autocast's type where it is on, since it does not reach into our own functions."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _add(update: Tensor, x: Tensor) -> Tensor:
    """x + update, in the type of x, in the memory of `update` where it is of that type."""
    return update.add_(x) if update.dtype is x.dtype else x + update


class NormProject(torch.autograd.Function):
    """q, k, v (B, N, heads, d) = rotate(linear(layer_norm(x))), rows q, k, v of the weight; queries only from token `first` on.

    Kept: x, its mean and deviation, and the weight as it is, which is cast to half precision again when it is needed again.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor,
        rotary: Rotary | None, eps: float, num_heads: int, first: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """See the class."""
        width, dtype = x.shape[-1], _compute_dtype(x)
        normed, mean, deviation = torch.native_layer_norm(
            x, (width,), norm_weight.to(x.dtype), norm_bias.to(x.dtype), eps
        )
        normed, weights, biases = normed.to(dtype), weight.to(dtype).split(width), bias.to(dtype).split(width)
        sources = (normed[:, first:], normed, normed)
        with torch.autocast(x.device.type, enabled=False):
            parts = [
                linear(*part).unflatten(-1, (num_heads, -1)) for part in zip(sources, weights, biases, strict=True)
            ]
        if rotary is not None:
            parts[:2] = rotary.since(first).rotate(parts[0]), rotary.rotate(parts[1])
        ctx.save_for_backward(x, mean, deviation, norm_weight, norm_bias, weight)
        ctx.rotary, ctx.first, ctx.eps, ctx.dtype, ctx.bias_type = rotary, first, eps, dtype, bias.dtype
        return parts[0], parts[1], parts[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, norm and projection."""
        x, mean, deviation, kept_norm_weight, kept_norm_bias, kept_weight = ctx.saved_tensors
        width, dtype, first = x.shape[-1], ctx.dtype, ctx.first
        norm_weight, norm_bias = kept_norm_weight.to(x.dtype), kept_norm_bias.to(x.dtype)
        weight = kept_weight.to(dtype)
        parts = list(gradients)
        if ctx.rotary is not None:
            parts[:2] = ctx.rotary.since(first).rotate_back(parts[0]), ctx.rotary.rotate_back(parts[1])
        queries, keys, values = (part.to(dtype).flatten(2) for part in parts)
        normed = torch.native_layer_norm(x, (width,), norm_weight, norm_bias, ctx.eps)[0].to(dtype)

        weight_gradients = weight.new_empty(3, width, width)
        bias_gradients = weight.new_empty(3, width)
        for part, source, into, into_bias in zip(
            (queries, keys, values), (normed[:, first:], normed, normed), weight_gradients, bias_gradients, strict=True
        ):
            weight_gradient(part, source, into)
            torch.sum(part.flatten(0, 1), 0, out=into_bias)
        query_weight, key_weight, value_weight = weight.split(width)
        normed_gradient = input_gradient(values, value_weight)
        normed_gradient += input_gradient(keys, key_weight)
        normed_gradient[:, first:] += input_gradient(queries, query_weight)

        into_x, into_norm, into_norm_bias = torch.ops.aten.native_layer_norm_backward(
            normed_gradient.to(x.dtype), x, (width,), mean, deviation, norm_weight, norm_bias, _NORM_GRADIENTS
        )
        return (
            into_x, into_norm.to(kept_norm_weight.dtype), into_norm_bias.to(kept_norm_bias.dtype),
            weight_gradients.flatten(0, 1).to(kept_weight.dtype), bias_gradients.flatten().to(ctx.bias_type),
            None, None, None, None,
        )  # fmt: skip


class NormMLP(torch.autograd.Function):
    """x + linear2(gelu(linear1(layer_norm(x)))). Kept: x, its mean and deviation, the hidden layer before GELU, the weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm_weight: Tensor, norm_bias: Tensor,
        weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, eps: float,
    ) -> Tensor:  # fmt: skip
        """See the class."""
        width, dtype = x.shape[-1], _compute_dtype(x)
        normed, mean, deviation = torch.native_layer_norm(
            x, (width,), norm_weight.to(x.dtype), norm_bias.to(x.dtype), eps
        )
        with torch.autocast(x.device.type, enabled=False):
            hidden = linear(normed.to(dtype), weight1.to(dtype), bias1.to(dtype))
            out = _add(linear(F.gelu(hidden), weight2.to(dtype), bias2.to(dtype)), x)
        ctx.save_for_backward(x, mean, deviation, norm_weight, norm_bias, weight1, weight2, hidden)
        ctx.eps, ctx.bias_types = eps, (bias1.dtype, bias2.dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, norm and both layers."""
        x, mean, deviation, kept_norm_weight, kept_norm_bias, weight1, weight2, hidden = ctx.saved_tensors
        width, dtype = x.shape[-1], hidden.dtype
        norm_weight, norm_bias = kept_norm_weight.to(x.dtype), kept_norm_bias.to(x.dtype)
        out = gradient.to(dtype)
        into_weight2 = weight_gradient(out, F.gelu(hidden))
        into_hidden = input_gradient(out, weight2.to(dtype))
        torch.ops.aten.gelu_backward.grad_input(into_hidden, hidden, grad_input=into_hidden)
        normed = torch.native_layer_norm(x, (width,), norm_weight, norm_bias, ctx.eps)[0].to(dtype)
        into_weight1 = weight_gradient(into_hidden, normed)
        normed_gradient = input_gradient(into_hidden, weight1.to(dtype))
        into_x, into_norm, into_norm_bias = torch.ops.aten.native_layer_norm_backward(
            normed_gradient.to(x.dtype), x, (width,), mean, deviation, norm_weight, norm_bias, _NORM_GRADIENTS
        )
        into_x += gradient
        bias_type1, bias_type2 = ctx.bias_types
        return (
            into_x, into_norm.to(kept_norm_weight.dtype), into_norm_bias.to(kept_norm_bias.dtype),
            into_weight1.to(weight1.dtype), into_hidden.sum((0, 1)).to(bias_type1),
            into_weight2.to(weight2.dtype), out.sum((0, 1)).to(bias_type2), None,
        )  # fmt: skip


class ProjectResidual(torch.autograd.Function):
    """x + linear(mixed). Kept: mixed, which attention keeps anyway, and the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See the class."""
        dtype = _compute_dtype(x)
        ctx.save_for_backward(mixed, weight)
        ctx.dtype, ctx.bias_type = dtype, bias.dtype
        with torch.autocast(x.device.type, enabled=False):
            return _add(linear(mixed.to(dtype), weight.to(dtype), bias.to(dtype)), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        """Gradients of x, mixed tokens, and projection."""
        mixed, weight = ctx.saved_tensors
        out = gradient.to(ctx.dtype)
        into_mixed = input_gradient(out, weight.to(ctx.dtype)).to(mixed.dtype)
        into_weight = weight_gradient(out, mixed.to(ctx.dtype))
        return gradient, into_mixed, into_weight.to(weight.dtype), out.sum((0, 1)).to(ctx.bias_type)
