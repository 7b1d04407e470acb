"""The video encoder of both families: a vision transformer over tubelets that reads only the tokens it is given.

In: a video (B, C, T, H, W) and token ids (B, K), or none for all tokens. Out: tokens (B, K, D) after the final norm. It is
its own file because it is what training leaves behind: decoder and predictor are thrown away, the encoder is released.

VideoMAE (Tong et al. 2022, arXiv 2203.12602): positions="sincos", qkv_bias="qv", init="xavier".
V-JEPA 1 (Bardes et al. 2024, arXiv 2404.08471): positions="sincos_3d", qkv_bias="qkv", init="trunc_normal".
V-JEPA 2 (Assran et al. 2025, arXiv 2506.09985): positions="rope", qkv_bias="qkv", init="trunc_normal".
V-JEPA 2.1 (public code of V-JEPA 2, MIT licence): as V-JEPA 2, and rope_style="interleaved", rope_grid=16,
has_modality_embedding=True, levels=spread_levels(depth, 4) (its ViT-G of 48 blocks: 11, 23, 37, 47).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.models.attention import AttentionBackend, QkvBias
from surgrec.models.block import NORM_EPS, Checkpointing, stack
from surgrec.models.embed import PatchEmbed, grid_of_video
from surgrec.models.errors import ModelError
from surgrec.models.init import InitScheme, draw_modality, init_weights
from surgrec.models.positions import Positions, RopeStyle, added_table, check_position_grid, check_rotary
from surgrec.models.rotary import Rotary


def spread_levels(depth: int, count: int) -> tuple[int, ...]:
    """`count` blocks evenly over `depth`, counted from 0, the last block among them: 2, 5, 8, 11 of 12. Raises `ModelError`."""
    if not 1 <= count <= depth:
        raise ModelError(f"an encoder of {depth} blocks has no {count} levels; choose 1 to {depth}")
    return tuple(depth * (level + 1) // count - 1 for level in range(count))


class Encoder(nn.Module):
    """Vision transformer over tubelets of `tubelet` frames by `patch` x `patch` pixels.

    `num_frames`, `height_pixels` and `width_pixels` are the training clip; other sizes that tubelet and patch divide work
    too, with the positions of their own grid; where `position_grid` (t, h, w) is given, added positions are those of that grid,
    resampled to the clip's. `has_final_norm=False` is how VideoMAE is fine-tuned. Raises `ModelError` and `GeometryError` for
    what cannot be built.

    `rope_grid`: see `rotary_table`. `levels`: blocks, counted from 0 and ascending to the last one, whose outputs can be had
    beside the last, each through a norm of its own (`level_norms`, and `norm` for the last). `has_modality_embedding`: one
    vector, `modality` (D,), added to every token, that tells video from still pictures.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        num_frames: int,
        height_pixels: int,
        width_pixels: int,
        tubelet: int = 2,
        patch: int = 16,
        channels: int = 3,
        positions: Positions,
        rope_style: RopeStyle = "tiled",
        position_grid: Sequence[int] | None = None,
        rope_grid: int | None = None,
        levels: Sequence[int] = (),
        has_modality_embedding: bool = False,
        qkv_bias: QkvBias,
        norm_eps: float = NORM_EPS,
        has_final_norm: bool = True,
        attention_backend: AttentionBackend = "sdpa",
        activation_checkpointing: Checkpointing = "selective",
        init: InitScheme,
    ) -> None:
        super().__init__()
        if positions not in get_args(Positions):
            raise ModelError(f"there are no positions {positions!r}; choose {', '.join(get_args(Positions))}")
        if positions == "rope":
            check_rotary(width // num_heads, rope_style, rope_grid)
        elif rope_grid is not None:
            raise ModelError(f"rope_grid stretches rotary positions, and these are {positions}; leave it out")
        if levels and (list(levels) != sorted(set(levels)) or levels[0] < 0 or levels[-1] != depth - 1):
            raise ModelError(f"levels {list(levels)} do not ascend from 0 or later to the last block, {depth - 1}")
        self.rope_grid, self.levels, self.has_modality_embedding = rope_grid, tuple(levels), has_modality_embedding
        self.width, self.depth, self.num_heads = width, depth, num_heads
        self.mlp_ratio = round(width * mlp_ratio) / width  # as it is after rounding, so that equal shapes compare equal
        self.num_frames, self.height_pixels, self.width_pixels = num_frames, height_pixels, width_pixels
        self.tubelet, self.patch, self.channels = tubelet, patch, channels
        self.positions, self.rope_style, self.qkv_bias, self.init_scheme = positions, rope_style, qkv_bias, init
        self.norm_eps, self.has_final_norm = norm_eps, has_final_norm
        self.position_grid = None if position_grid is None else check_position_grid(position_grid, positions)
        self.grid = TokenGrid.of_clip(num_frames, height_pixels, width_pixels, tubelet, patch)
        self.embed = PatchEmbed(channels, tubelet, patch, width)
        self.blocks = stack(
            depth,
            width,
            num_heads,
            mlp_ratio,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            attention_backend=attention_backend,
            activation_checkpointing=activation_checkpointing,
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps) if has_final_norm else nn.Identity()
        self.level_norms = nn.ModuleList(nn.LayerNorm(width, eps=norm_eps) for _ in self.levels[:-1])
        self.modality = nn.Parameter(torch.zeros(width)) if has_modality_embedding else None
        self.init_weights()

    def init_weights(self) -> None:
        """Draw all parameters anew; after building on the meta device, call this once memory is there."""
        init_weights(self, self.init_scheme)
        if self.init_scheme == "xavier":
            self.embed.proj.reset_parameters()  # VideoMAE redraws Linear layers only; its patch convolution keeps torch's own
        draw_modality(self.modality)

    @property
    def architecture(self) -> dict[str, Any]:
        """The arguments that decide what this encoder computes: with the weights, enough to build it again."""
        names = ["width", "depth", "num_heads", "mlp_ratio", "num_frames", "height_pixels", "width_pixels"]
        names += ["tubelet", "patch", "channels", "positions", "rope_style", "position_grid", "qkv_bias", "norm_eps"]
        names += ["has_final_norm", "rope_grid", "levels", "has_modality_embedding"]
        return {name: getattr(self, name) for name in names} | {"init": self.init_scheme}

    def grid_of(self, video: Tensor) -> TokenGrid:
        """The token grid of a video (B, C, T, H, W) of any size that tubelet and patch divide; else `GeometryError`."""
        return grid_of_video(video, self.tubelet, self.patch)

    def forward(
        self,
        video: Tensor,
        ids: Tensor | None = None,
        *,
        segments: tuple[int, ...] = (),
        all_levels: bool = False,
    ) -> Tensor:
        """Encode the tokens `ids`, int64 (B, K), of a normalised float video (B, C, T, H, W): (B, K, D).

        Row k of the result is token `ids[:, k]`; the order is free and changes nothing else. Without ids, all N tokens in
        the order of `TokenGrid`. Tokens that are not named are not looked at.

        `segments`: lengths that sum to K; tokens see only those of their segment, as if each had been encoded by itself. Several
        masks of one clip so take one pass, and their ids may overlap.

        With `all_levels`, the normed outputs of all `levels` side by side, the last block's last: (B, K, levels * D).
        Raises `ModelError` where the encoder has none.
        """
        if all_levels and not self.levels:
            raise ModelError("this encoder was built without levels; give it levels=spread_levels(depth, 4)")
        tokens, rotary = self.embedded(video, ids)
        inner = dict(zip(self.levels[:-1], self.level_norms, strict=True)) if all_levels else {}
        outputs = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, rotary, segments)
            if index in inner:
                outputs.append(inner[index](tokens))
        last = self.norm(tokens)
        return torch.cat((*outputs, last), dim=-1) if all_levels else last

    def embedded(self, video: Tensor, ids: Tensor | None = None) -> tuple[Tensor, Rotary | None]:
        """What the first block is given: tokens (B, K, D) with what is added to them, and rotary positions where there are any."""
        grid = self.grid_of(video)
        tokens = self.embed(video, ids)
        if self.modality is not None:
            tokens = tokens + self.modality
        rotary: Rotary | None = None
        if self.positions == "rope":
            rotary = Rotary.at(grid, self.width // self.num_heads, self.rope_style, ids, video.device, self.rope_grid)
        else:
            table = added_table(self.positions, grid, self.width, video.device, self.position_grid).to(tokens.dtype)
            tokens = tokens + (table if ids is None else table[ids])
        return tokens, rotary
