"""What the model sees, as pictures in the run folder.

In: a few clips of the run and the learner. Out: `previews/step_%08d_*.png`: MAE reconstructions, and the first three principal
components of the features as colours. It is its own file because a person looks at these before believing any number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from surgrec.core.atomic import atomic_path
from surgrec.core.grid import TokenGrid
from surgrec.core.spans import Span
from surgrec.data.augment import AugmentSpec
from surgrec.data.clips import ClipReader
from surgrec.masks.masks import MaskSet
from surgrec.models.encoder import Encoder
from surgrec.objectives.mae import MAE, patch_statistics
from surgrec.training.step import Step

NUM_CLIPS = 4
_GREY = 0.5
_GAP_PIXELS = 4


@torch.no_grad()
def draw_pictures(step: Step, reader: ClipReader, folder: Path, done: int, span: Span, repeats: int) -> list[Path]:
    """Write the pictures of the first clips of the phase `span` after `done` updates; all ranks call it, the first one writes. Returns
    the files.

    `repeats` samples show the same clip, of which one is drawn. A phase of fewer clips than are drawn shows all it has.
    """
    num_clips = min(NUM_CLIPS, span.num_steps * span.batch // repeats)
    positions = span.first_position + repeats * np.arange(num_clips)
    clips = [reader.read(int(at) // repeats) for at in positions]
    places = [clip.place for clip in clips]
    video = step.augment([clip.pixels for clip in clips], positions, step.runtime.device, places)
    encoder = step.objective.released_encoder
    pictures = {"features": feature_picture(step, video, encoder)}
    if isinstance(step.objective, MAE):
        masks = tuple(mask.to(video.device) for mask in step.masker.draw(positions))
        pictures["reconstruction"] = reconstruction_picture(step, step.objective, video, masks)
    if not step.runtime.is_first:
        return []
    return [save_picture(picture, folder / f"step_{done:08d}_{name}.png") for name, picture in pictures.items()]


def feature_picture(step: Step, video: Tensor, encoder: Encoder) -> npt.NDArray[np.float32]:
    """Two rows a clip: frames, and the principal components of the learner's tokens over the same frames."""
    grid = encoder.grid_of(video)
    everything = torch.arange(grid.num_tokens, device=video.device).expand(len(video), -1)
    mask = MaskSet(everything, everything[:, :1])  # the learner sees the whole clip; its one prediction is not used
    masks = tuple(mask for _ in step.masker.draw([0]))
    outcome = step.learner(video, masks, step.objective.targets(video, masks))
    colours = principal_colours(outcome.context[0].float(), grid)
    shown = np.linspace(0, grid.t - 1, min(4, grid.t)).round().astype(int)
    frames = to_pixels(video, step.augment.spec)[:, shown * encoder.tubelet]
    rows = []
    for clip, colour in zip(frames, colours[:, shown], strict=True):
        enlarged = colour.repeat(encoder.patch, axis=1).repeat(encoder.patch, axis=2)
        rows += [tile(clip), tile(enlarged)]
    return np.concatenate(rows, axis=0)


def principal_colours(tokens: Tensor, grid: TokenGrid) -> npt.NDArray[np.float32]:
    """First three principal components of tokens (B, N, D) over all clips, scaled to [0, 1]: (B, t, h, w, 3)."""
    flat = tokens.flatten(0, 1)
    flat = flat - flat.mean(0)
    _, _, axes = torch.linalg.svd(flat[:: max(1, len(flat) // 4096)], full_matrices=False)
    components = flat @ axes[:3].T
    low, high = components.quantile(0.02, dim=0), components.quantile(0.98, dim=0)
    colours = ((components - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return rearrange(colours, "(b t h w) c -> b t h w c", b=len(tokens), t=grid.t, h=grid.h, w=grid.w).cpu().numpy()


def reconstruction_picture(
    step: Step, objective: MAE, video: Tensor, masks: tuple[MaskSet, ...]
) -> npt.NDArray[np.float32]:
    """Three rows a clip: what is hidden (grey), the reconstruction, the original. Predictions get the mean and contrast of the true patch
    back where targets were normalised: that is the only reading of such a prediction, and it flatters it.
    """
    encoder, (mask,) = objective.released_encoder, masks
    outcome = step.learner(video, masks, objective.targets(video, masks))
    grid = encoder.grid_of(video)
    views = rebuilt_views(objective, video, mask, outcome.predictions[0])
    shown = np.linspace(0, grid.t - 1, min(4, grid.t)).round().astype(int) * encoder.tubelet
    rows = []
    for of_clip in zip(*(view[:, shown] for view in views), strict=True):
        rows += [tile(view) for view in of_clip]
    return np.concatenate(rows, axis=0)


def rebuilt_views(
    objective: MAE, video: Tensor, mask: MaskSet, predictions: Tensor
) -> tuple[npt.NDArray[np.float32], ...]:
    """Frames (B, T, H, W, 3) three times: with what is hidden in grey, with `predictions` (B, M, P) in its place, and as they are."""
    encoder, predicted = objective.released_encoder, predictions.float()
    if objective.normalise_targets:
        mean, std = patch_statistics(objective.patches(video, mask.target), video.shape[1])
        predicted = (predicted.unflatten(-1, (-1, video.shape[1])) * std + mean).flatten(-2)
    grid = encoder.grid_of(video)
    everything = torch.arange(grid.num_tokens, device=video.device).expand(len(video), -1)
    original = objective.patches(video, everything)
    spread = mask.target[..., None].expand(-1, -1, original.shape[-1])
    hidden = original.scatter(1, spread, torch.full_like(predicted, _GREY))
    rebuilt = original.scatter(1, spread, predicted)
    return tuple(unpatchify(patches, grid, encoder) for patches in (hidden, rebuilt, original))


def unpatchify(patches: Tensor, grid: TokenGrid, encoder: Encoder) -> npt.NDArray[np.float32]:
    """Patches (B, N, P), P ordered (t p p c), to frames (B, T, H, W, 3)."""
    frames = rearrange(
        patches, "b (t h w) (dt dh dw c) -> b (t dt) (h dh) (w dw) c",
        t=grid.t, h=grid.h, w=grid.w, dt=encoder.tubelet, dh=encoder.patch, dw=encoder.patch,
    )  # fmt: skip
    return frames.cpu().numpy()


def to_pixels(video: Tensor, spec: AugmentSpec) -> npt.NDArray[np.float32]:
    """Normalised video (B, C, T, H, W) back to frames (B, T, H, W, 3) in [0, 1]."""
    mean, std = (video.new_tensor(value).view(1, -1, 1, 1, 1) for value in (spec.mean, spec.std))
    return rearrange(video * std + mean, "b c t h w -> b t h w c").cpu().numpy()


def tile(frames: Sequence[npt.NDArray[np.float32]] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Frames (n, H, W, 3) side by side with a white gap, and one below: (H + gap, ..., 3)."""
    padded = [np.pad(frame, ((0, _GAP_PIXELS), (0, _GAP_PIXELS), (0, 0)), constant_values=1.0) for frame in frames]
    return np.concatenate(padded, axis=1)


def save_picture(picture: npt.NDArray[np.float32], file: Path) -> Path:
    """Write values in [0, 1] as PNG, whole or not at all."""
    with atomic_path(file) as temporary:
        Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8)).save(temporary)
    return file
