"""The published encoder sizes by name, and the decoder or predictor that goes with each.

In: a name. Out: the numbers that fix a shape, of the encoder as keyword arguments of `Encoder`. It is its own file because
configuration, loaders of foreign weights and cost estimates all need the table and none needs a tensor.
Sources: Dosovitskiy et al. 2021 (arXiv 2010.11929, base to huge), Touvron et al. 2021 (arXiv 2012.12877, tiny and small),
Zhai et al. 2022 (arXiv 2106.04560, giant; with V-JEPA 2's heads and patch, arXiv 2506.09985).
Decoders: VideoMAE V2 (Wang et al. 2023, arXiv 2303.16727). Predictors from ViT-L on: V-JEPA 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from surgrec.models.errors import ModelError


@dataclass(frozen=True)
class EncoderSize:
    """Shape of a vision transformer; `dataclasses.asdict` of it are keyword arguments of `Encoder`."""

    width: int  # D
    depth: int  # blocks
    num_heads: int
    mlp_ratio: float = 4.0  # hidden width of the MLP over D
    patch: int = 16  # pixels


SIZES: dict[str, EncoderSize] = {
    "nano": EncoderSize(width=128, depth=6, num_heads=4),  # ours, for tests and the quickstart; 32 values a head
    "tiny": EncoderSize(width=192, depth=12, num_heads=3),
    "small": EncoderSize(width=384, depth=12, num_heads=6),
    "base": EncoderSize(width=768, depth=12, num_heads=12),
    "large": EncoderSize(width=1024, depth=24, num_heads=16),
    "huge": EncoderSize(width=1280, depth=32, num_heads=16),
    # V-JEPA 2's ViT-g; VideoMAE V2's has 16 heads and patches of 14 pixels (arXiv 2303.16727)
    "giant": EncoderSize(width=1408, depth=40, num_heads=22, mlp_ratio=48 / 11),
}


@dataclass(frozen=True)
class HeadSize:
    """Shape of a decoder or predictor."""

    width: int
    depth: int
    num_heads: int


# VideoMAE V2's, four blocks for every encoder; VideoMAE had twelve above ViT-B, which were most of a step's work
DECODERS: dict[str, HeadSize] = {
    "nano": HeadSize(width=64, depth=2, num_heads=2),  # ours, as in the quickstart
    "tiny": HeadSize(
        width=96, depth=4, num_heads=3
    ),  # ours: half the encoder's width, as VideoMAE's for small and base
    "small": HeadSize(width=192, depth=4, num_heads=3),
    "base": HeadSize(width=384, depth=4, num_heads=6),
    "large": HeadSize(width=512, depth=4, num_heads=8),
    "huge": HeadSize(width=640, depth=4, num_heads=8),
    "giant": HeadSize(width=512, depth=4, num_heads=8),
}

# V-JEPA 2 has one for all encoders, which is 18 % of the operations of a step of ViT-L, 43 % of ViT-B and 71 % of ViT-S (counted by
# `flops` at 16 x 256 x 256 with the masks of configs/mask/multiblock.yaml). Below ViT-L ours have half the encoder's depth and about
# 3/8 of its width, as V-JEPA 2's for ViT-L, heads of 32: 20 % of ViT-B's step and of ViT-S's.
PREDICTORS: dict[str, HeadSize] = {
    "nano": HeadSize(width=64, depth=2, num_heads=2),  # as in the quickstart
    "tiny": HeadSize(width=64, depth=6, num_heads=2),
    "small": HeadSize(width=128, depth=6, num_heads=4),
    "base": HeadSize(width=288, depth=6, num_heads=9),
    "large": HeadSize(width=384, depth=12, num_heads=12),
    "huge": HeadSize(width=384, depth=12, num_heads=12),
    "giant": HeadSize(width=384, depth=12, num_heads=12),
}


def size_named(name: str) -> EncoderSize:
    """The size called `name`. Raises `ModelError` with the known names."""
    if name not in SIZES:
        raise ModelError(f"there is no encoder size {name!r}; choose one of {', '.join(SIZES)}")
    return SIZES[name]
