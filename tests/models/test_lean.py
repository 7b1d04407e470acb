"""The lean halves of a block equal the plain formulas, in outputs and in every gradient, and keep less for the backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.models.attention import QkvBias
from surgrec.models.block import Block, Checkpointing
from surgrec.models.errors import ModelError
from surgrec.models.linear import input_gradient, linear, weight_gradient
from surgrec.models.rotary import Rotary
from tests.models.build import scramble

GRID = TokenGrid(2, 4, 3)
STYLES = [None, "tiled", "interleaved"]


def block(checkpointing: Checkpointing, bias: QkvBias = "qkv") -> Block:
    torch.manual_seed(0)
    built = Block(48, 3, 4.0, qkv_bias=bias, activation_checkpointing=checkpointing)
    scramble(built)
    return built


def rotary(style: str | None) -> Rotary | None:
    return None if style is None else Rotary.at(GRID, 16, style, None, "cpu")  # type: ignore[arg-type]


def run(built: Block, x: Tensor, *args: object) -> tuple[Tensor, list[Tensor]]:
    """Output, and the gradients of the input and of all parameters under a weighting of the output that is not symmetric."""
    x = x.clone().requires_grad_()
    out = built(x, *args)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out.detach(), list(torch.autograd.grad((out * weights).sum(), [x, *built.parameters()]))


@pytest.mark.parametrize("bias", ["qv", "qkv"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("segments", "first"), [((), 0), ((16, 8), 0), ((), 9)])
@pytest.mark.parametrize("checkpointing", ["selective", "full"])
def test_equals_plain(
    bias: QkvBias, style: str | None, segments: tuple[int, ...], first: int, checkpointing: Checkpointing
) -> None:
    x = torch.randn(2, GRID.num_tokens, 48)
    plain = run(block("none", bias), x, rotary(style), segments, first)
    lean = run(block(checkpointing, bias), x, rotary(style), segments, first)
    torch.testing.assert_close(lean[0], plain[0], rtol=0, atol=2e-6)
    for ours, theirs in zip(lean[1], plain[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("style", STYLES)
def test_gradients_are_those_of_finite_differences(style: str | None) -> None:
    built, positions = block("selective").double(), rotary(style)
    if positions is not None:
        positions = Rotary(positions.cos.double(), positions.sin.double())
    x = torch.randn(1, GRID.num_tokens, 48, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: built(x, positions), x, fast_mode=True)
    for parameter in built.parameters():
        assert torch.autograd.gradcheck(lambda _: built(x.detach(), positions), parameter, fast_mode=True)


@pytest.mark.parametrize("style", STYLES)
def test_autocast(style: str | None) -> None:
    """In bfloat16 the lean halves are as far from float32 as the plain ones: the types of the steps are the same."""
    x = torch.randn(2, GRID.num_tokens, 48)
    exact = run(block("none"), x, rotary(style))
    with torch.autocast("cpu", torch.bfloat16):
        plain, lean = (run(block(kind), x, rotary(style)) for kind in ("none", "selective"))
    assert lean[0].dtype is torch.float32
    for ours, theirs, truth in zip([lean[0], *lean[1]], [plain[0], *plain[1]], [exact[0], *exact[1]], strict=True):
        assert ours.dtype is truth.dtype
        assert (ours - truth).norm() < 1.5 * (theirs - truth).norm() + 1e-6 * truth.norm()


def test_segments_do_not_see_each_other() -> None:
    built, x = block("selective"), torch.randn(2, GRID.num_tokens, 48)
    positions = rotary("tiled")
    assert positions is not None
    both = built(x, positions, (16, 8))
    apart = built(x[:, :16], Rotary(positions.cos[:, :16], positions.sin[:, :16]))
    torch.testing.assert_close(both[:, :16], apart, rtol=0, atol=2e-6)


def test_first_leaves_out_what_is_not_wanted() -> None:
    built, x = block("selective"), torch.randn(2, GRID.num_tokens, 48)
    torch.testing.assert_close(built(x, rotary("tiled"), (), 7), built(x, rotary("tiled"))[:, 7:], rtol=0, atol=2e-6)


@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize(("style", "most"), [(None, 0.65), ("tiled", 0.6)])
def test_keeps_less(style: str | None, most: float, is_autocast: bool) -> None:
    def kept(checkpointing: Checkpointing) -> int:
        built, x = block(checkpointing), torch.randn(8, GRID.num_tokens, 48, requires_grad=True)
        parameters = {parameter.numel() for parameter in built.parameters()}
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.numel() not in parameters:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=is_autocast),
        ):
            out = built(x, rotary(style))
            total = sum(sizes.values())
        del out
        return total

    assert kept("selective") < most * kept("none")


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ModelError, match="selective"):
        Block(48, 3, 4.0, qkv_bias="qkv", activation_checkpointing="some")  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [3, 700])  # few and many: two kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear(rows: int, dtype: torch.dtype) -> None:
    x, weight = (
        torch.randn(2, rows, 24, dtype=dtype, requires_grad=True),
        torch.randn(16, 24, dtype=dtype, requires_grad=True),
    )
    bias = torch.randn(16, dtype=dtype)
    out = torch.nn.functional.linear(x, weight, bias)
    gradient = torch.randn_like(out)
    into_x, into_weight = torch.autograd.grad(out, (x, weight), gradient)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, bias), out.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(input_gradient(gradient, weight), into_x, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(weight_gradient(gradient, x), into_weight, rtol=1e-5, atol=2e-4)


def test_a_part_that_was_wrapped_or_hooked_is_called() -> None:
    """An adapter around a layer, or a hook on it, must not be passed by."""

    class Adapted(nn.Module):
        def __init__(self, layer: nn.Linear) -> None:
            super().__init__()
            self.layer, self.weight, self.bias = layer, layer.weight, layer.bias

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.layer(x)

    x, built = torch.randn(2, GRID.num_tokens, 48), block("selective")
    before, seen = built(x), []
    handle = built.mlp.fc1.register_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(built(x), before, rtol=0, atol=2e-6)
    assert seen == [1]
    handle.remove()
    for register in (built.norm2.register_full_backward_hook, built.norm2.register_full_backward_pre_hook):
        handle, count = register(lambda *_: seen.append(2)), len(seen)
        built(x).sum().backward()
        assert len(seen) == count + 1
        handle.remove()
    built.mlp.fc2 = Adapted(built.mlp.fc2)  # type: ignore[assignment]
    assert not torch.allclose(built(x), before, atol=1e-2)
