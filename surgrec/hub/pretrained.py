"""What the video families have in common: where a file is, what its shapes tell, what it gave.

In: `PATH` or `PATH@OPTION:VALUE...`, the weights found there. Out: the arguments of an encoder, and a `Pretrained`. It is its own file
because all official video checkpoints are vision transformers with the same names inside a block, and none says how many heads it has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.hub.keys import ForeignWeightsError, Layout, Rule, Unfolded, read_weights
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.positions import SinCosStyle, added_table
from surgrec.models.predictor import Predictor

STEM = "patch_embed.proj.weight"
_OPTION = re.compile(r"@([a-z_]+):(\w+)$")
_PREFIXES = ("module.backbone.", "backbone.", "module.", "")
# The longest published clip, 64 frames of 384 x 384 pixels, has 18,432 tokens; positions of a million, 1,024 wide, fill 4 GiB.
_MOST_TOKENS = 2**20
_TABLE_TOLERANCE = 1e-5  # a stored table is float32, some were made in it

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Pretrained:
    """An encoder from elsewhere, the decoder or predictor that came with it, and `said`: where every key went, one line a sentence.

    The clip of the encoder is the one that it was trained on; its grid is where added positions are known.
    """

    encoder: Encoder
    head: Decoder | Predictor | None
    said: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A file and what the user says about it: `heads`, `head_heads` (of decoder or predictor), `frames`, `crop` and others of a family."""

    path: Path
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, known: tuple[str, ...]) -> Source:
        """`PATH@heads:12@take:encoder`. Raises `ForeignWeightsError` for an option that the family does not know."""
        options: dict[str, str] = {}
        while match := _OPTION.search(text):
            options[match[1]], text = match[2], text[: match.start()]
        if unknown := [name for name in options if name not in known]:
            raise ForeignWeightsError(
                f"there is no option @{unknown[0]}: for this family of weights; choose one of {', '.join(known)}"
            )
        return cls(Path(text).expanduser(), options)

    def number(self, name: str) -> int | None:
        """The option as a positive number, None where it was not given."""
        value = self.options.get(name)
        if value is not None and not (value.isdigit() and int(value)):
            raise ForeignWeightsError(f"@{name}:{value} is no number of {name}; give a positive one")
        return None if value is None else int(value)


def prefix_of(weights: Mapping[str, Any], stem: str, where: str) -> str:
    """What stands before every key, such as `module.backbone.`. Raises `ForeignWeightsError` where `stem` is under no known prefix."""
    for prefix in _PREFIXES:
        if prefix + stem in weights:
            return prefix
    some = ", ".join(list(map(str, weights))[:3]) or "nothing"
    raise ForeignWeightsError(f"{where} lacks {stem} (it has {some}); check the family and fetch the file anew")


def shape_arguments(weights: Mapping[str, Any], prefix: str, where: str) -> dict[str, Any]:
    """What shapes tell of an encoder: width, depth, MLP ratio, channels, tubelet, patch."""
    stem = shape_at(weights, prefix + STEM, 5, where)
    hidden, width = shape_at(weights, f"{prefix}blocks.0.mlp.fc1.weight", 2, where)[0], stem[0]
    if stem[3] != stem[4]:
        raise ForeignWeightsError(f"{where} has patches of {stem[3]} x {stem[4]} pixels; only square ones can be read")
    return {
        "width": width,
        "depth": count_of(weights, f"{prefix}blocks"),
        "mlp_ratio": hidden / width,
        "channels": stem[1],
        "tubelet": stem[2],
        "patch": stem[3],
    }


def shape_at(weights: Mapping[str, Any], key: str, ndim: int, where: str) -> tuple[int, ...]:
    """The shape of a weight. Raises `ForeignWeightsError`, naming it, where it is missing or has not `ndim` axes."""
    tensor = weights.get(key)
    if not isinstance(tensor, Tensor):
        raise ForeignWeightsError(f"{where} lacks {key}; check the family and fetch the file anew")
    if tensor.ndim != ndim or not tensor.numel():
        raise ForeignWeightsError(
            f"{where} has the misfit {key} of shape {tuple(tensor.shape)} instead of {ndim} filled axes; check the family"
        )
    return tuple(tensor.shape)


def count_of(weights: Iterable[str], stem: str) -> int:
    """How many entries the list `stem` has: one more than its highest number, which no more than the keys there are can make true."""
    numbers = [int(match[1]) for key in weights if (match := re.match(rf"{re.escape(stem)}\.(\d+)", key))]
    return min(max(numbers, default=-1), len(numbers)) + 1


