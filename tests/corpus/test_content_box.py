"""The content box is what is inside the bars, whatever is written in them; round views are told with centre and radius."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus.content_box import WHOLE, ContentBox, find_view
from surgrec.corpus.regions import Rectangle
from surgrec.synthetic import blemishes
from tests.corpus.filters.pictures import moving

HEIGHT, WIDTH = 96, 128


def edges(box: ContentBox) -> np.ndarray:
    return np.array([box.left, box.top, box.right, box.bottom])


def round_view(frames: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[0 : frames.shape[1], 0 : frames.shape[2]]
    inside = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2
    return frames * inside[..., None].astype(np.uint8)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 24])
@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (20, 0), (0, 30), (14, 22)])
def test_bars_are_left_out(rows: int, columns: int, num_frames: int) -> None:
    frames = blemishes.letterboxed(moving(num_frames), rows, columns)
    height, width = frames.shape[1:3]
    expected = [columns / width, rows / height, 1 - columns / width, 1 - rows / height]
    np.testing.assert_allclose(edges(find_view(frames).box), expected, atol=0.015)


def spoilt(frames: np.ndarray, how: str) -> np.ndarray:
    match how:
        case "noise in the black":
            return frames  # below, where the bars are made
        case "a caption in a bar":
            return blemishes.captioned(frames, 0, len(frames), (0, 1), 1, 0.05)
        case "a logo in a corner":
            return blemishes.logo(frames, 0, len(frames), (1, 0), 0.12, 1.0)
        case "a flash":
            return blemishes.replaced(frames, 5, 6, np.full(frames.shape[1:], 255, np.uint8))
        case "titles at the start":
            return blemishes.captioned(frames, 0, 3, (0, 0), 6, 0.1)
        case "mostly black":
            return blemishes.replaced(frames, 0, 20, np.zeros(frames.shape[1:], np.uint8))
    return frames // 4 if how == "a dim video" else frames


@pytest.mark.parametrize(
    "how",
    [
        "noise in the black", "a caption in a bar", "a logo in a corner", "a flash", "titles at the start", "mostly black",
        "a dim video",
    ],
)  # fmt: skip
def test_nothing_else_moves_the_box(how: str) -> None:
    frames = spoilt(blemishes.letterboxed(moving(24), 24, 30, noise=5.0 if "noise" in how else 0.0), how)
    np.testing.assert_allclose(edges(find_view(frames).box), [30 / 188, 24 / 144, 158 / 188, 120 / 144], atol=0.02)


def test_a_dark_video_is_whole() -> None:
    dark = np.random.default_rng(0).integers(0, 12, size=(24, HEIGHT, WIDTH, 3)).astype(np.uint8)
    lamp = dark.copy()
    lamp[:, 40:52, 60:75] = 255
    for frames in (dark, lamp, np.zeros_like(dark)):
        view = find_view(frames)
        assert view.box == view.inscribed == WHOLE and view.circle is None and view.mask.all()


@pytest.mark.parametrize(("x", "y", "radius"), [(64, 48, 45), (70, 50, 40), (64, 48, 62), (60, 60, 52)])
def test_round_views_are_circles(x: float, y: float, radius: float) -> None:
    """Also those that are cut at the top and bottom, or off the middle."""
    view = find_view(round_view(moving(24), x, y, radius))
    assert view.circle is not None
    assert abs(view.circle.x * WIDTH - x) < 1.5 and abs(view.circle.y * HEIGHT - y) < 1.5
    assert abs(view.circle.radius * HEIGHT - radius) < 1.5
    expected = [(x - radius) / WIDTH, (y - radius) / HEIGHT, (x + radius) / WIDTH, (y + radius) / HEIGHT]
    np.testing.assert_allclose(edges(view.box), np.clip(expected, 0, 1), atol=0.03)


def test_what_is_inscribed_has_no_black_corner() -> None:
    frames = round_view(moving(24), 64, 48, 45)
    view = find_view(frames)
    rows, columns = view.inscribed.pixels(HEIGHT, WIDTH)
    assert (frames[:, rows, columns].max(axis=(0, 3)) > 30).mean() > 0.99
    side = 45 * np.sqrt(2)  # the square in a circle
    assert (rows.stop - rows.start) * (columns.stop - columns.start) == pytest.approx(side**2, rel=0.06)


@pytest.mark.parametrize("corner", [0, 18, 30])
def test_cut_and_straight_corners_are_no_circle(corner: int) -> None:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    reach = (WIDTH / 2 - 6 - np.abs(columns + 0.5 - WIDTH / 2)) + (HEIGHT / 2 - 6 - np.abs(rows + 0.5 - HEIGHT / 2))
    inside = (reach > corner) & (np.abs(columns + 0.5 - 64) < 58) & (np.abs(rows + 0.5 - 48) < 42)
    view = find_view(moving(24) * inside[..., None].astype(np.uint8))
    assert view.circle is None
    np.testing.assert_allclose(edges(view.box), [6 / 128, 6 / 96, 122 / 128, 90 / 96], atol=0.02)
    assert (view.inscribed == view.box) == (corner == 0)


def test_rounded_corners_are_no_circle() -> None:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    x, y = np.maximum(np.abs(columns + 0.5 - 64) - 42, 0), np.maximum(np.abs(rows + 0.5 - 48) - 28, 0)
    view = find_view(moving(24) * (np.hypot(x, y) < 16)[..., None].astype(np.uint8))
    assert view.circle is None
    np.testing.assert_allclose(edges(view.box), [6 / 128, 4 / 96, 122 / 128, 92 / 96], atol=0.02)


def test_a_panel_of_data_beside_the_view_is_left_out() -> None:
    frames = np.zeros((24, HEIGHT, 2 * WIDTH, 3), np.uint8)
    frames[:, :, WIDTH:] = round_view(moving(24), 64, 48, 45)
    frames = blemishes.captioned(frames, 0, 24, (0, 0), 5, 0.07)
    box = find_view(frames).box
    assert box.left == pytest.approx((WIDTH + 19) / (2 * WIDTH), abs=0.02) and box.right == pytest.approx(
        (WIDTH + 109) / (2 * WIDTH), abs=0.02
    )


@pytest.mark.parametrize(("height", "width"), [(101, 75), (48, 64), (3, 5), (2, 2)])
def test_pixels_to_cut_to_are_even_and_inside(height: int, width: int) -> None:
    for box in (WHOLE, ContentBox(0.13, 0.21, 0.77, 0.93), ContentBox(0.98, 0.98, 1.0, 1.0)):
        cut = box.even_pixels(height, width)
        assert all(edge % 2 == 0 for edge in cut)
        assert 0 <= cut.left < cut.right <= width and 0 <= cut.top < cut.bottom <= height
    assert WHOLE.even_pixels(101, 75) == Rectangle(0, 0, 74, 100)


@pytest.mark.parametrize(
    ("name", "expected", "is_round"),
    [
        ("endoscopy/sinus_1080p15.mp4", [0.24, 0.06, 0.80, 0.96], True),
        ("laparoscopy/abdomen_540p25.mp4", [0.07, 0.0, 0.82, 1.0], True),
        ("laparoscopy/cholecystectomy_720p25.mp4", [0.04, 0.0, 0.94, 1.0], True),
        ("robotic/versius_cholecystectomy_254p10.mp4", [0.0, 0.0, 1.0, 1.0], False),
    ],
)
def test_real_clips(clips, name: str, expected: list[float], is_round: bool) -> None:  # type: ignore[no-untyped-def]
    """As measured by eye on their frames."""
    from surgrec.video.decode import open_video
    from surgrec.video.probe import probe

    with open_video(clips / name, short_side_pixels=128) as reader:
        frames = reader.read((np.arange(6) + 0.5) / 6 * probe(clips / name).duration_seconds).pixels
    view = find_view(frames)
    np.testing.assert_allclose(edges(view.box), expected, atol=0.02)
    assert (view.circle is not None) == is_round
