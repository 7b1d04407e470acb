"""Colours, turns and sizes: what comes out is the picture that was meant, upright."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from surgrec.video.decode import Frames, open_video, shrunk_size
from surgrec.video.probe import probe

FLAT_YUV = [(126, 128, 128), (60, 110, 150), (160, 90, 160), (90, 150, 110)]
WEIGHTS = {"bt601": (0.299, 0.114, 5), "bt709": (0.2126, 0.0722, 1)}  # Kr, Kb (ITU-R BT.601, BT.709), FFmpeg's number

# Of the first frame, from FFmpeg 5.1 through torchcodec 0.13 at full size.
MEAN_COLOURS = {
    "formats/h264_10bits.mp4": (114.6, 117.2, 124.9),
    "formats/h265_10bits.mp4": (114.5, 117.2, 124.9),
    "formats/av1_video.mkv": (120.0, 129.1, 127.7),
    "formats/bt709_full_range.mp4": (123.2, 126.3, 123.2),
    "formats/h265_video.mp4": (12.1, 12.0, 252.2),
    "formats/nasa_13013.mp4": (8.8, 8.1, 14.2),
    "laparoscopy/cholecystectomy_720p25.mp4": (95.1, 57.4, 53.3),
    "endoscopy/sinus_1080p15.mp4": (60.9, 33.2, 30.0),
}


def first_frames(path: Path, short_side_pixels: int | None = None) -> Frames:
    with open_video(path, short_side_pixels=short_side_pixels) as video:
        return video.read(np.arange(4) * 0.04)


def rgb_of(yuv: tuple[int, int, int], matrix: str, is_full: bool) -> np.ndarray:
    """The definition of the two standards, 8 bits."""
    red_weight, blue_weight, _ = WEIGHTS[matrix]
    y, cb, cr = (np.array(yuv) - (0, 128, 128)) / 255 if is_full else (np.array(yuv) - (16, 128, 128)) / (219, 224, 224)
    red, blue = y + 2 * (1 - red_weight) * cr, y + 2 * (1 - blue_weight) * cb
    green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(np.array([red, green, blue]) * 255, 0, 255)


def write_flat(path: Path, matrix: str, is_full: bool) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p" if is_full else "yuv420p"
        stream.codec_context.color_range = 2 if is_full else 1
        stream.codec_context.colorspace = WEIGHTS[matrix][2]
        for y, u, v in FLAT_YUV:
            planes = np.concatenate([np.full(64 * 64, y), np.full(32 * 32, u), np.full(32 * 32, v)])
            frame = av.VideoFrame.from_ndarray(planes.astype(np.uint8).reshape(-1, 64), format=stream.pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("short_side_pixels", [None, 40])
@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_declared_matrix_and_range_are_used(
    matrix: str, is_full: bool, short_side_pixels: int | None, tmp_path: Path
) -> None:
    write_flat(tmp_path / "flat.mp4", matrix, is_full)
    pixels = first_frames(tmp_path / "flat.mp4", short_side_pixels).pixels
    for shown, yuv in zip(pixels[:, 20, 20], FLAT_YUV, strict=True):
        np.testing.assert_allclose(shown, rgb_of(yuv, matrix, is_full), atol=4)


# Quarter turns, counter-clockwise, that make the letters of the filmed keyboard upright; looked at by eye.
@pytest.mark.parametrize(("name", "quarter_turns"), [("0", 0), ("90", 3), ("180", 2), ("270", 1)])
def test_rotated_videos_come_out_upright(name: str, quarter_turns: int, clips: Path) -> None:
    path = clips / "formats" / f"video_{name}.mov"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    frames, info = first_frames(path), probe(path)
    np.testing.assert_allclose(frames.pixels[0].astype(int), np.rot90(stored, quarter_turns), atol=4)
    assert frames.pixels.shape[1:3] == (info.height, info.width)
    assert info.rotation_degrees == 90 * quarter_turns
    small = first_frames(path, short_side_pixels=112).pixels
    assert small.shape[1:] == ((198, 112, 3) if quarter_turns % 2 else (112, 198, 3))


@pytest.mark.parametrize(("name", "mean_rgb"), MEAN_COLOURS.items())
def test_colours_of_real_files(name: str, mean_rgb: tuple[float, float, float], clips: Path) -> None:
    """10 bits, AV1, full range and both matrices, against an independent decoder."""
    shown = first_frames(clips / name, short_side_pixels=96).pixels[0].mean(axis=(0, 1))
    np.testing.assert_allclose(shown, mean_rgb, atol=4)


def test_sizes() -> None:
    assert shrunk_size(720, 1280, 224) == (224, 398)
    assert shrunk_size(1280, 720, 224) == (398, 224)
    assert shrunk_size(254, 316, 224) == (224, 278)
    assert shrunk_size(200, 300, 224) == (200, 300)
    assert shrunk_size(225, 225, 224) == (224, 224)
    assert shrunk_size(720, 1280, None) == (720, 1280)


def test_shrinking_averages_instead_of_aliasing(tmp_path: Path) -> None:
    """A fine checkerboard becomes grey, not a coarser checkerboard."""
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    with av.open(str(tmp_path / "board.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.repeat(board[..., None], 3, axis=2), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_video(tmp_path / "board.mp4", short_side_pixels=64) as video:
        small = video.read([0.0]).pixels[0]
    assert small.shape == (64, 64, 3)
    assert small.std() < 3
