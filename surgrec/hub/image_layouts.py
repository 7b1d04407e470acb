"""How the weights of image encoders are laid out in files, seen from timm's models.

In: the weights of a file. Out: the rules that lead every key of the timm model to them. It is its own file because it is all that is
known about the authors' own layouts, beside timm's.

timm's names are the authors' for DINOv2 without registers and for ViT. With registers, timm adds the class token's position to the
class token once and for all, and its table has places only. DINOv3 has a bias of queries, keys and values with a mask that makes the
keys' zero; timm has those of queries and values. A gated MLP is `w12` and `w3` in DINOv2, `w1`, `w2` and `w3` in DINOv3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from surgrec.hub.keys import ForeignWeightsError, Layout, Rule, Shape

Drops = tuple[tuple[str, str], ...]
DROPS: Drops = (
    ("mask_token", "mask token, only for pretraining"),
    (r"head\.(?:weight|bias)", "of the classifier"),
)
# a self-distillation checkpoint holds its heads beside the backbone
_PROJECTION = (
    r"(?:mlp\.(?:\d+\.)?(?:weight|bias|running_mean|running_var|num_batches_tracked)"
    r"|last_layer\.(?:weight|weight_g|weight_v|parametrizations\.weight\.original[01]))"
)
HEAD_DROPS: Drops = (
    (rf"(?:module\.)?(?:dino_head|ibot_head|head)\.{_PROJECTION}", "of a head that is only for pretraining"),
)
DINOV3_DROPS: Drops = (
    (r"rope_embed\.periods", "rotary periods, equal to those that the model computes"),
    (r"blocks\.\d+\.attn\.qkv\.bias_mask", "mask of the keys' bias, which is zero"),
    (r"local_cls_norm\.(?:weight|bias)", "norm of local crops, only for pretraining"),
)


def image_layout(bare: Mapping[str, Tensor], prefix: str) -> Layout:
    """The layout of the weights `bare` (names without `prefix`), for the keys as they stand in the file, with the prefix."""
    rules: list[Rule] = []
    drops = DROPS
    if "storage_tokens" in bare:
        rules, drops = _dinov3_rules("blocks.0.mlp.w1.weight" in bare), DROPS + DINOV3_DROPS
    elif "register_tokens" in bare:
        rules = _register_rules(bare)
    if "blocks.0.mlp.w12.weight" in bare:
        rules += _renamed("fc1", "w12") + _renamed("fc2", "w3")
    layout = Layout((*rules, Rule(r"(.+)", (r"\1",))), drops)
    if not prefix:
        return layout
    under = layout.under(prefix)
    return Layout(under.rules, under.drops + HEAD_DROPS)


def refuse_other_rotations(model: nn.Module, bare: Mapping[str, Tensor], path: Path) -> None:
    """Raise `ForeignWeightsError` where DINOv3's periods or masks of a file are not those that timm computes with.

    The file's periods are rounded to bfloat16, timm's are float32: equal to 0.4 %.
    """
    periods = bare.get("rope_embed.periods")
    if periods is not None:
        ours = dict(model.named_buffers()).get("rope.periods")
        if ours is None or periods.shape != ours.shape or not torch.allclose(periods.to(ours), ours, rtol=2**-7):
            raise ForeignWeightsError(
                f"{path} has other rotary periods in rope_embed.periods than DINOv3's; name its model"
            )
    for key, bias in bare.items():
        if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.bias", key) and "storage_tokens" in bare:
            _refuse_key_bias(key, bias, bare.get(f"{key}_mask"), path)


def _refuse_key_bias(key: str, bias: Tensor, mask: Tensor | None, path: Path) -> None:
    keys = bias.chunk(3)[1]
    if mask is None:
        if keys.any():
            raise ForeignWeightsError(f"{path} has a bias of the keys in {key}, which DINOv3 has not; check the family")
        return
    wanted = torch.ones(3, len(keys))
    wanted[1] = 0
    if mask.shape != bias.shape or not torch.equal(mask.float(), wanted.flatten()):
        raise ForeignWeightsError(
            f"{path} has in {key}_mask another mask than DINOv3's, which leaves out the keys; check the file"
        )


def _renamed(ours: str, theirs: str) -> list[Rule]:
    return [Rule(rf"(blocks\.\d+\.mlp)\.{ours}\.(\w+)", (rf"\1.{theirs}.\2",))]


def _register_rules(bare: Mapping[str, Tensor]) -> list[Rule]:
    num_positions = bare["pos_embed"].shape[1] if "pos_embed" in bare else 0
    return [
        Rule("reg_token", ("register_tokens",)),
        Rule("cls_token", ("cls_token", "pos_embed"), _ClassWithPosition(num_positions)),
        Rule("pos_embed", ("pos_embed",), _Places()),
    ]


def _dinov3_rules(is_gated: bool) -> list[Rule]:
    gated = [*_renamed("fc1_g", "w1"), *_renamed("fc1_x", "w2"), *_renamed("fc2", "w3")] if is_gated else []
    return [
        *gated,
        Rule("reg_token", ("storage_tokens",)),
        Rule(r"(blocks\.\d+)\.gamma_(\d)", (r"\1.ls\2.gamma",)),
        Rule(r"(blocks\.\d+\.attn)\.q_bias", (r"\1.qkv.bias",), Third(0)),
        Rule(r"(blocks\.\d+\.attn)\.v_bias", (r"\1.qkv.bias",), Third(2)),
    ]


class OneWay:
    """A change that loses something on the way in, so that nothing leads back."""

    def write(self, ours: Tensor, num_parts: int) -> list[Tensor]:
        """Raises `ForeignWeightsError`."""
        raise ForeignWeightsError("weights read from an image encoder cannot be written back to its layout")


@dataclass(frozen=True)
class _ClassWithPosition(OneWay):
    """The class token, and the table of `num_positions` positions, whose first is the class token's."""

    num_positions: int

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """(1, 1, D) and (1, num_positions, D)."""
        return [ours, (1, self.num_positions, ours[-1])]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Their sum."""
        return theirs[0] + theirs[1][:, :1]


@dataclass(frozen=True)
class _Places(OneWay):
    """The positions of patches, in a table that begins with the class token's."""

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """One position more."""
        return [(1, ours[1] + 1, ours[2])]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Without the first."""
        return theirs[0][:, 1:]


@dataclass(frozen=True)
class Third(OneWay):
    """Third number `which` of a bias of queries, keys and values."""

    which: int

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """Three times ours."""
        return [(3 * ours[0],)]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """That third."""
        return theirs[0].chunk(3)[self.which]
