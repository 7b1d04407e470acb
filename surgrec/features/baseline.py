"""Whose features: a release of ours, or a baseline of timm or transformers in its place.

In: what `--model` says. Out: an encoder with the preprocessing that goes with it. It is its own file because a baseline must go through
the same windows, batches and stores as a release, so that what is compared is the encoder alone.

    releases/first-look, NAME                a release: a folder, or its name on the Hugging Face hub
    timm:vit_small_patch14_dinov2.lvd142m    weights that timm fetches;  timm:FOLDER  a folder in timm's layout (`save_for_hf`)
    transformers:MCG-NJU/videomae-base       a model of the hub;         transformers:FOLDER  a folder of `save_pretrained`
    videomae:FILE, dinov2:FILE, ...          a file of weights as its authors published it, see `surgrec.features.foreign`
    random:MODEL                             ours or of a video family, with first weights instead;  random:MODEL@seed:1  others
    trivial:histogram                        no network: the colours of every frame

Image models see every frame by itself. Only safetensors are read, and no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor, nn

from surgrec.core.errors import UserError
from surgrec.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec
from surgrec.features.architecture import architecture_of, libraries_of
from surgrec.features.layers import autocast
from surgrec.hub.load import load_release, usable_device
from surgrec.hub.preprocess import ClipPreprocess

NUM_FRAMES, INTERVAL_SECONDS = 16, 0.16  # the clip of an image model where none is asked for: that of the variant `mae`
_VIDEO_INPUTS = {"videomae": "pixel_values", "vivit": "pixel_values", "vjepa2": "pixel_values_videos"}
_INTERVALS = {
    "videomae": 0.16,
    "vjepa2": 0.25,
}  # 4 frames at 25 fps (Tong et al. 2022); 4 a second (Assran et al. 2025)


@dataclass(frozen=True)
class FrozenModel:
    """An encoder, what it expects to see (its own clip: frames, seconds, pixels, normalisation), its name for people, and the digest of
    its weights, which decides. `said`: where every weight of the file went, a sentence each.
    """

    encoder: nn.Module
    preprocess: ClipPreprocess
    name: str
    sha256: str
    said: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides its features, in plain values."""
        return {
            "weights": self.sha256,
            "architecture": architecture_of(self.encoder),
            "libraries": libraries_of(self.encoder),
            "preprocessing": self.preprocess.to_dict(),
        }

    @torch.no_grad()
    def tokens(self, clips: Sequence[npt.NDArray[np.uint8]], precision: str = "float32") -> Tensor:
        """Tokens (B, N, D), float32, of clips uint8 (T, H, W, 3), T as the model's own clip has, through its own forward pass."""
        videos = [self.preprocess(clip) for clip in clips]
        if any(video.shape[2] != self.preprocess.num_frames for video in videos):
            raise ValueError(f"{self.name} reads clips of {self.preprocess.num_frames} frames")
        with autocast(precision, self.preprocess.device):
            tokens: Tensor = self.encoder(torch.cat(videos))
        return tokens.float()


def load_any(
    model: str, device: str, num_frames: int | None = None, frame_interval_seconds: float | None = None
) -> FrozenModel:
    """The model that `model` names, on `device`, in evaluation mode. Raises `UserError` for one that cannot be had.

    `num_frames`, `frame_interval_seconds`: the clip, for a baseline that leaves it open.
    """
    kind, _, name = model.partition(":")
    if num_frames is not None and num_frames < 1:
        raise UserError(f"--frames is {num_frames}; give 1 or more")
    if frame_interval_seconds is not None and not 0 < frame_interval_seconds < math.inf:
        raise UserError(f"--interval-seconds is {frame_interval_seconds}; give seconds above 0")
    usable_device(device)
    if kind == "timm" and name:
        return _timm(name, device, num_frames, frame_interval_seconds)
    if kind == "transformers" and name:
        return _transformers(name, device, num_frames, frame_interval_seconds)
    if name:
        from surgrec.features import foreign  # which needs what is defined here

        if kind in foreign.KINDS:
            return foreign.load_foreign(kind, name, device, num_frames, frame_interval_seconds)
    if num_frames is not None or frame_interval_seconds is not None:
        raise UserError("a release says what clip it was trained on; --frames and --interval-seconds are for baselines")
    loaded = load_release(model, device)
    said = f"surgrec {loaded.config.get('variant', '')} step {loaded.config.get('step', '')}"
    weights = f"surgrec: all {len(loaded.encoder.state_dict())} weights of the encoder filled"
    return FrozenModel(loaded.encoder, loaded.preprocess, said, loaded.sha256, (weights,))


