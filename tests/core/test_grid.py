"""The token grid: sizes, flattening order, and a clear error for a size that does not divide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgrec.core.grid import GeometryError, TokenGrid


def test_the_published_geometries() -> None:
    assert TokenGrid.of_clip(16, 224, 224, tubelet=2, patch=16) == TokenGrid(8, 14, 14)
    assert TokenGrid(8, 14, 14).num_tokens == 1568 and TokenGrid(8, 14, 14).num_cells == 196
    assert TokenGrid.of_clip(16, 256, 256, tubelet=2, patch=16).num_tokens == 2048


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 20))
def test_of_clip_inverts_multiplication(t: int, h: int, w: int, tubelet: int, patch: int) -> None:
    grid = TokenGrid.of_clip(t * tubelet, h * patch, w * patch, tubelet, patch)
    assert grid == TokenGrid(t, h, w)
    ids = np.arange(grid.num_tokens).reshape(t, h, w)  # time slowest, then rows, then columns
    assert ids[-1, 0, 0] == (t - 1) * grid.num_cells and ids[0, -1, 0] == (h - 1) * w


@pytest.mark.parametrize(
    ("size", "word"), [((15, 224, 224), "frames 15"), ((16, 225, 224), "height 225"), ((16, 224, 0), "width 0")]
)
def test_what_does_not_divide_is_named(size: tuple[int, int, int], word: str) -> None:
    with pytest.raises(GeometryError, match=word):
        TokenGrid.of_clip(*size, tubelet=2, patch=16)
