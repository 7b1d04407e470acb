"""Laws of augmentation: addressed by position, one transform a clip, the published distribution, closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from surgrec.core import torchvision_guard
from surgrec.core.errors import UserError
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.data.clips import Place
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


# Pixels that are a part of the frames


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_rectangle_that_holds_all_boxes_is_enough(repeats: int) -> None:
    augment = ClipAugment(AugmentSpec(16, scale=(0.1, 0.4)), seed=3)
    for clip, position in zip(random_clips(), POSITIONS, strict=True):
        samples = position * repeats + np.arange(repeats)
        height, width = clip.shape[1:3]
        top, left, part_height, part_width = augment.bounding(samples, height, width)
        part = clip[:, top : top + part_height, left : left + part_width]
        places = [Place(height, width, top, left)] * repeats
        assert torch.equal(augment([part] * repeats, samples, places=places), augment([clip] * repeats, samples))
        boxes = augment.boxes(samples, [height] * repeats, [width] * repeats)
        if repeats == 1:
            assert (part_height, part_width) == (boxes.height[0], boxes.width[0]), "and no more than needed"


def test_pixels_without_the_box_are_refused() -> None:
    clip = random_clips()[0]
    with pytest.raises(ValueError, match="position 4 is not among the pixels"):
        ClipAugment(SPEC, 0)([clip[:, :8, :8]], [4], places=[Place(48, 64, 0, 0)])


# Against others


def boxed(augment: ClipAugment, clip: torch.Tensor, position: int) -> tuple[int, int, int, int, bool]:
    boxes = augment.boxes([position], [clip.shape[1]], [clip.shape[2]])
    return int(boxes.top[0]), int(boxes.left[0]), int(boxes.height[0]), int(boxes.width[0]), bool(boxes.is_flipped[0])


PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # the video is in levels, 0 to 255


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pillow_makes_the_same_picture_but_for_its_rounding(interpolation: str) -> None:
    augment = ClipAugment(AugmentSpec(24, interpolation=interpolation, **PLAIN), 0)  # type: ignore[arg-type]
    for clip, position in zip(random_clips(), POSITIONS, strict=True):
        clip = clip // 2 + 64
        top, left, height, width, is_flipped = boxed(augment, clip, position)
        picture = Image.fromarray(clip[0].numpy()).crop((left, top, left + width, top + height))
        theirs = np.asarray(picture.resize((24, 24), getattr(Image.Resampling, interpolation.upper()))).astype(
            np.float32
        )
        theirs = theirs[:, ::-1] if is_flipped else theirs
        ours = augment([clip], [position])[0, :, 0].permute(1, 2, 0).numpy()
        assert np.abs(ours - theirs).max() < 1.3  # it rounds to whole levels after each of its two passes


def test_torchvision_makes_the_same_video() -> None:
    torchvision_guard.ensure_torchvision()
    from torchvision.transforms.v2.functional import resized_crop

    augment = ClipAugment(AugmentSpec(24, **PLAIN), 0)  # type: ignore[arg-type]
    for clip, position in zip(random_clips(), POSITIONS, strict=True):
        top, left, height, width, is_flipped = boxed(augment, clip, position)
        theirs = resized_crop(clip.permute(0, 3, 1, 2).float(), top, left, height, width, [24, 24], antialias=True)
        theirs = theirs.flip(-1) if is_flipped else theirs
        torch.testing.assert_close(augment([clip], [position])[0], theirs.permute(1, 0, 2, 3), atol=1e-3, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_gpu_makes_the_same_video(interpolation: str) -> None:
    augment = ClipAugment(AugmentSpec(24, interpolation=interpolation), 0)
    here, there = (augment(random_clips(), POSITIONS, device) for device in ("cpu", "cuda"))
    torch.testing.assert_close(here, there.cpu(), atol=1e-4, rtol=0)
