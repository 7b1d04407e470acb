"""Starting a video encoder from an image encoder.

In: a freshly built `Encoder` and an image model. Out: the video encoder with the image encoder's patches and blocks. It is its own
file because something is lost on the way, and this is the place that says what: positions of the image grid, class token, registers.

What is kept computes the same. The patch kernel is repeated over the tubelet and divided by its length, so that a still clip is
embedded as its frame is (Carreira and Zisserman 2017, arXiv 1705.07750, section 2.2). LayerScale is a factor on the rows of the
layer before it, and folded into them. Where the run has no bias of keys, that of the image model may go: it adds one number to all the
scores of a query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from einops import rearrange, repeat
from torch import Tensor, nn

from surgrec.hub.frame_encoder import FrameEncoder
from surgrec.hub.image_layouts import Drops, OneWay, Third
from surgrec.hub.image_models import load_image_model
from surgrec.hub.keys import ForeignWeightsError, KeyReport, Layout, Rule, Shape, read_weights
from surgrec.models.encoder import Encoder

DROPS: Drops = (
    ("pos_embed", "positions of the image grid, the run has its own"),
    ("cls_token", "class token, the run has none"),
    ("reg_token", "registers, the run has none"),
)


OWN_OF_VIDEO = ("level_norms.", "modality")


@dataclass(frozen=True)
class BlockSizes:
    """What two models must share for their blocks to fit: `hidden_width` is the MLP's, `norm_eps` that of every norm."""

    width: int
    depth: int
    num_heads: int
    hidden_width: int
    patch: int
    channels: int
    norm_eps: float