class BaselineEncoder(nn.Module):
    """A model of another library with the calling seam of `Encoder`: tokens (B, N, D) of a video (B, C, T, H, W), time step by time step.

    A model with an argument for video (`video_input`) gets (B, T, C, H, W); any other sees the frames one by one. `clip`: frames, and
    pixels of a side. `clip_tokens`: the time steps of such a clip, and the tokens of each. Raises `UserError` for a model whose output
    is neither tokens nor a map of features.
    """

    def __init__(self, model: nn.Module, clip: tuple[int, int], device: str, video_input: str | None = None) -> None:
        super().__init__()
        self.model, self._video_input = model.to(device).eval().requires_grad_(False), video_input
        num_frames, size = clip
        self.tubelet = 1 if video_input is None else _pair(model.config, "tubelet_size", 1)[0]
        if num_frames % self.tubelet:
            raise UserError(
                f"a token of this model is {self.tubelet} frames deep; give a multiple as --frames, not {num_frames}"
            )
        raw = self._tried(torch.zeros(1, 3, num_frames, size, size, device=device))
        self.width = int(raw.shape[2])
        num_steps = num_frames // self.tubelet
        length = int(raw.shape[1]) if video_input is not None else int(raw.shape[1]) * num_steps
        self.num_prefix_tokens = _num_prefix_tokens(
            model, int(raw.shape[1]), 1 if video_input is None else num_steps, size
        )
        rows = 1 if video_input is not None else num_steps
        self.clip_tokens = num_steps, (length - rows * self.num_prefix_tokens) // num_steps

    def forward(self, video: Tensor) -> Tensor:
        """Tokens (B, N, D), without class tokens and registers."""
        tokens = self._raw(video)[:, self.num_prefix_tokens :]
        return tokens.reshape(video.shape[0], -1, tokens.shape[-1])

    @torch.inference_mode()
    def _tried(self, video: Tensor) -> Tensor:
        """What becomes of a first clip; a model may want something else than pixels, or pixels in another form."""
        try:
            return self._raw(video)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"the model gives no features of {video.shape[2]} frames of {video.shape[3]} x {video.shape[4]} pixels "
                f"({_line(error)}); choose another"
            ) from None

    def _raw(self, video: Tensor) -> Tensor:
        """(B, R + N, D), or (B T, R + cells, D) of a model of images."""
        model: Any = self.model
        if self._video_input is not None:
            more = {"skip_predictor": True} if self._video_input == "pixel_values_videos" else {}
            output = model(**{self._video_input: rearrange(video, "b c t h w -> b t c h w")}, **more)
            return _as_rows(output.last_hidden_state)
        images = rearrange(video, "b c t h w -> (b t) c h w")
        if hasattr(model, "forward_features"):
            return _as_rows(model.forward_features(images), getattr(model, "num_features", None))
        return _as_rows(model(pixel_values=images).last_hidden_state)


def _as_rows(output: Any, width: int | None = None) -> Tensor:
    """(B, cells, D) of a map (B, D, H, W), or (B, H, W, D) where only its last axis has `width`; tokens as they are."""
    if isinstance(output, Tensor) and output.ndim == 4:
        is_last = width is not None and output.shape[1] != width and output.shape[3] == width
        return output.flatten(1, 2) if is_last else output.flatten(2).transpose(1, 2)
    if isinstance(output, Tensor) and output.ndim == 3:
        return output
    raise UserError("the model puts out neither tokens nor a map of features; choose another")


