"""Similarities from codes are those of whole tokens, as nearly as they say."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.looking.components import principal
from surgrec.looking.similarity import TOKEN_BYTES, TokenCodes, encode_tokens, num_components


def tokens(width: int = 24, seed: int = 0) -> np.ndarray:
    """(5, 4, 3, D), with a mean that is larger than what differs, as tokens of transformers have."""
    draw = np.random.default_rng(seed)
    return (draw.normal(size=(5, 4, 3, width)) * np.geomspace(3, 0.1, width) + 2).astype(np.float32)


def coded(x: np.ndarray, count: int) -> TokenCodes:
    return encode_tokens(x, principal(x.reshape(-1, x.shape[-1]), count))


def cosines(x: np.ndarray, moment: int, row: int, column: int) -> np.ndarray:
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return unit @ unit[moment, row, column]


@pytest.mark.parametrize("is_centred", [False, True])
def test_with_all_components_only_rounding_is_lost(is_centred: bool) -> None:
    x = tokens()
    codes = coded(x, 24)
    whole = x - x.reshape(-1, 24).mean(0) if is_centred else x
    for place in ((0, 0, 0), (2, 3, 1), (4, 1, 2)):
        found = codes.similarity(*place, is_centred)
        np.testing.assert_allclose(found, cosines(whole, *place), atol=0.02)
        assert found[place] == pytest.approx(1, abs=1e-6)
    assert codes.share == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("is_centred", [False, True])
def test_the_error_is_measured_and_told(is_centred: bool) -> None:
    x = tokens()
    codes, side = coded(x, 4), int(is_centred)
    whole = x - x.reshape(-1, 24).mean(0) if is_centred else x
    assert codes.share < 0.99
    off = np.stack(
        [np.abs(codes.similarity(*place, is_centred) - cosines(whole, *place)) for place in np.ndindex(5, 4, 3)]
    )
    assert codes.max_error[side] <= off.max() + 1e-6 and codes.max_error[side] > 0.5 * off.max()
    assert codes.mean_error[side] == pytest.approx(off.mean(), rel=0.5)
    assert codes.mean_error[side] > 5 * coded(x, 24).mean_error[side]


def test_a_page_has_room_for_its_components() -> None:
    assert num_components(100, 384) == 384
    for num_tokens in (48 * 196, 120 * 196, 120 * 576):
        count = num_components(num_tokens, 1024)
        assert 3 <= count < 1024 and count * num_tokens <= TOKEN_BYTES < (count + 1) * num_tokens
    assert num_components(10 * TOKEN_BYTES, 1024) == 3


def test_a_token_that_is_the_mean_gives_numbers() -> None:
    x = np.ones((2, 2, 2, 8), np.float32)
    codes = coded(x, 8)
    np.testing.assert_allclose(codes.similarity(0, 0, 0, False), 1, atol=1e-6)
    assert np.isfinite(codes.similarity(0, 0, 0, True)).all()
