"""Position tables against their formulas written as loops, and the life of the cached tables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.models.errors import ModelError
from surgrec.models.positions import (
    SinCosStyle,
    added_table,
    check_position_grid,
    check_rotary,
    rotary_table,
    sincos_3d_table,
    sincos_table,
)
from surgrec.models.rotary import Rotary


def test_sincos_table_is_its_closed_form() -> None:
    num_tokens, width = 37, 26
    table = sincos_table(num_tokens, width)
    assert table.dtype == torch.float32 and not table.requires_grad
    for n in range(num_tokens):
        for i in range(width // 2):
            angle = n / 10000 ** (2 * i / width)
            assert table[n, 2 * i].item() == pytest.approx(math.sin(angle), abs=6e-8)
            assert table[n, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=6e-8)


def test_sincos_table_of_a_longer_clip_extends_that_of_a_shorter() -> None:
    assert torch.equal(sincos_table(1568, 96), sincos_table(3136, 96)[:1568])


@pytest.mark.parametrize("width", [48, 50, 64])  # divisible by six, and cut
def test_sincos_3d_table_is_its_closed_form(width: int) -> None:
    grid = TokenGrid(2, 3, 4)
    table = sincos_3d_table(grid, width)
    assert table.dtype == torch.float32 and table.shape == (24, width)
    half = math.ceil(width / 6)
    for token in range(24):
        wanted = []
        for place in (token // 12, token // 4 % 3, token % 4):
            angles = [place / 10000 ** (2 * j / (2 * half)) for j in range(half)]
            wanted += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert table[token].tolist() == pytest.approx(wanted[:width], abs=6e-8)


def test_sincos_3d_positions_are_those_of_the_place_whatever_the_grid() -> None:
    small, large = sincos_3d_table(TokenGrid(2, 3, 4), 48), sincos_3d_table(TokenGrid(4, 5, 7), 48)
    assert torch.equal(small.view(2, 3, 4, 48), large.view(4, 5, 7, 48)[:2, :3, :4])


def naive_rotation(x: Tensor, time: int, row: int, column: int, style: str) -> list[float]:
    """Rotate one vector as the text says: three parts, adjacent pairs, one angle for each value."""
    d = len(x)
    part = 2 * math.floor(math.floor(d / 3) / 2)
    out = [float(value) for value in x]
    for axis, position in enumerate((time, row, column)):
        for i in range(part):
            j = i // 2 if style == "interleaved" else i % (part // 2)
            angle = position * 10000 ** (-j / (part / 2))
            here = axis * part + i
            partner = -float(x[here + 1]) if i % 2 == 0 else float(x[here - 1])
            out[here] = float(x[here]) * math.cos(angle) + partner * math.sin(angle)
    return out


@pytest.mark.parametrize("style", ["tiled", "interleaved"])
@pytest.mark.parametrize("head_width", [6, 32, 64, 88])
def test_rotation_is_its_closed_form(style: str, head_width: int) -> None:
    grid = TokenGrid(3, 2, 5)
    ids = torch.tensor([[29, 0, 11, 7]])
    rotary = Rotary.at(grid, head_width, style, ids, "cpu")  # type: ignore[arg-type]
    x = torch.randn(1, 4, 2, 3, head_width)  # q and k, three heads
    turned = rotary.rotate(x)
    for k, n in enumerate(ids[0].tolist()):
        place = (n // 10, n // 5 % 2, n % 5)
        for which in range(2):
            expected = torch.tensor(naive_rotation(x[0, k, which, 1], *place, style))
            torch.testing.assert_close(turned[0, k, which, 1], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("head_width", "part", "rest"), [(64, 20, 4), (80, 26, 2), (32, 10, 2), (88, 28, 4), (6, 2, 0)]
)
def test_split_of_a_head(head_width: int, part: int, rest: int) -> None:
    cos, sin = rotary_table(TokenGrid(2, 3, 4), head_width, "tiled")
    last = -1  # the last token has a non-zero position on every axis
    assert torch.equal(cos[:, 3 * part :], torch.ones(24, rest)) and torch.equal(
        sin[:, 3 * part :], torch.zeros(24, rest)
    )
    assert (sin[last, : 3 * part] != 0).all()
    assert sin[last, 0].item() == pytest.approx(math.sin(1))  # time 1
    assert sin[last, part].item() == pytest.approx(math.sin(2))  # row 2
    assert sin[last, 2 * part].item() == pytest.approx(math.sin(3))  # column 3


def test_interleaved_scores_depend_on_offsets_only_and_tiled_ones_do_not() -> None:
    grid = TokenGrid(6, 6, 6)
    q, k = torch.randn(2, 1, 1, 1, 1, 32)

    def score(style: str, n: int, m: int) -> float:
        at = [Rotary.at(grid, 32, style, torch.tensor([[place]]), "cpu") for place in (n, m)]  # type: ignore[arg-type]
        return float((at[0].rotate(q) * at[1].rotate(k)).sum())

    shift = (2 * 6 + 1) * 6 + 3  # by two time steps, one row, three columns
    assert score("interleaved", 8, 50) == pytest.approx(score("interleaved", 8 + shift, 50 + shift), abs=1e-4)
    assert abs(score("tiled", 8, 50) - score("tiled", 8 + shift, 50 + shift)) > 1e-2


@pytest.mark.parametrize("shape", [(2, 24, 24), (3, 8, 14), (2, 16, 16), (2, 1, 5)])
def test_stretched_rows_and_columns_span_the_grid_of_pretraining(shape: tuple[int, int, int]) -> None:
    grid, part = TokenGrid(*shape), 10  # of a head of 32
    cos, sin = rotary_table(grid, 32, "interleaved", rope_grid=16)
    plain = rotary_table(grid, 32, "interleaved")
    if shape[1:] == (16, 16):
        assert torch.equal(torch.stack((cos, sin)), plain)
    assert torch.equal(cos[:, :part], plain[0][:, :part]) and torch.equal(sin[:, :part], plain[1][:, :part])  # time
    for n in range(grid.num_tokens):
        row, column = n // grid.w % grid.h, n % grid.w
        for axis, place, count in ((1, row, grid.h), (2, column, grid.w)):
            stretched = place * 15 / (count - 1) if count > 1 else 0.0
            for pair in range(part // 2):
                angle = stretched * 10000 ** (-pair / (part / 2))
                for value in (axis * part + 2 * pair, axis * part + 2 * pair + 1):
                    assert cos[n, value].item() == pytest.approx(math.cos(angle), abs=1e-7)
                    assert sin[n, value].item() == pytest.approx(math.sin(angle), abs=1e-7)


def test_rotation_happens_in_float32_and_keeps_the_dtype() -> None:
    rotary = Rotary.at(TokenGrid(128, 2, 2), 32, "tiled", None, "cpu")
    x = torch.randn(1, 512, 2, 1, 32).bfloat16()
    turned = rotary.rotate(x)
    assert turned.dtype == torch.bfloat16 and rotary.cos.dtype == torch.float32
    assert torch.equal(turned, rotary.rotate(x.float()).bfloat16())


def test_table_made_during_inference_serves_training() -> None:
    with torch.inference_mode():
        table = sincos_table(11, 10)
        Rotary.at(TokenGrid(1, 1, 11), 12, "tiled", None, "cpu")
    weight = torch.ones(10, requires_grad=True)
    (table * weight).sum().backward()
    x = torch.randn(1, 11, 1, 1, 12, requires_grad=True)
    Rotary.at(TokenGrid(1, 1, 11), 12, "tiled", None, "cpu").rotate(x).sum().backward()
    assert weight.grad is not None and x.grad is not None
    assert sincos_table(11, 10) is table  # made once


def test_heads_that_cannot_be_rotated_are_refused() -> None:
    for head_width in (4, 33):
        with pytest.raises(ModelError, match="even number"):
            check_rotary(head_width, "tiled")
    with pytest.raises(ModelError, match="rope style"):
        check_rotary(64, "spiral")
    with pytest.raises(ModelError, match="at least 2 rows"):
        rotary_table(TokenGrid(1, 2, 2), 12, "tiled", rope_grid=1)


@pytest.mark.parametrize("style", ["sincos", "sincos_3d"])
def test_positions_of_another_grid_are_resampled_from_the_grid_that_was_trained(style: SinCosStyle) -> None:
    trained, clip = (2, 4, 6), TokenGrid(2, 8, 12)
    own = added_table(style, TokenGrid(*trained), 24)
    assert torch.equal(added_table(style, TokenGrid(*trained), 24, position_grid=trained), own)
    table = added_table(style, clip, 24, position_grid=trained)
    assert table.shape == (clip.num_tokens, 24) and table.dtype == torch.float32
    # twice as fine in both directions: cell centres lie at a quarter and three quarters between those of the trained grid
    fine, coarse = table.view(2, 8, 12, 24), own.view(2, 4, 6, 24)
    near, far = coarse[:, :-1, 0], coarse[:, 1:, 0]
    torch.testing.assert_close(fine[:, 1:-2:2, 0], 0.75 * near + 0.25 * far, rtol=0, atol=1e-6)
    torch.testing.assert_close(fine[:, 0, 0], coarse[:, 0, 0], rtol=0, atol=1e-6)
    assert not torch.allclose(table, added_table(style, clip, 24), atol=1e-2)


def test_a_position_grid_is_three_counts_of_added_positions() -> None:
    assert check_position_grid([8, 14, 14], "sincos") == (8, 14, 14)
    with pytest.raises(ModelError, match="three counts"):
        check_position_grid([8, 14], "sincos")
    with pytest.raises(ModelError, match="three counts"):
        check_position_grid([8, 0, 14], "sincos_3d")
    with pytest.raises(ModelError, match="rotary positions are computed for every clip"):
        check_position_grid([8, 14, 14], "rope")
