"""Laws of augmentation: addressed by position, one transform a clip, the published distribution, closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.data.preprocess import IMAGENET_MEAN, IMAGENET_STD

SPEC = AugmentSpec(crop_pixels=32)
POSITIONS = np.array([4, 7, 11, 12, 30])
SIZES = [(48, 64), (64, 96), (80, 48), (40, 40), (36, 64)]
MANY = np.arange(20_000)


def random_clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (4, *size, 3), dtype=torch.uint8, generator=generator) for size in SIZES]


def many_boxes(spec: AugmentSpec, height: int, width: int):
    return ClipAugment(spec, 0).boxes(MANY, np.full(len(MANY), height), np.full(len(MANY), width))


def test_a_clip_looks_the_same_in_any_batch() -> None:
    augment, clips = ClipAugment(SPEC, seed=1), random_clips()
    whole = augment(clips, POSITIONS)
    assert whole.shape == (5, 3, 4, 32, 32)
    assert whole.dtype == torch.float32
    for parts in ([[0], [1], [2], [3], [4]], [[0, 1], [2, 3, 4]], [[4, 2, 0], [1, 3]]):
        for part in parts:
            assert torch.equal(augment([clips[i] for i in part], POSITIONS[part]), whole[part])
    assert not torch.equal(ClipAugment(SPEC, seed=2)(clips, POSITIONS), whole)
    assert not torch.equal(augment(clips, POSITIONS + 1), whole)


def test_all_frames_of_a_clip_share_one_transform() -> None:
    still = [clip[:1].expand(4, -1, -1, -1) for clip in random_clips()]
    video = ClipAugment(SPEC, 0)(still, POSITIONS)
    assert torch.equal(video, video[:, :, :1].expand_as(video))


def test_flips_are_addressed_and_mirror_the_clip() -> None:
    never, always, half = (ClipAugment(AugmentSpec(32, flip_probability=p), 0) for p in (0.0, 1.0, 0.5))
    clips = random_clips()
    plain, mirrored, mixed = (augment(clips, POSITIONS) for augment in (never, always, half))
    assert torch.equal(plain.flip(-1), mirrored)
    flips = half.boxes(POSITIONS, *np.array(SIZES).T).is_flipped
    for index, is_flipped in enumerate(flips):
        assert torch.equal(mixed[index], mirrored[index] if is_flipped else plain[index])
    share = many_boxes(SPEC, 48, 64).is_flipped.mean()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(len(MANY))


@pytest.mark.parametrize(("height", "width"), [(224, 224), (224, 398), (398, 224), (20, 400), (1, 1)])
def test_boxes_lie_inside_the_frame(height: int, width: int) -> None:
    boxes = many_boxes(SPEC, height, width)
    assert (boxes.top >= 0).all()
    assert (boxes.left >= 0).all()
    assert (boxes.height >= 1).all()
    assert (boxes.width >= 1).all()
    assert (boxes.top + boxes.height <= height).all()
    assert (boxes.left + boxes.width <= width).all()
    assert (boxes.top + boxes.height).max() == height  # every edge is reached
    assert (boxes.left + boxes.width).max() == width


def test_area_is_uniform_and_aspect_log_uniform_where_every_box_fits() -> None:
    spec = AugmentSpec(32, scale=(0.1, 0.5), aspect=(0.75, 1.35))
    boxes = many_boxes(spec, 1000, 1000)
    area = boxes.height * boxes.width / 1e6
    aspect = np.log(boxes.width / boxes.height)
    for values, low, high in [(area, 0.1, 0.5), (aspect, np.log(0.75), np.log(1.35))]:
        scaled = np.sort((values - low) / (high - low))
        assert np.abs(scaled - (np.arange(len(MANY)) + 0.5) / len(MANY)).max() < 1.95 / np.sqrt(len(MANY)) + 0.005


def test_a_box_that_cannot_fit_keeps_the_allowed_aspect() -> None:
    boxes = many_boxes(AugmentSpec(32, scale=(1.0, 1.0), aspect=(0.75, 4 / 3)), 90, 300)
    assert set(zip(boxes.height.tolist(), boxes.width.tolist(), strict=True)) == {(90, 120)}


def test_the_whole_frame_is_only_resized_and_normalised() -> None:
    spec = AugmentSpec(32, scale=(1.0, 1.0), aspect=(1.0, 1.0), flip_probability=0.0)
    clip = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    expected = (clip.double() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    video = ClipAugment(spec, 0)([clip], [9])
    torch.testing.assert_close(video[0], expected.permute(3, 0, 1, 2).float(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_constant_image_stays_constant(interpolation: str) -> None:
    spec = AugmentSpec(32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation=interpolation)
    clips = [torch.full((2, *size, 3), 51, dtype=torch.uint8) for size in SIZES]
    video = ClipAugment(spec, 0)(clips, POSITIONS)
    torch.testing.assert_close(video, torch.full_like(video, 0.2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 0.3)},
        {"aspect": (2.0, 1.0)},
        {"flip_probability": 1.5},
        {"crop_pixels": 0},
        {"std": (1.0, 0.0, 1.0)},
        {"interpolation": "nearest"},
    ],
)
def test_wrong_specs_are_explained(wrong: dict) -> None:
    with pytest.raises(UserError):
        AugmentSpec(**{"crop_pixels": 32, **wrong})
