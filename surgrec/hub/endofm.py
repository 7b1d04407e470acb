"""Endo-FM: a TimeSformer pretrained on endoscopy (Wang et al. 2023, arXiv 2306.16741).

In: a checkpoint in the authors' layout. Out: an encoder over transformers' `TimesformerModel`, or the start of a run. It is its own file
because the model is neither of ours nor of timm's: space and time attend one after the other (Bertasius et al. 2021, arXiv 2102.05095),
and transformers has it under Apache-2.0 (extra `parity`).

The checkpoint holds the teacher of a self-distillation, `teacher`, its names after `backbone.`, and the projection head, which is dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.hub.image_start import BlockSizes, Pixels, fill_from_blocks, said_of_pixels, said_of_the_rest
from surgrec.hub.keys import ForeignWeightsError, KeyReport, Layout, Rule, read_weights
from surgrec.hub.nested import find_weights, without_prefix
from surgrec.hub.pretrained import STEM, Source, count_of, heads_of, shape_at
from surgrec.models.embed import grid_of_video
from surgrec.models.encoder import Encoder
from surgrec.models.errors import ModelError

FAMILY = "endofm"
OPTIONS = ("heads",)
# utils/defaults.py of the authors' repository (MIT): pixels in [0, 1]
MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
_PUBLISHED_HEADS = {(768, 12): 12}
_NORM_EPS = 1e-6
HEAD_DROPS = (
    (
        r"(?:module\.)?head\.(?:mlp\.\d+\.(?:weight|bias)|last_layer\.weight(?:_g|_v)?)",
        "of the projection head, only for pretraining",
    ),
)
TIME_DROPS = (
    ("time_embed", "positions in time, the run has its own"),
    (
        r"blocks\.\d+\.temporal_(?:norm1|attn\.qkv|attn\.proj|fc)\.(?:weight|bias)",
        "of attention over time alone, which the run's attention over both replaces",
    ),
)

_LAYER = r"encoder\.layer\.(\d+)"
_PARTS = {
    r"temporal_layernorm": "temporal_norm1",
    r"temporal_attention\.attention\.qkv": "temporal_attn.qkv",
    r"temporal_attention\.output\.dense": "temporal_attn.proj",
    r"temporal_dense": "temporal_fc",
    r"layernorm_before": "norm1",
    r"attention\.attention\.qkv": "attn.qkv",
    r"attention\.output\.dense": "attn.proj",
    r"layernorm_after": "norm2",
    r"intermediate\.dense": "mlp.fc1",
    r"output\.dense": "mlp.fc2",
}
_LAYOUT = Layout(
    (
        Rule(r"embeddings\.cls_token", ("cls_token",)),
        Rule(r"embeddings\.position_embeddings", ("pos_embed",)),
        Rule(r"embeddings\.time_embeddings", ("time_embed",)),
        Rule(r"embeddings\.patch_embeddings\.projection\.(\w+)", (r"patch_embed.proj.\1",)),
        *(Rule(rf"{_LAYER}\.{ours}\.(\w+)", (rf"blocks.\1.{theirs}.\2",)) for ours, theirs in _PARTS.items()),
        Rule(r"layernorm\.(\w+)", (r"norm.\1",)),
    )
)


class TimesformerEncoder(nn.Module):
    """transformers' `TimesformerModel` with the calling seam of `Encoder`; one time step a frame, clips of the trained size only.

    `model` attends over exactly `num_frames` frames of `height_pixels` x `width_pixels`: its layers in transformers take both from
    the configuration, so other clips are refused.
    """

    tubelet = 1

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        config: Any = model.config
        self.width, self.depth, self.num_heads = (
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
        )
        self.num_frames, self.patch, self.channels = config.num_frames, config.patch_size, config.num_channels
        self.height_pixels = self.width_pixels = config.image_size
        self.mlp_ratio = config.intermediate_size / config.hidden_size
        self.model = model

    @property
    def architecture(self) -> dict[str, Any]:
        """What builds `TimesformerConfig` again, under our names."""
        names = [
            "width",
            "depth",
            "num_heads",
            "mlp_ratio",
            "num_frames",
            "height_pixels",
            "width_pixels",
            "patch",
            "channels",
        ]
        return {"kind": "timesformer"} | {name: getattr(self, name) for name in names}

    def grid_of(self, video: Tensor) -> TokenGrid:
        """The token grid of a video (B, C, T, H, W), one time step a frame. Raises `GeometryError` where the patch does not divide it."""
        return grid_of_video(video, self.tubelet, self.patch)

    def forward(self, video: Tensor) -> Tensor:
        """Encode a normalised float video (B, C, T, H, W): patch tokens (B, N, D) after the last norm, in the order of `TokenGrid`."""
        return self.with_class_token(video)[0]

    def with_class_token(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens (B, N, D), and the class token of the clip (B, D). Raises `ModelError` for a video of another size."""
        self._check(video)
        grid = self.grid_of(video)
        frames = rearrange(video, "b c t h w -> b t c h w")
        states = self.model(pixel_values=frames).last_hidden_state
        # TimeSformer orders by place, then time
        tokens = rearrange(states[:, 1:], "b (h w t) d -> b (t h w) d", t=grid.t, h=grid.h, w=grid.w)
        return tokens, states[:, 0]

    def _check(self, video: Tensor) -> None:
        wanted = (self.channels, self.num_frames, self.height_pixels, self.width_pixels)
        if video.ndim != 5 or tuple(video.shape[1:]) != wanted or not video.is_floating_point():
            raise ModelError(
                f"this TimeSformer reads float videos (B, {', '.join(map(str, wanted))}), not {video.dtype} {tuple(video.shape)}; "
                "choose frames and size to match"
            )


