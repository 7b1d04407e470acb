"""Random models of transformers, the Apache-2.0 ports that the project is checked against."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)
from tests.models.build import random_ids, scramble

transformers = pytest.importorskip("transformers", reason="parity needs transformers: pip install 'surgrec[parity]'")


class Case(NamedTuple):
    """Encoder and head as width, depth, heads, MLP ratio; clip as frames, height, width, tubelet, patch."""

    encoder: tuple[int, int, int, float]
    head: tuple[int, int, int, float]
    clip: tuple[int, int, int, int, int]

    def seed(self) -> int:
        return sum(self.clip) + self.encoder[0]


VIDEOMAE_CASES = [
    Case((48, 2, 3, 4.0), (32, 1, 2, 4.0), (4, 32, 32, 2, 16)),
    Case((64, 3, 2, 3.0), (24, 2, 3, 4.0), (8, 32, 48, 2, 8)),  # not square
    Case((32, 1, 4, 2.0), (40, 3, 5, 4.0), (6, 24, 24, 2, 8)),
    Case((35, 2, 5, 3.0), (21, 1, 7, 2.0), (4, 24, 16, 2, 8)),  # odd width, heads of 7 and of 3
    Case((66, 1, 11, 1.5), (18, 2, 1, 3.0), (9, 16, 16, 3, 8)),  # tubelets of 3
    Case((40, 4, 1, 2.5), (64, 1, 4, 1.0), (16, 16, 16, 2, 8)),  # long
]
VJEPA2_CASES = [
    Case((48, 2, 3, 4.0), (24, 1, 2, 4.0), (4, 32, 32, 2, 8)),
    Case((128, 2, 2, 3.0), (48, 2, 4, 4.0), (8, 48, 48, 2, 16)),  # heads of 64: 20, 20, 20 and 4 not rotated
    Case((60, 3, 6, 2.0), (96, 3, 3, 4.0), (6, 40, 40, 2, 8)),
    Case((70, 1, 7, 48 / 11), (42, 2, 7, 2.0), (6, 24, 24, 3, 8)),  # heads of 10 and of 6
    Case((66, 2, 3, 1.5), (40, 1, 5, 3.0), (16, 16, 16, 2, 8)),  # heads of 22: 6, 6, 6 and 4
    Case((26, 3, 1, 4.0), (16, 2, 2, 1.0), (2, 56, 56, 2, 8)),  # one time step
]


def videomae_config(case: Case, **changes: Any) -> Any:
    width, depth, heads, ratio = case.encoder
    frames, height, columns, tubelet, patch = case.clip
    options = {
        "image_size": [height, columns],
        "patch_size": patch,
        "num_frames": frames,
        "tubelet_size": tubelet,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": round(width * ratio),
        "decoder_hidden_size": case.head[0],
        "decoder_num_hidden_layers": case.head[1],
        "decoder_num_attention_heads": case.head[2],
        "decoder_intermediate_size": round(case.head[0] * case.head[3]),
        "layer_norm_eps": 1e-6,  # the port's default, 1e-12, is not VideoMAE's
        "use_mean_pooling": False,
        "norm_pix_loss": False,
    }
    return transformers.VideoMAEConfig(**options | changes)


def vjepa2_config(case: Case, **changes: Any) -> Any:
    frames, height, _, tubelet, patch = case.clip
    options = {
        "crop_size": height,
        "patch_size": patch,
        "frames_per_clip": frames,
        "tubelet_size": tubelet,
        "hidden_size": case.encoder[0],
        "num_hidden_layers": case.encoder[1],
        "num_attention_heads": case.encoder[2],
        "mlp_ratio": case.encoder[3],
        "pred_hidden_size": case.head[0],
        "pred_num_hidden_layers": case.head[1],
        "pred_num_attention_heads": case.head[2],
        "pred_mlp_ratio": case.head[3],
        "pred_num_mask_tokens": 3,
    }
    return transformers.VJEPA2Config(**options | changes)


def oracle(name: str, config: Any) -> Any:
    """A model of theirs with random weights, also in biases and norms, that attends by the plain formula."""
    model: nn.Module = getattr(transformers, name)._from_config(config, attn_implementation="eager").eval()
    if name == "VideoMAEForPreTraining":
        model.decoder.norm.eps = 1e-6  # VideoMAE's; the port has 1e-5 there  # type: ignore[union-attr, assignment]
    scramble(model)
    return model


def clip_and_masks(case: Case, num_tokens: int, share: float = 0.25) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A video of two clips, context and target ids in raster order, and the same mask as transformers wants it."""
    frames, height, width, _, _ = case.clip
    split, kept = random_ids(2, num_tokens, num_tokens), max(1, int(num_tokens * share))
    context, target = split[:, :kept].sort().values, split[:, kept:].sort().values
    masked = torch.ones(2, num_tokens, dtype=torch.bool).scatter(1, context, False)
    return torch.randn(2, 3, frames, height, width), context, target, masked


def assert_same_gradients(ours: dict[str, Tensor], theirs: nn.Module) -> None:
    """`ours`: gradients under their names. Every parameter's gradient agrees, relative to its own size, to 1e-4."""
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.norm() > 0, name
        difference = float((ours[name] - gradient).norm() / gradient.norm())
        assert difference < 1e-4, f"{name}: {difference}"