def heads_of(
    table: Mapping[tuple[int, int], int], width: int, depth: int, said: int | None, where: str, option: str = "heads"
) -> int:
    """Heads, which shapes do not tell: what the user said, else the published number for width and depth."""
    if said is not None:
        return said
    if (width, depth) not in table:
        sizes = ", ".join(f"{w} x {d}" for w, d in table)
        raise ForeignWeightsError(
            f"{where} is {width} wide and {depth} deep, which is no published size ({sizes}), and shapes do not tell the number of "
            f"heads; write it after the path: @{option}:12"
        )
    return table[width, depth]


def clip_arguments(frames: int, crop: int, shape: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The training clip as arguments of `Encoder`, of tubelets as in `shape`.

    Raises `ForeignWeightsError` for a clip with more tokens than any memory is meant for, whether the user or the file says it.
    """
    num_tokens = frames // shape["tubelet"] * (crop // shape["patch"]) ** 2
    if num_tokens > _MOST_TOKENS:
        raise ForeignWeightsError(
            f"{where}: a clip of {frames} frames of {crop} x {crop} pixels has {num_tokens} tokens, and more than {_MOST_TOKENS} are taken "
            "for a mistake; say what it was trained on after the path: @frames:16@crop:224"
        )
    return {"num_frames": frames, "height_pixels": crop, "width_pixels": crop}


def stem_rules(arguments: Mapping[str, Any], ours: str, theirs: str) -> tuple[Rule, ...]:
    """Rules of the patch embedding, a convolution there; `ours` (regular expression) and `theirs` stand before the keys."""
    kernel = (arguments["channels"], arguments["tubelet"], arguments["patch"], arguments["patch"])
    return (
        Rule(rf"{ours}embed\.proj\.weight", (f"{theirs}patch_embed.proj.weight",), Unfolded(kernel)),
        Rule(rf"{ours}embed\.proj\.bias", (f"{theirs}patch_embed.proj.bias",)),
    )


def block_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """Rules of a list of blocks, with the names that timm gave them and everybody took: attn, mlp, norm1, norm2."""
    return (
        Rule(rf"{ours}\.(\d+)\.attention\.(.+)", (rf"{theirs}.\1.attn.\2",)),
        Rule(rf"{ours}\.(\d+)\.((?:mlp|norm1|norm2)\..+)", (rf"{theirs}.\1.\2",)),
    )


def filled(
    module: Module, weights: Mapping[str, Tensor], layout: Layout, *, family: str, part: str, where: str
) -> tuple[Module, str]:
    """`module`, built on the meta device, with the weights in float32; and the report's line. Raises where a key is not accounted for."""
    state, report = read_weights(module.state_dict(), weights, layout, family=family, part=part, where=where)
    module.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    return module, report.text()


def refuse_other_positions(
    weights: Mapping[str, Any], key: str, style: SinCosStyle, grid: TokenGrid, width: int, where: str
) -> None:
    """Raise `ForeignWeightsError` unless the stored table (1, N, D) is the one that is computed here for `grid`."""
    stored = weights.get(key)
    expected = (1, grid.num_tokens, width)  # before the table is computed: a clip may be said that no memory could hold
    if not isinstance(stored, Tensor) or stored.shape != expected:
        shape = tuple(stored.shape) if isinstance(stored, Tensor) else "nothing"
        raise ForeignWeightsError(
            f"{where} has {key} of shape {shape} instead of {expected}, the positions of {grid.t} x {grid.h} x {grid.w} tokens; "
            "say what clip it was trained on after the path: @frames:16@crop:224"
        )
    distance = _distance(stored, added_table(style, grid, width))
    if not distance < _TABLE_TOLERANCE:
        raise ForeignWeightsError(
            f"{where} has {key} with other values than {style} positions of {grid.t} x {grid.h} x {grid.w} tokens (off by {distance:.2g}), "
            "so it was trained with positions that cannot be made here"
        )


def grid_of_sincos_3d(stored: Tensor) -> TokenGrid | None:
    """The grid, square in space, whose `sincos_3d` positions a table (1, N, D) holds; None where there is none."""
    if stored.ndim != 3 or len(stored) != 1 or not stored.numel():
        return None
    _, num_tokens, width = stored.shape
    sides = [side for side in range(1, math.isqrt(num_tokens) + 1) if num_tokens % (side * side) == 0]
    grids = [TokenGrid(num_tokens // (side * side), side, side) for side in sides]
    return next((g for g in grids if _distance(stored, added_table("sincos_3d", g, width)) < _TABLE_TOLERANCE), None)


def _distance(stored: Tensor, table: Tensor) -> float:
    return float((stored[0].float() - table).abs().max())


def square_side(num_tokens: int, steps: int) -> int | None:
    """Rows of a square grid of `num_tokens` over `steps` time steps, None where there is none."""
    side = math.isqrt(num_tokens // steps)
    return side if steps * side * side == num_tokens else None
