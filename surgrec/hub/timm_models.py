"""Encoders as models of timm: `import surgrec.hub.timm_models`, then `timm.create_model("surgrec_vit_base_mae", release=...)`.

In: a name of timm's registry and, for trained weights, a release. Out: a model with what timm's users expect of one: `forward_features`,
`forward_head`, `forward_intermediates`, `features_only`, `reset_classifier`, `pretrained_cfg`. It is its own file because importing it is
what registers the names: timm has no entry points that a package could announce its models by.

`surgrec_vit_SIZE_mae` and `surgrec_vit_SIZE_jepa` are those of `surgrec.models.sizes`, with the clips of the published recipes;
`surgrec_vit` is whatever the release holds. Models read videos (B, C, T, H, W). Where timm says "NCHW" the maps are (B, D, t, h, w),
channels first; "NLC" is (B, N, D).
"""

from __future__ import annotations

import surgrec.core.torchvision_guard  # noqa: F401  (before timm)

# isort: split
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from einops import rearrange
from timm.models import register_model
from timm.models._features import FeatureGetterNet, feature_take_indices
from torch import Tensor, nn

from surgrec.core.errors import UserError
from surgrec.data.preprocess import PreprocessSpec
from surgrec.hub.geometry import fit_clip
from surgrec.hub.load import load_release
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.hub.said import say
from surgrec.models.encoder import Encoder
from surgrec.models.sizes import SIZES

ANY = "surgrec_vit"  # the name of whatever a release holds
_FORMATS = ("NCHW", "NLC")
_POOLS = ("avg", "")
# What `Encoder` is given beside its size where there is no release
_FAMILIES: dict[str, dict[str, Any]] = {
    "mae": {"positions": "sincos", "qkv_bias": "qv", "init": "xavier"},
    "jepa": {"positions": "rope", "qkv_bias": "qkv", "init": "trunc_normal"},
}
_CLIPS = {
    "mae": ClipPreprocess(16, 0.16, PreprocessSpec(224, 224)),
    "jepa": ClipPreprocess(16, 0.25, PreprocessSpec(256, 256)),
}  # of configs/variant


