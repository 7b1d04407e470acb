"""Measures against plain statements of what they are, and whatever the chunks in which frames come."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus.measures import MEASURES, Measurer, Measures
from surgrec.synthetic import blemishes
from tests.corpus.filters.pictures import NARROW_BAND, moving, room

MASK = np.ones((96, 128), bool)


def measured(frames: np.ndarray, mask: np.ndarray = MASK) -> Measures:
    return Measures(Measurer(mask, 4)(frames, np.arange(len(frames)) / 4))


def test_chunks_do_not_matter() -> None:
    frames = moving(21)
    measurer, times = Measurer(MASK, 4), np.arange(21) / 4
    parts = [measurer(frames[part], times[part]) for part in (slice(0, 1), slice(1, 12), slice(12, 21))]
    np.testing.assert_allclose(np.concatenate(parts), measured(frames).table, rtol=1e-4)  # sums in another order


def test_black_corners_do_not_matter() -> None:
    rows, columns = np.mgrid[0:96, 0:128]
    mask = np.hypot(rows - 47.5, columns - 63.5) < 46
    frames = moving(6)
    inside, painted = measured(frames * mask[..., None].astype(np.uint8), mask), measured(frames, mask)
    for name in MEASURES:
        if name != "blur":  # its second blurring looks 4 pixels around
            np.testing.assert_allclose(inside[name], painted[name], rtol=1e-3, atol=1e-3, err_msg=name)
    np.testing.assert_allclose(inside["blur"], painted["blur"], atol=0.02)


def test_levels() -> None:
    grey = np.full((5, 96, 128, 3), 100, np.uint8)
    grey[:, :2] = 250  # 2 % of the rows, mostly in the rim
    found = measured(grey)
    np.testing.assert_allclose(found["bright"], 100, atol=1e-3)
    np.testing.assert_allclose(found["mean"], 100, atol=1)
    np.testing.assert_allclose(found["redness"], 1 / 3, atol=1e-6)
    assert (found["palette_share"] > 0.99).all() and (found["spread"] < 1e-3).all() and (found["variety"] < 1e-3).all()


def test_change_is_of_a_sample_and_of_a_second() -> None:
    frames = np.full((8, 96, 128, 3), 50, np.uint8) + 10 * np.arange(8, dtype=np.uint8)[:, None, None, None]
    found = measured(frames)
    assert np.isnan(found["change"][0]) and np.isnan(found["change_second"][:4]).all()
    np.testing.assert_allclose(found["change"][1:], 10, atol=0.01)
    np.testing.assert_allclose(found["change_second"][4:], 40, atol=0.01)


def test_change_is_not_noise_but_a_moving_instrument() -> None:
    random = np.random.default_rng(0)
    still = np.repeat(moving(1), 8, axis=0)
    noisy = np.clip(still + random.normal(0, 2, size=still.shape), 0, 255).astype(np.uint8)
    assert np.nanmax(measured(noisy)["change_second"]) < 1.5
    for index in range(8):
        noisy[index, 20:50, 10 * index : 10 * index + 30] = 220
    assert np.nanmin(measured(noisy)["change_second"]) > 6


def test_a_skipped_sample_is_no_standing_picture() -> None:
    measurer, frames = Measurer(MASK, 4), np.repeat(moving(1), 6, axis=0)
    measurer(frames[:5], np.zeros(5))
    measurer.skip()
    assert np.isnan(measurer(frames[5:], np.zeros(1))[0, MEASURES.index("change")])


def test_blur_rises_with_blurring_and_not_with_contrast() -> None:
    frames = moving(1)
    blurs = [measured(frames)["blur"][0]] + [
        measured(blemishes.blurred(frames, 0, 1, sigma))["blur"][0] for sigma in (1.0, 2.0, 4.0)
    ]
    assert blurs == sorted(blurs) and blurs[-1] > blurs[0] + 0.2
    dim = measured((frames * 0.5 + 60).astype(np.uint8))
    assert (
        dim["blur"][0] == pytest.approx(blurs[0], abs=0.03)
        and dim["laplacian"][0] < 0.4 * measured(frames)["laplacian"][0]
    )


def test_colours() -> None:
    tissue, green, other = (measured(frames) for frames in (moving(2), moving(2, NARROW_BAND), room(2)))
    assert (tissue["warm_share"] > 0.9).all() and (tissue["cold_share"] == 0).all()
    assert (green["cold_share"] > 0.9).all() and (green["variety"] < 0.03).all()
    assert (other["cold_share"] > 0.5).all() and (other["variety"] > 0.05).all()


def test_colour_bars_have_all_their_variance_between_columns() -> None:
    bars = np.stack([blemishes.colour_bars(96, 128)] * 2)
    rows, columns = np.mgrid[0:96, 0:128]
    for mask in (MASK, np.hypot(rows - 47.5, columns - 63.5) < 46):
        np.testing.assert_allclose(measured(bars, mask)["column_share"], 1, atol=1e-3)
    assert (measured(moving(4))["column_share"] < 0.7).all()


def test_tables_have_the_columns() -> None:
    with pytest.raises(ValueError, match="expected"):
        Measures(np.zeros((3, 2), np.float32))


def test_a_tiny_view_is_measured() -> None:
    mask = np.zeros((6, 7), bool)
    mask[3, 3] = True
    assert np.isfinite(measured(np.full((2, 6, 7, 3), 90, np.uint8), mask)["mean"]).all()
