"""Starting a video encoder from an image encoder.

In: a freshly built `Encoder` and a `FrameEncoder`. Out: the video encoder with the image encoder's patches and blocks. It is its own
file because something is lost on the way, and this is the place that says what: positions of the image grid, class token, registers.

What is kept computes the same. The patch kernel is repeated over the tubelet and divided by its length, so that a still clip is
embedded as its frame is (Carreira and Zisserman 2017, arXiv 1705.07750, section 2.2). LayerScale is a factor on the rows of the
layer before it, and folded into them. Where the run has no bias of keys, that of the image model may go: it adds one number to all the
scores of a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from einops import rearrange, repeat
from torch import Tensor, nn

from surgrec.hub.frame_encoder import FrameEncoder
from surgrec.hub.image_layouts import OneWay, Third
from surgrec.hub.keys import ForeignWeightsError, KeyReport, Layout, Rule, Shape, read_weights
from surgrec.models.encoder import Encoder

_DROPS = (
    ("pos_embed", "positions of the image grid, the run has its own"),
    ("cls_token", "class token, the run has none"),
    ("reg_token", "registers, the run has none"),
)


def start_from_image(encoder: Encoder, image: FrameEncoder, *, family: str, where: str) -> KeyReport:
    """Give `encoder` the patch embedding, blocks and last norm of `image`; positions, class token and registers are listed drops.

    `where` names the origin in errors. Raises `ForeignWeightsError`, and changes nothing, where the blocks of `image` cannot be those of
    `encoder`: other sizes, a gated MLP, rotary positions of its own (DINOv3).
    """
    _refuse_other_blocks(image, encoder, where)
    _refuse_other_sizes(image, encoder, where)
    found = image.model.state_dict()
    state, report = read_weights(
        encoder.state_dict(), found, _layout(encoder, image), family=family, part="video encoder", where=where
    )
    encoder.load_state_dict(state, strict=True)
    return report


def _layout(encoder: Encoder, image: FrameEncoder) -> Layout:
    is_scaled = "blocks.0.ls1.gamma" in image.model.state_dict()
    return Layout(
        (
            Rule(r"embed\.proj\.weight", ("patch_embed.proj.weight",), _Inflated(encoder.tubelet, image.channels)),
            Rule(r"embed\.proj\.bias", ("patch_embed.proj.bias",)),
            Rule(r"(blocks\.\d+)\.attention\.q_bias", (r"\1.attn.qkv.bias",), Third(0)),
            Rule(r"(blocks\.\d+)\.attention\.v_bias", (r"\1.attn.qkv.bias",), Third(2)),
            *(_scaled_rules() if is_scaled else ()),
            Rule(r"(blocks\.\d+)\.attention\.(.+)", (r"\1.attn.\2",)),
            Rule(r"(.+)", (r"\1",)),
        ),
        _DROPS,
    )


def _scaled_rules() -> tuple[Rule, ...]:
    return (
        Rule(r"(blocks\.\d+)\.attention\.proj\.(\w+)", (r"\1.attn.proj.\2", r"\1.ls1.gamma"), _Scaled()),
        Rule(r"(blocks\.\d+)\.mlp\.fc2\.(\w+)", (r"\1.mlp.fc2.\2", r"\1.ls2.gamma"), _Scaled()),
    )


@dataclass(frozen=True)
class _Inflated(OneWay):
    """A kernel for tubelets of `tubelet` frames from one for images: the same at every frame, its share of the sum each."""

    tubelet: int
    channels: int

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """(D, C, p, p)."""
        patch = round((ours[1] // (self.tubelet * self.channels)) ** 0.5)
        return [(ours[0], self.channels, patch, patch)]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """(D, P), P in the order channel, frame, row, column."""
        return repeat(theirs[0] / self.tubelet, "d c p q -> d (c u p q)", u=self.tubelet)


@dataclass(frozen=True)
class _Scaled(OneWay):
    """A weight or bias whose rows LayerScale multiplies afterwards (Touvron et al. 2021, arXiv 2103.17239)."""

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """Ours, and one factor a row."""
        return [ours, ours[:1]]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Multiplied beforehand."""
        value, factor = theirs
        return value * (factor if value.ndim == 1 else rearrange(factor, "rows -> rows 1"))


def _refuse_other_blocks(image: FrameEncoder, encoder: Encoder, where: str) -> None:
    if reason := _what_is_other(image, encoder):
        raise ForeignWeightsError(
            f"{where} is a model with {reason}, which a video encoder of surgrec has not: it can be used for features, but not as a start"
        )


def _what_is_other(image: FrameEncoder, encoder: Encoder) -> str | None:
    """What no weight would show: two models may have the same keys and shapes, and compute different things."""
    if getattr(image.model, "rope", None) is not None:
        return "rotary positions of its own"
    model: Any = image.model
    for block in model.blocks:
        mlp = getattr(block, "mlp", None)
        activation = getattr(mlp, "act", None)
        if type(block).__name__ != "Block" or type(mlp).__name__ != "Mlp":
            return f"blocks of another kind ({type(block).__name__}, {type(mlp).__name__})"
        if type(activation).__name__ != "GELU" or getattr(activation, "approximate", "none") != "none":
            return f"another activation than GELU ({activation})"
        if not isinstance(block.norm1, nn.LayerNorm) or block.norm1.eps != encoder.norm_eps:
            return f"other norms ({block.norm1})"
    if encoder.qkv_bias == "qv" and encoder.positions == "rope":
        return "a bias of keys that rotation would not let go"
    return None


def _refuse_other_sizes(image: FrameEncoder, encoder: Encoder, where: str) -> None:
    model: Any = image.model
    first = model.blocks[0]
    theirs = {
        "width": image.width,
        "depth": image.depth,
        "num_heads": first.attn.num_heads,
        "MLP width": first.mlp.fc1.out_features,
        "patch": image.patch,
        "channels": image.channels,
    }
    ours = {name: getattr(encoder, name, None) for name in theirs} | {
        "MLP width": round(encoder.width * encoder.mlp_ratio)
    }
    if differing := [f"{name} is {theirs[name]}, not {ours[name]}" for name in theirs if theirs[name] != ours[name]]:
        raise ForeignWeightsError(
            f"{where} does not fit this run's encoder: its {', '.join(differing)}; choose backbone= options to match"
        )
