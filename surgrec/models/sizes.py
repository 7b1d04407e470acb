"""The published encoder sizes by name.

In: a name. Out: the numbers that fix an encoder's shape, as keyword arguments of `Encoder`. It is its own file because
configuration, loaders of foreign weights and cost estimates all need the table and none needs a tensor.
Sources: Dosovitskiy et al. 2021 (arXiv 2010.11929, base to huge), Touvron et al. 2021 (arXiv 2012.12877, tiny and small),
Zhai et al. 2022 (arXiv 2106.04560, giant; with V-JEPA 2's heads and patch, arXiv 2506.09985).
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


def size_named(name: str) -> EncoderSize:
    """The size called `name`. Raises `ModelError` with the known names."""
    if name not in SIZES:
        raise ModelError(f"there is no encoder size {name!r}; choose one of {', '.join(SIZES)}")
    return SIZES[name]