@dataclass(frozen=True)
class EndoFM:
    """Endo-FM in memory: what its pixels are normalised with, `mean` and `std` of values in [0, 1], and where every key went."""

    encoder: TimesformerEncoder
    mean: tuple[float, ...]
    std: tuple[float, ...]
    report: KeyReport


def load_endofm(source: str) -> EndoFM:
    """The encoder of a checkpoint `PATH`, or `PATH@heads:N` where it has not the published size; in evaluation mode, without gradients.

    Raises `ForeignWeightsError` for what cannot be read, naming the keys, and where transformers is not installed.
    """
    path, num_heads, weights, prefix = _opened(source)
    bare = without_prefix(weights, prefix)
    shape = _shape(bare, num_heads, path)
    transformers = _import_transformers()
    config = transformers.TimesformerConfig(**shape, layer_norm_eps=_NORM_EPS)
    with torch.device("meta"):  # no memory before every weight is known to be in the file
        wanted = transformers.TimesformerModel(config).state_dict()
    layout = Layout(_LAYOUT.under(prefix).rules, HEAD_DROPS)
    state, report = read_weights(wanted, weights, layout, family=FAMILY, part="encoder", where=str(path))
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and overwritten
        model = transformers.TimesformerModel(config)
    model.load_state_dict(state, strict=True)
    encoder = TimesformerEncoder(model).eval().requires_grad_(False)
    return EndoFM(encoder, MEAN, STD, report)


def start_from_endofm(encoder: Encoder, source: str, pixels: Pixels) -> tuple[str, ...]:
    """Give `encoder` the spatial half of Endo-FM: patch embedding, spatial attention, MLPs, last norm, as those of an image model.

    Attention over time is a listed drop, for the run's encoder attends to space and time at once; so are class token and positions. What
    comes out is a start, not Endo-FM. `pixels` is what the run's videos are normalised with. Returns what was done, a sentence each.
    Raises `ForeignWeightsError` where it does not fit.
    """
    path, num_heads, weights, prefix = _opened(source)
    shape = _shape(without_prefix(weights, prefix), num_heads, path)
    sizes = BlockSizes(
        width=shape["hidden_size"],
        depth=shape["num_hidden_layers"],
        num_heads=shape["num_attention_heads"],
        hidden_width=shape["intermediate_size"],
        patch=shape["patch_size"],
        channels=shape["num_channels"],
        norm_eps=_NORM_EPS,
    )
    drops = tuple((re.escape(prefix) + pattern, reason) for pattern, reason in TIME_DROPS)
    report = fill_from_blocks(
        encoder, weights, sizes, family=FAMILY, where=str(path), prefix=prefix, drops=drops + HEAD_DROPS
    )
    return (report.text(), *said_of_the_rest(encoder, FAMILY), said_of_pixels(Pixels(MEAN, STD), pixels, FAMILY))


def _opened(source: str) -> tuple[Path, int | None, dict[str, Tensor], str]:
    given = Source.parse(source, OPTIONS)
    return given.path, given.number("heads"), *find_weights(given.path)


def _shape(bare: Mapping[str, Tensor], num_heads: int | None, path: Path) -> dict[str, Any]:
    """The arguments of `TimesformerConfig`, from the shapes of weights. Raises `ForeignWeightsError` naming what is not there."""
    axes = {
        STEM: 4,
        "pos_embed": 3,
        "time_embed": 3,
        "blocks.0.mlp.fc1.weight": 2,
        "blocks.0.temporal_attn.qkv.weight": 2,
    }
    if absent := [key for key in axes if not isinstance(bare.get(key), Tensor)]:
        raise ForeignWeightsError(f"{path} is no TimeSformer: it lacks {', '.join(absent)}; check the family {FAMILY}")
    shapes = {key: shape_at(bare, key, ndim, str(path)) for key, ndim in axes.items()}
    width, channels, patch, _ = shapes[STEM]
    depth = count_of(bare, "blocks")
    num_heads = heads_of(_PUBLISHED_HEADS, width, depth, num_heads, str(path))
    side = math.isqrt(shapes["pos_embed"][1] - 1)
    if not side or side * side + 1 != shapes["pos_embed"][1]:
        raise ForeignWeightsError(
            f"{path} has pos_embed of shape {shapes['pos_embed']}, which is no class token and a square of patches; check the file"
        )
    return {
        "image_size": side * patch,
        "patch_size": patch,
        "num_channels": channels,
        "num_frames": shapes["time_embed"][1],
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": num_heads,
        "intermediate_size": shapes["blocks.0.mlp.fc1.weight"][0],
    }


def _import_transformers() -> Any:
    import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)

    try:
        import transformers
    except ImportError:
        raise ForeignWeightsError(
            f"the family {FAMILY} is read with the package transformers: pip install 'surgrec[parity]'"
        ) from None
    return transformers