class VideoTransformer(nn.Module):
    """An encoder with timm's interface, and a linear classifier over the mean of its tokens where `num_classes` is above 0.

    `global_pool`: "avg", the mean of all tokens, or "" for all of them. `preprocess` makes the video of frames; mean and standard deviation
    stand in `pretrained_cfg` too, where timm's own data pipeline looks for them.
    """

    def __init__(
        self, encoder: Encoder, preprocess: ClipPreprocess, *, num_classes: int = 0, global_pool: str = "avg"
    ) -> None:
        super().__init__()
        self.encoder, self.preprocess = encoder, preprocess
        self.num_features = self.head_hidden_size = self.embed_dim = encoder.width
        self.num_classes, self.global_pool, self.in_chans = num_classes, global_pool, encoder.channels
        self.feature_info = [
            {"module": f"encoder.blocks.{index}", "num_chs": encoder.width, "reduction": encoder.patch}
            for index in range(encoder.depth)
        ]
        self.head: nn.Module = nn.Identity()
        self.reset_classifier(num_classes, global_pool)

    def forward(self, x: Tensor) -> Tensor:
        """A normalised video (B, C, T, H, W) to (B, num_classes), or, without classes, to features: (B, D), or (B, N, D) unpooled."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens after the last norm (B, N, D), as `Encoder` gives them."""
        self._check(x)
        return self.encoder(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N, D) pooled, then classified unless `pre_logits`."""
        pooled = x.mean(dim=1) if self.global_pool == "avg" else x
        return pooled if pre_logits else self.head(pooled)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Outputs of the blocks `indices` (the last n of an int, all of None), and the tokens after the last norm (B, N, D) before them.

        `norm`: through the last norm each. `stop_early`: no block after the last wanted one is run, and the tokens are then its, normed.
        `output_fmt`: "NCHW" for maps (B, D, t, h, w), "NLC" for tokens (B, N, D). `intermediates_only`: the list alone.
        """
        if output_fmt not in _FORMATS:
            raise UserError(f"there is no output format {output_fmt!r}; choose {' or '.join(_FORMATS)}")
        self._check(x)
        blocks = self.encoder.blocks
        wanted, last = feature_take_indices(
            len(blocks), indices if indices is None or isinstance(indices, int) else list(indices)
        )
        tokens, rotary = self.encoder.embedded(x)
        found: dict[int, Tensor] = {}
        for index, block in enumerate(blocks[: last + 1] if stop_early else blocks):
            tokens = block(tokens, rotary)
            if index in wanted:
                found[index] = self.encoder.norm(tokens) if norm else tokens
        grid = self.encoder.grid_of(x)
        maps = [found[index] for index in sorted(set(wanted))]
        if output_fmt == "NCHW":
            maps = [
                rearrange(one, "b (t h w) d -> b d t h w", t=grid.t, h=grid.h, w=grid.w).contiguous() for one in maps
            ]
        return maps if intermediates_only else (self.encoder.norm(tokens), maps)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the blocks after the last of `indices`, and norm and classifier where asked; returns `indices` counted from the front."""
        blocks = self.encoder.blocks
        wanted, last = feature_take_indices(len(blocks), indices if isinstance(indices, int) else list(indices))
        self.encoder.blocks = blocks[: last + 1]
        if prune_norm:
            self.encoder.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return list(wanted)

    def get_classifier(self) -> nn.Module:
        """The linear layer, or an identity."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Another classifier, freshly drawn; none for 0 classes."""
        if global_pool is not None:
            if global_pool not in _POOLS:
                raise UserError(f"there is no global_pool {global_pool!r}; choose 'avg', or '' for all tokens")
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether the backward pass computes whole blocks again instead of keeping what is in them."""
        for block in self.encoder.blocks:
            block.activation_checkpointing = "full" if enable else "selective"  # type: ignore[assignment]

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimisers leave undecayed beside norms and biases."""
        return {"encoder.modality"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """How timm counts layers for a learning rate that falls with depth."""
        return {
            "stem": r"^encoder\.(?:embed|modality)",
            "blocks": [(r"^encoder\.blocks\.(\d+)", None), (r"^encoder\.norm", (99999,))],
        }

    def _check(self, x: Tensor) -> None:
        if x.ndim != 5:
            raise UserError(
                f"this model reads videos (B, {self.in_chans}, T, H, W), not {tuple(x.shape)}; give it clips, not images"
            )


def _create(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
    """What `timm.create_model(name, ...)` does; options beside those of `VideoTransformer`:

    `release`: a folder, hub name or whatever `surgrec.load_model` takes, and `revision`. `num_frames`, `img_size`, `positions`: another
    clip, see `fit_clip`. `features_only`, `out_indices`: timm's.
    """
    for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "pretrained_model_args"):
        options.pop(unused, None)
    release, revision = options.pop("release", None), options.pop("revision", None)
    clip = {key: options.pop(key, None) for key in ("num_frames", "img_size", "positions")}
    features_only, out_indices = options.pop("features_only", False), options.pop("out_indices", 3)
    encoder, preprocess = _drawn(name, clip) if release is None else _released(name, release, revision, clip)
    if release is None and pretrained:
        raise UserError(f"pretrained weights of {name} are those of a release; say which: release=FOLDER_OR_HUB_NAME")
    if (channels := options.pop("in_chans", encoder.channels)) != encoder.channels:
        raise UserError(f"{name} reads {encoder.channels} channels, not {channels}")
    if unknown := sorted(options.keys() - {"num_classes", "global_pool"}):
        raise UserError(f"{name} has no option {unknown[0]}; see `surgrec.hub.timm_models`")
    model = VideoTransformer(encoder, preprocess, **options)
    config = _data_config(name, preprocess, model.num_classes)
    made: Any = FeatureGetterNet(model, out_indices=out_indices) if features_only else model
    made.pretrained_cfg = made.default_cfg = config
    return made


def _released(
    name: str, release: str | Path, revision: str | None, clip: dict[str, Any]
) -> tuple[Encoder, ClipPreprocess]:
    loaded = load_release(release, revision=revision)
    if name not in (ANY, own := _name_of(loaded.encoder, loaded.config.get("objective"))):
        raise UserError(f"this release is a {own}, not a {name}; create it under its own name, or as {ANY}")
    fitted = fit_clip(
        loaded.encoder,
        loaded.preprocess,
        num_frames=clip["num_frames"],
        pixels=_pixels(clip["img_size"]),
        positions=clip["positions"],
    )
    say(fitted.said)
    return fitted.encoder.requires_grad_(True).train(), fitted.preprocess


def _name_of(encoder: Encoder, objective: Any) -> str:
    """The name that an encoder of a published size has, else `ANY`."""
    shape = {"width": encoder.width, "depth": encoder.depth, "num_heads": encoder.num_heads, "patch": encoder.patch}
    for size, numbers in SIZES.items():
        wanted = asdict(numbers)
        is_size = {key: wanted[key] for key in shape} == shape and abs(
            wanted["mlp_ratio"] - encoder.mlp_ratio
        ) < 1 / encoder.width
        if is_size and objective in _FAMILIES:
            return f"{ANY}_{size}_{objective}"
    return ANY


def _drawn(name: str, clip: dict[str, Any]) -> tuple[Encoder, ClipPreprocess]:
    """Weights as a run would draw them; positions are those of the clip, whatever it is."""
    if name == ANY:
        raise UserError(f"{ANY} is whatever a release holds; say which: release=FOLDER_OR_HUB_NAME, or name a size")
    size, family = name.removeprefix(f"{ANY}_").rsplit("_", 1)
    own = _CLIPS[family]
    pixels, num_frames = _pixels(clip["img_size"]) or own.pixels.crop_pixels, clip["num_frames"] or own.num_frames
    if clip["positions"] is not None:
        raise UserError("positions are asked for where a release is read at another clip; leave them out without one")
    shape = asdict(SIZES[size]) | _FAMILIES[family]
    encoder = Encoder(**shape, num_frames=num_frames, height_pixels=pixels, width_pixels=pixels)
    return encoder, replace(own, num_frames=num_frames, pixels=PreprocessSpec(pixels, pixels))


def _pixels(img_size: Any) -> int | None:
    if isinstance(img_size, Sequence):
        if len(set(img_size)) != 1:
            raise UserError(f"img_size {tuple(img_size)} is not square; give one number")
        return int(img_size[0])
    return None if img_size is None else int(img_size)


def _data_config(name: str, preprocess: ClipPreprocess, num_classes: int) -> dict[str, Any]:
    """What timm's `resolve_model_data_config` reads."""
    spec = preprocess.pixels
    return {
        "architecture": name,
        "input_size": (3, spec.crop_pixels, spec.crop_pixels),
        "fixed_input_size": True,
        "crop_pct": spec.crop_pixels / spec.short_side_pixels,
        "crop_mode": "center",
        "interpolation": spec.interpolation,
        "mean": spec.mean,
        "std": spec.std,
        "num_classes": num_classes,
        "first_conv": "encoder.embed.proj",
        "classifier": "head",
        "license": None,
    }


def _entry(name: str) -> Callable[..., nn.Module]:
    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        return _create(name, pretrained, **options)

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"`{name}`: see `surgrec.hub.timm_models`."
    return entry


NAMES = (ANY, *(f"{ANY}_{size}_{family}" for size in SIZES for family in _FAMILIES))
for _name in NAMES:
    globals()[_name] = register_model(_entry(_name))