def _num_prefix_tokens(model: nn.Module, length: int, num_steps: int, size: int) -> int:
    """How many of `length` tokens come before those of the grid of patches: class tokens and registers."""
    named = getattr(model, "num_prefix_tokens", None)  # of timm
    if isinstance(named, int):
        return named
    config = getattr(model, "config", None)
    # of ViViT the size of a patch is part of that of a tubelet: frames, rows, columns
    name = next((each for each in ("patch_size", "tubelet_size") if getattr(config, each, None) is not None), None)
    if name is None:
        return 0  # a map of features
    height, width = _pair(config, name, 1)[-2:]
    prefix = length - num_steps * (size // height) * (size // width)
    if prefix < 0:
        raise UserError(f"the model puts out {length} tokens, fewer than its patches of {size} pixels; choose another")
    return prefix


def _pair(config: Any, name: str, default: int) -> tuple[int, ...]:
    """A size that configurations give as one number or as several."""
    size = getattr(config, name, default)
    return tuple(int(each) for each in size) if isinstance(size, list | tuple) else (int(size), int(size))


# -- libraries


def _timm(name: str, device: str, num_frames: int | None, interval: float | None) -> FrozenModel:
    import surgrec.core.torchvision_guard  # noqa: F401, I001  (before timm)
    import timm
    from timm.data import resolve_model_data_config

    is_folder = Path(name).is_dir()
    try:
        # with the classifier of the file, for timm is strict about its keys only then
        model: Any = timm.create_model(f"local-dir:{name}" if is_folder else name, pretrained=True)
    except Exception as error:
        raise _refused("timm", name, error) from None
    num_keys = len(model.state_dict())
    model.reset_classifier(0)
    num_used = len(model.state_dict())
    said_of = (f"timm: all {num_keys} weights filled; {num_keys - num_used} of the classifier dropped",)
    facts: Mapping[str, Any] = resolve_model_data_config(model)
    crop = int(facts["input_size"][-1])
    pixels = _pixels(
        math.floor(crop / float(facts["crop_pct"])), crop, facts["mean"], facts["std"], str(facts["interpolation"])
    )
    clip = num_frames or NUM_FRAMES
    encoder = BaselineEncoder(model, (clip, crop), device)
    preprocess = ClipPreprocess(clip, interval or INTERVAL_SECONDS, pixels, device)
    said = str(model.pretrained_cfg.get("architecture", "model")) if is_folder else name
    return FrozenModel(encoder, preprocess, f"timm {said}", weights_sha256(model), said_of)


def _transformers(name: str, device: str, num_frames: int | None, interval: float | None) -> FrozenModel:
    import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)

    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise UserError("a model of transformers needs that package: pip install 'surgrec[parity]'") from None
    try:
        model, loading = AutoModel.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:
        raise _refused("transformers", name, error) from None
    try:
        seen = AutoImageProcessor.from_pretrained(name, trust_remote_code=False).to_dict()
    except (OSError, ValueError, ImportError):
        seen = {}
    keys = _accounted(name, loading, len(model.state_dict()))
    _settle(model, loading)
    config = model.config
    _refuse_other_scale(name, seen)
    crop = _crop(name, seen, config)
    short = _short_side(seen, crop)
    interpolation = {3: "bicubic"}.get(seen.get("resample", 2), "bilinear")
    mean, std = seen.get("image_mean") or IMAGENET_MEAN, seen.get("image_std") or IMAGENET_STD
    if seen.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    pixels = _pixels(short, crop, mean, std, interpolation)
    video_input = _VIDEO_INPUTS.get(config.model_type)
    own = getattr(config, "num_frames", getattr(config, "frames_per_clip", None)) if video_input else None
    if own and num_frames not in (None, own) and config.model_type != "vjepa2":
        raise UserError(f"transformers:{name} reads clips of {own} frames; leave --frames out")
    clip = num_frames or own or NUM_FRAMES
    encoder = BaselineEncoder(model, (clip, crop), device, video_input)
    seconds = interval or _INTERVALS.get(config.model_type, INTERVAL_SECONDS)
    said = config.model_type if Path(name).is_dir() else name
    return FrozenModel(
        encoder, ClipPreprocess(clip, seconds, pixels, device), f"transformers {said}", weights_sha256(model), keys
    )


