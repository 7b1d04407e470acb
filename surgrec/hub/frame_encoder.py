"""An image encoder that reads a video frame by frame: DINOv2, DINOv3 and other vision transformers of timm.

In: a video (B, C, T, H, W). Out: tokens (B, N, D) in the order of `TokenGrid`, with as many time steps as frames. It is its own file
because such a model has no notion of time and keeps all that is its own: learned or rotary positions of the image, registers,
LayerScale, norms. timm computes every frame; this file only folds time into the batch, and says which sizes may be read.

timm takes seconds to import. Who holds a model has paid for that already, so nothing of it is imported here at the top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from einops import parse_shape, rearrange
from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.models.embed import grid_of_video
from surgrec.models.errors import ModelError

ImagePositions = Literal["own", "interpolate"]


class FrameEncoder(nn.Module):
    """A timm vision transformer (class `VisionTransformer` or `Eva`), applied to every frame by itself.

    `model` is the timm model; `name` and `arguments` are what `timm.create_model` built it from, kept for `architecture`.
    `positions="own"` reads frames of the trained size, or of any size where the model has only rotary positions, which fit any grid.
    `positions="interpolate"` resamples a learned table to other sizes (bicubic, antialiased: timm's way, close to DINOv2's own);
    the model must have been built with `dynamic_img_size=True`.

    `num_frames` is 1: what the model was trained on. `height_pixels`, `width_pixels`: the trained size, as far as timm or the file
    tells it. Raises `ModelError` for a model that is no vision transformer, and for positions that it cannot have.
    """

    tubelet = 1
    num_frames = 1

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        positions: ImagePositions = "own",
    ) -> None:
        super().__init__()
        if positions not in get_args(ImagePositions):
            raise ModelError(
                f"there are no image positions {positions!r}; choose {', '.join(get_args(ImagePositions))}"
            )
        if not all(hasattr(model, part) for part in ("patch_embed", "blocks", "num_prefix_tokens", "forward_features")):
            raise ModelError(f"{name} is no vision transformer of timm; choose a vit_* model")
        self.name, self.arguments, self.positions = name, dict(arguments or {}), positions
        theirs: Any = model  # torch types attributes of a module as tensors or modules
        self.width, self.depth, self.channels = (
            theirs.embed_dim,
            len(theirs.blocks),
            theirs.patch_embed.proj.in_channels,
        )
        self.patch = _only(theirs.patch_embed.patch_size, name)
        self.height_pixels, self.width_pixels = theirs.patch_embed.img_size
        self.num_prefix_tokens: int = theirs.num_prefix_tokens
        self.has_learned_positions = theirs.pos_embed is not None
        self.fits_any_size = bool(theirs.dynamic_img_size)
        if positions == "interpolate" and self.has_learned_positions and not self.fits_any_size:
            raise ModelError(f"{name} was built for one size; build it with dynamic_img_size=True to interpolate")
        self.model = model

    @property
    def architecture(self) -> dict[str, Any]:
        """What `timm.create_model` was given, and the positions: with the weights, enough to build this encoder again."""
        return {"kind": "frames", "timm": self.name, "arguments": self.arguments, "positions": self.positions}

    def grid_of(self, video: Tensor) -> TokenGrid:
        """The token grid of a video (B, C, T, H, W), one time step a frame. Raises `GeometryError` where the patch does not divide it."""
        return grid_of_video(video, self.tubelet, self.patch)

    def forward(self, video: Tensor) -> Tensor:
        """Encode a normalised float video (B, C, T, H, W): patch tokens (B, N, D) after the model's last norm, without prefix tokens."""
        return self.with_prefix(video)[0]

    def with_prefix(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens (B, N, D), and the prefix tokens of every frame (B, T, R, D): the class token, then registers, where it has them.

        Both are what `forward_features` of timm gives for each frame. Raises `ModelError` for a video that the model cannot read.
        """
        self._check(video)
        size = parse_shape(video, "b _ t _ _")
        model: Any = self.model
        features = model.forward_features(rearrange(video, "b c t h w -> (b t) c h w"))
        prefix, patches = features[:, : self.num_prefix_tokens], features[:, self.num_prefix_tokens :]
        return (
            rearrange(patches, "(b t) cells d -> b (t cells) d", **size),
            rearrange(prefix, "(b t) r d -> b t r d", **size),
        )

    def _check(self, video: Tensor) -> None:
        if video.ndim != 5 or video.shape[1] != self.channels or not video.is_floating_point():
            raise ModelError(
                f"the encoder reads float videos (B, {self.channels}, T, H, W), not {video.dtype} {tuple(video.shape)}; "
                "normalise the frames and put the channels second"
            )
        self.grid_of(video)
        if tuple(video.shape[-2:]) == (self.height_pixels, self.width_pixels):
            return
        if not self.has_learned_positions and self.fits_any_size:
            return
        if self.positions == "own":
            raise ModelError(
                f"{self.name} has positions for {self.height_pixels} x {self.width_pixels} pixels, the video has "
                f'{video.shape[-2]} x {video.shape[-1]}; bring the frames to that size, or ask for positions="interpolate"'
            )


def _only(patch_size: tuple[int, int], name: str) -> int:
    if patch_size[0] != patch_size[1]:
        raise ModelError(
            f"{name} has patches of {patch_size[0]} x {patch_size[1]} pixels; only square ones can be read"
        )
    return patch_size[0]