@dataclass(frozen=True)
class Pixels:
    """What values in [0, 1] are normalised with, one number a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def text(self) -> str:
        """For people."""
        return f"mean {_listed(self.mean)} and standard deviation {_listed(self.std)}"


def start_from_image(encoder: Encoder, family: str, source: str, pixels: Pixels) -> tuple[str, ...]:
    """Give `encoder` what it can use of the image model that `source` names, see `load_image_model`; what was done, a sentence each.

    `pixels` is what the run's videos are normalised with.
    Raises `ForeignWeightsError` where the model cannot be read or is none that a video encoder can start from.
    """
    loaded = load_image_model(family, source)
    report = fill_from_image(encoder, loaded.encoder, family=family, where=f"init={family}:{source}")
    read = () if loaded.report is None else (loaded.report.text(),)
    values = said_of_pixels(Pixels(loaded.mean, loaded.std), pixels, family)
    return (*read, report.text(), *said_of_the_rest(encoder, family), values)


def said_of_the_rest(encoder: Encoder, family: str) -> tuple[str, ...]:
    """What the report of keys does not show: a third of a bias that goes, and weights of `encoder` that no image model has."""
    said = []
    if encoder.qkv_bias == "qv":
        said.append(f"{family}: biases of keys left out, the run has none; they change no attention")
    if any(key.startswith(OWN_OF_VIDEO) for key in encoder.state_dict()):
        said.append(f"{family}: norms of inner levels and modality vector are not of an image model and stay as drawn")
    return tuple(said)


def said_of_pixels(theirs: Pixels, ours: Pixels, family: str) -> str:
    """Whether the run shows the weights the values that they were trained on: no weight tells, and nothing would fail."""
    if theirs == ours:
        return f"{family}: pixels are normalised as in its own training, with {theirs.text()}"
    return (
        f"{family}: its pixels were normalised with {theirs.text()}, this run's are with {ours.text()}; for its own values write "
        f"augment.mean=[{_listed(theirs.mean)}] augment.std=[{_listed(theirs.std)}]"
    )


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def fill_from_image(encoder: Encoder, image: FrameEncoder, *, family: str, where: str) -> KeyReport:
    """Give `encoder` the patch embedding, blocks and last norm of `image`; positions, class token and registers are listed drops.

    `where` names the origin in errors. Raises `ForeignWeightsError`, and changes nothing, where the blocks of `image` cannot be those of
    `encoder`: other sizes, a gated MLP, rotary positions of its own (DINOv3).
    """
    if reason := _what_is_other(image):
        raise ForeignWeightsError(
            f"{where} is a model with {reason}, which a video encoder of surgrec has not: it can be used for features, but not as a start"
        )
    return fill_from_blocks(encoder, image.model.state_dict(), _sizes(image), family=family, where=where)


def fill_from_blocks(
    encoder: Encoder,
    found: Mapping[str, Tensor],
    sizes: BlockSizes,
    *,
    family: str,
    where: str,
    prefix: str = "",
    drops: Drops = (),
) -> KeyReport:
    """Like `fill_from_image`, from weights `found` under timm's names of a plain ViT after `prefix`; `drops` are further listed drops.

    `drops` are patterns of whole names as they stand in `found`.
    """
    _refuse_other_sizes(encoder, sizes, where)
    if encoder.qkv_bias == "qv" and encoder.positions == "rope":
        raise ForeignWeightsError(
            f"{where} has a bias of keys, which may be let go only where positions are added; choose backbone.qkv_bias=qkv"
        )
    is_scaled = f"{prefix}blocks.0.ls1.gamma" in found
    layout = _layout(encoder, is_scaled).under(prefix)
    layout = Layout(layout.rules, layout.drops + drops)
    own = encoder.state_dict()
    wanted = {key: value for key, value in own.items() if not key.startswith(OWN_OF_VIDEO)}
    state, report = read_weights(wanted, found, layout, family=family, part="video encoder", where=where)
    encoder.load_state_dict(own | state, strict=True)
    return report


def _layout(encoder: Encoder, is_scaled: bool) -> Layout:
    return Layout(
        (
            Rule(r"embed\.proj\.weight", ("patch_embed.proj.weight",), _Inflated(encoder.tubelet, encoder.channels)),
            Rule(r"embed\.proj\.bias", ("patch_embed.proj.bias",)),
            Rule(r"(blocks\.\d+)\.attention\.q_bias", (r"\1.attn.qkv.bias",), Third(0)),
            Rule(r"(blocks\.\d+)\.attention\.v_bias", (r"\1.attn.qkv.bias",), Third(2)),
            *(_scaled_rules() if is_scaled else ()),
            Rule(r"(blocks\.\d+)\.attention\.(.+)", (r"\1.attn.\2",)),
            Rule(r"(.+)", (r"\1",)),
        ),
        DROPS,
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


def _what_is_other(image: FrameEncoder) -> str | None:
    """What no weight would show: two models may have the same keys and shapes, and compute different things."""
    model: Any = image.model
    if getattr(model, "rope", None) is not None:
        return "rotary positions of its own"
    for block in model.blocks:
        mlp = getattr(block, "mlp", None)
        activation = getattr(mlp, "act", None)
        if type(block).__name__ != "Block" or type(mlp).__name__ != "Mlp":
            return f"blocks of another kind ({type(block).__name__}, {type(mlp).__name__})"
        if type(activation).__name__ != "GELU" or getattr(activation, "approximate", "none") != "none":
            return f"another activation than GELU ({activation})"
        if not isinstance(block.norm1, nn.LayerNorm):
            return f"other norms ({type(block.norm1).__name__})"
    return None


def _sizes(image: FrameEncoder) -> BlockSizes:
    model: Any = image.model
    first = model.blocks[0]
    return BlockSizes(
        width=image.width,
        depth=image.depth,
        num_heads=first.attn.num_heads,
        hidden_width=first.mlp.fc1.out_features,
        patch=image.patch,
        channels=image.channels,
        norm_eps=first.norm1.eps,
    )


def _refuse_other_sizes(encoder: Encoder, theirs: BlockSizes, where: str) -> None:
    ours = BlockSizes(
        width=encoder.width,
        depth=encoder.depth,
        num_heads=encoder.num_heads,
        hidden_width=round(encoder.width * encoder.mlp_ratio),
        patch=encoder.patch,
        channels=encoder.channels,
        norm_eps=encoder.norm_eps,
    )
    names = [field.name for field in fields(BlockSizes) if getattr(ours, field.name) != getattr(theirs, field.name)]
    if names:
        differing = ", ".join(f"{name} is {getattr(theirs, name)}, not {getattr(ours, name)}" for name in names)
        raise ForeignWeightsError(
            f"{where} does not fit this run's encoder: its {differing}; choose backbone= options to match"
        )