def _crop(name: str, seen: Mapping[str, Any], config: Any) -> int:
    """Pixels of a side: what the model's processor cuts out, else what the model was built for, which may be more (DINOv2: 224, 518)."""
    size = seen.get("crop_size") if seen.get("do_center_crop") else None
    if size is None:
        size = getattr(config, "image_size", None) or getattr(config, "crop_size", None) or 224
    sides = set(size.values()) if isinstance(size, Mapping) else set(size) if isinstance(size, list | tuple) else {size}
    if len(sides) != 1:
        raise UserError(f"transformers:{name} reads frames of {size} pixels, which are not square; choose another")
    return int(sides.pop())


def _refuse_other_scale(name: str, seen: Mapping[str, Any]) -> None:
    """A processor that brings pixels into another range than 0 to 1 before it normalises would be followed wrongly."""
    scale = float(seen.get("rescale_factor") or 1 / 255)
    if seen.get("do_rescale") is False or seen.get("offset") or abs(255 * scale - 1) > 1e-3:
        raise UserError(
            f"transformers:{name} scales pixels by {scale:g}{' with an offset' if seen.get('offset') else ''}, and only a range of 0 to 1 "
            "is known here; choose another"
        )


def _accounted(name: str, loading: Mapping[str, Any], num_weights: int) -> tuple[str, ...]:
    """Where the keys of the file went. Raises `UserError` where a weight of the model was not in it: it would have been drawn at random."""
    keys = [str(key) for kind in ("missing_keys", "mismatched_keys") for key in loading.get(kind) or ()]
    lacking = [key for key in keys if not key.startswith("pooler.")]  # which comes after the tokens, and is not used
    if lacking:
        raise UserError(
            f"transformers fills {len(lacking)} weights of {name!r} with chance, the files lack them ({', '.join(sorted(lacking)[:3])}); "
            "choose a checkpoint of the encoder"
        )
    dropped = sorted(str(key) for key in loading.get("unexpected_keys") or ())
    of = sorted({key.split(".")[0] for key in dropped})
    line = f"transformers: all {num_weights - len(keys)} weights filled; {len(dropped)} keys of other parts dropped"
    return (f"{line} ({', '.join(of)})" if of else line,)


def _settle(model: Any, loading: Mapping[str, Any]) -> None:
    """What is not on the way to the tokens must not make two loads of one file differ, nor count as part of the encoder: a pooler that the
    file lacks, which transformers draws at random, is set to 0, and V-JEPA 2's predictor is let go.
    """
    state = model.state_dict()
    for key in (str(key) for kind in ("missing_keys", "mismatched_keys") for key in loading.get(kind) or ()):
        if key in state:
            state[key].zero_()
    if model.config.model_type == "vjepa2":
        model.predictor = None


def _short_side(seen: Mapping[str, Any], crop: int) -> int:
    size = seen.get("size")
    if isinstance(size, Mapping):
        size = size.get("shortest_edge", size.get("height"))
    return max(int(size), crop) if size else crop


def _pixels(short: int, crop: int, mean: Any, std: Any, interpolation: str) -> PreprocessSpec:
    red, green, blue = (float(value) for value in mean)
    by_channel = tuple(float(value) for value in std)
    chosen = "bicubic" if interpolation == "bicubic" else "bilinear"
    return PreprocessSpec(max(short, crop), crop, (red, green, blue), by_channel, chosen)  # type: ignore[arg-type]


def _refused(library: str, name: str, error: Exception) -> UserError:
    return UserError(
        f"{library} gives no model {name!r} ({_line(error)}); check the name or the folder, and the connection"
    )


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def weights_sha256(model: nn.Module) -> str:
    """Digest of a model's weights and buffers: their names, types, shapes and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy() if math.prod(plain.shape) else b"")
    return digest.hexdigest()
