"""Attention: the fused kernel against the formula, and the two kinds of bias."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surgrec.models import attention
from surgrec.models.attention import Attention, attend, mix
from surgrec.models.errors import ModelError


def test_fused_attention_equals_the_formula() -> None:
    q, k, v = torch.randn(3, 2, 3, 50, 16)
    expected = torch.einsum("bhnm,bhmd->bhnd", (torch.einsum("bhnd,bhmd->bhnm", q, k) / 4).softmax(-1), v)
    for backend in ("sdpa", "math"):
        torch.testing.assert_close(attend(q, k, v, backend), expected, rtol=0, atol=2e-6)  # type: ignore[arg-type]


def test_backends_agree_with_gradients() -> None:
    attention = Attention(48, 3, "qkv")
    x = torch.randn(2, 20, 48)
    results = []
    for backend in ("sdpa", "math"):
        attention.backend = backend  # type: ignore[assignment]
        attention.zero_grad()
        out = attention(x)
        out.square().sum().backward()
        results.append((out.detach(), attention.qkv.weight.grad.clone()))  # type: ignore[union-attr]
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_split_bias_is_a_fused_bias_without_keys() -> None:
    split, fused = Attention(24, 2, "qv"), Attention(24, 2, "qkv")
    assert {name for name, _ in split.named_parameters()} == {
        "q_bias",
        "v_bias",
        "qkv.weight",
        "proj.weight",
        "proj.bias",
    }
    with torch.no_grad():
        split.q_bias.normal_()
        split.v_bias.normal_()
        fused.qkv.weight.copy_(split.qkv.weight)
        fused.proj.load_state_dict(split.proj.state_dict())
        fused.qkv.bias.copy_(torch.cat((split.q_bias, torch.zeros(24), split.v_bias)))
    x = torch.randn(2, 9, 24)
    torch.testing.assert_close(split(x), fused(x), rtol=0, atol=1e-6)
    with torch.no_grad():
        fused.qkv.bias[24:48] = 5.0  # a bias on the keys changes nothing, which is why VideoMAE has none
    torch.testing.assert_close(split(x), fused(x), rtol=0, atol=1e-5)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ModelError, match="not a multiple"):
        Attention(50, 3, "qkv")
    with pytest.raises(ModelError, match="attention bias"):
        Attention(48, 3, "kv")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="backend"):
        attend(*torch.randn(3, 1, 1, 2, 4), "magic")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="backend"):
        Attention(48, 3, "qkv", "magic")  # type: ignore[arg-type]


def test_segments_in_one_row_are_the_segments_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable-length kernel runs on CUDA alone; a reference in its place shows that it would be handed the right tokens."""

    def reference(
        q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, bounds_k: Tensor, longest: int, longest_k: int
    ) -> Tensor:
        assert bounds.dtype is torch.int32 and longest == longest_k == int(bounds.diff().max()) and bounds is bounds_k
        out = torch.empty_like(q)
        for start, stop in bounds.unfold(0, 2, 1).tolist():
            heads = (part[start:stop].transpose(0, 1) for part in (q, k, v))
            out[start:stop] = attend(*heads, "math").transpose(0, 1)
        return out

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", reference)
    monkeypatch.setattr("surgrec.models.attention._refuse_varlen", lambda q: None)
    q, k, v = torch.randn(3, 2, 12, 3, 8)
    torch.testing.assert_close(mix(q, k, v, (7, 5), "varlen"), mix(q, k, v, (7, 5), "math"), rtol=0, atol=1e-6)
    torch.testing.assert_close(mix(q, k, v, (), "varlen"), mix(q, k, v, (), "math"), rtol=0, atol=1e-6)


def test_the_variable_length_kernel_is_refused_where_it_cannot_run() -> None:
    q = torch.randn(2, 12, 3, 8)
    with pytest.raises(ModelError, match=r"needs CUDA in half precision, not cpu in torch\.float32"):
        mix(q, q, q, (7, 5), "varlen")


@torch.no_grad()
def test_in_half_precision_on_the_cpu_attention_in_blocks_is_as_near_to_the_formula(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    q, k, v = (torch.randn(2, 3, 900, 16, generator=torch.Generator().manual_seed(i)) for i in range(3))
    exact, halves = attend(q, k, v, "math"), [each.bfloat16() for each in (q, k, v)]
    in_blocks = attend(*halves).float()
    monkeypatch.setattr(attention, "_gains_from_blocks", lambda q: False)
    fused = attend(*halves).float()
    assert not torch.equal(in_blocks, fused), "two ways"
    assert (in_blocks - exact).abs().mean() < 1.5 * (fused - exact).abs().mean()
