"""Starting a run from weights that exist: `init=FAMILY:PATH`.

In: a freshly built encoder, decoder or predictor, and where weights lie. Out: the same modules with those weights, and what was done in
sentences. It is its own file because it is where families of weights meet a run: each has its own reader, and none may load in part.

An encoder that computes something else than the run's is refused, if only in its number of heads, which weights of equal shapes would
hide. Added positions are never weights: they are computed, so what counts is for which grid of tokens, and another grid than the one
the weights were trained on is refused unless `backbone.position_grid` asks for one of two things, see `_positions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surgrec.core.errors import UserError
from surgrec.hub.endofm import start_from_endofm
from surgrec.hub.image_start import Pixels, start_from_image
from surgrec.hub.load import load_decoder, load_predictor, load_release
from surgrec.hub.pretrained import Pretrained
from surgrec.hub.videomae import read_videomae
from surgrec.hub.vjepa import read_vjepa
from surgrec.hub.vjepa2 import read_vjepa2
from surgrec.hub.vjepa21 import read_vjepa21
from surgrec.models.block import Block
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor

# The clip and the first draw of weights may differ; grids of added positions have their own rule.
_FREE = ("num_frames", "height_pixels", "width_pixels", "init", "position_grid")


def _read_release(source: str) -> Pretrained:
    """Encoder and, where the release has it, decoder or predictor; `load` has refused any key too many or too few."""
    release = load_release(source)
    assert release.folder is not None
    head = (load_decoder if "decoder" in release.config else load_predictor)(release.folder)
    said = [f"surgrec: all {len(release.encoder.state_dict())} weights of the encoder filled; no key dropped"]
    if head is not None:
        said.append(f"surgrec: all {len(head.state_dict())} weights of its {_kind_of(head)} read; no key dropped")
    return Pretrained(release.encoder, head, tuple(said))


# A family to its reader: `PATH`, with options after it, to an encoder and what came with it.
_READERS: dict[str, Callable[[str], Pretrained]] = {
    "surgrec": _read_release,
    "videomae": read_videomae,
    "vjepa": read_vjepa,
    "vjepa2": read_vjepa2,
    "vjepa2.1": read_vjepa21,
    "surgrec-mae": lambda source: read_videomae(source, "surgrec-mae"),
    "surgrec-jepa": lambda source: read_vjepa(source, "surgrec-jepa", take="encoder"),
}
# A family of image models to what fills the run's encoder from it; they are no video encoders that could be compared.
_FILLERS: dict[str, Callable[[Encoder, str, Pixels], tuple[str, ...]]] = {
    "dinov2": lambda encoder, source, pixels: start_from_image(encoder, "dinov2", source, pixels),
    "dinov3": lambda encoder, source, pixels: start_from_image(encoder, "dinov3", source, pixels),
    "vit": lambda encoder, source, pixels: start_from_image(encoder, "vit", source, pixels),
    "endofm": start_from_endofm,
}
VIDEO_FAMILIES = tuple(_READERS)
FAMILIES = (*_READERS, *_FILLERS)


def read_pretrained(family: str, source: str) -> Pretrained:
    """The video encoder that `source` names, of one of `VIDEO_FAMILIES`, with its head where it has one. Raises `UserError`."""
    return _READERS[family](source)


def start_from(encoder: Encoder, head: Decoder | Predictor, init: str, pixels: Pixels) -> tuple[str, ...]:
    """Give `encoder` the weights that `init` names, `FAMILY:PATH`; and `head` those that came along, where it is the same head.

    Returns what was done, a sentence each. `PATH` of `surgrec` is a release folder or its name on the hub, else a file, with what it does
    not tell after it: `vjepa2:vitl.pt@take:encoder`. `pixels`, what the run's videos are normalised with, is compared with what an image
    model was trained on. Raises `UserError` for an unknown family, and where the encoder does not fit.
    """
    family, has_path, path = init.partition(":")
    if family not in FAMILIES or not has_path or not path:
        raise UserError(
            f"init={init} is not FAMILY:PATH with a known family ({', '.join(FAMILIES)}); write init=surgrec:RELEASE"
        )
    if family in _FILLERS:
        return (*_FILLERS[family](encoder, path, pixels), _start_head(head, None, family))
    found = _READERS[family](path)
    _refuse_other_encoder(encoder, found.encoder, init)
    positions = _positions(encoder, found.encoder, init)
    weights = found.encoder.state_dict()
    if not encoder.levels:
        weights = {key: value for key, value in weights.items() if not key.startswith("level_norms.")}
    encoder.load_state_dict(weights, strict=True)
    levels = (f"{family}: norms of inner levels left out, the run has none",) * (found.encoder.levels != encoder.levels)
    return (*found.said, *levels, *positions, _start_head(head, found.head, family))


def _refuse_other_encoder(ours: Encoder, theirs: Encoder, init: str) -> None:
    found, wanted = theirs.architecture, ours.architecture
    free = _FREE if ours.levels else (*_FREE, "levels")
    if ours.positions != "rope":
        free = (*free, "rope_style")  # of rotary positions that neither has
    names = [name for name in wanted if name not in free and wanted[name] != found[name]]
    if names:
        differing = ", ".join(f"{name} is {found[name]}, not {wanted[name]}" for name in names)
        raise UserError(
            f"init={init} does not fit this run's encoder: its {differing}; choose backbone= options to match"
        )


def _positions(ours: Encoder, theirs: Encoder, init: str) -> tuple[str, ...]:
    """What becomes of added positions. Raises `UserError` where the run's grid is another and `backbone.position_grid` is silent.

    With the grid of the weights there, the run's positions are resampled from it; with the run's own grid, they are computed anew.
    """
    if ours.positions == "rope":
        return ()
    trained = theirs.position_grid or _grid(theirs)
    own = _grid(ours)
    if (ours.position_grid or own) == trained:
        if own == trained:
            return ()
        return (
            f"positions: resampled from a grid of {_times(trained)} tokens to {_times(own)}, as backbone.position_grid asks",
        )
    if ours.position_grid == own:
        return (
            f"positions: computed for {_times(own)} tokens, the weights know {_times(trained)}, as backbone.position_grid asks",
        )
    raise UserError(
        f"init={init} was trained with {ours.positions} positions on a grid of {_times(trained)} tokens and this run has {_times(own)}; "
        f"write backbone.position_grid={list(trained)} to resample its positions, or {list(own)} to compute them anew"
    )


def _start_head(ours: Decoder | Predictor, theirs: Decoder | Predictor | None, family: str) -> str:
    """Fill `ours` where it is the head that `theirs` is, but for mask tokens, of which the first are taken; and say what was done."""
    kind = _kind_of(ours)
    if theirs is None:
        return f"{family}: only an encoder was read, the run's {kind} starts at random"
    if type(theirs) is not type(ours):
        return f"{family}: no {kind} came along, the run's starts at random"
    found, wanted = _head_facts(theirs), _head_facts(ours)
    if names := [name for name in wanted if wanted[name] != found[name]]:
        differing = ", ".join(f"{name} is {found[name]}, not {wanted[name]}" for name in names)
        return f"{family}: the {kind} that came along was not used, the run's starts at random: its {differing}"
    weights = theirs.state_dict()
    if not isinstance(ours, Predictor):
        ours.load_state_dict(weights, strict=True)
        return f"{family}: the decoder starts from the file too"
    there, used = len(weights["mask_tokens"]), len(ours.mask_tokens)
    if there < used:
        return f"{family}: the predictor that came along was not used, the run's starts at random: it has {there} mask tokens, not {used}"
    weights["mask_tokens"] = weights["mask_tokens"][:used]
    ours.load_state_dict(weights, strict=True)
    which = "" if used == there else f", with the first {used} of its {there} mask tokens"
    return f"{family}: the predictor starts from the file too{which}"


def _kind_of(head: Decoder | Predictor) -> str:
    return "decoder" if isinstance(head, Decoder) else "predictor"


def _head_facts(head: Decoder | Predictor) -> dict[str, Any]:
    """What decides what a head computes, besides its weights and the number of its mask tokens."""
    block = head.blocks[0]
    assert isinstance(block, Block)
    facts: dict[str, Any] = {
        "width": head.width,
        "depth": len(head.blocks),
        "num_heads": block.attention.num_heads,
        "MLP width": len(block.get_parameter("mlp.fc1.weight")),
        "positions": head.positions,
        "norm_eps": head.norm_eps,
    }
    if isinstance(head, Decoder):
        return facts | {"final_norm_eps": head.final_norm_eps, "number of values": head.head.out_features}
    rotation = (head.rope_style, head.rope_grid) if head.positions == "rope" else None
    return facts | {
        "rotation": rotation,
        "num_levels": head.num_levels,
        "out_width": head.out_width,
        "head for context tokens": head.proj_context is not None,
        "modality embedding": head.modality is not None,
    }


def _grid(encoder: Encoder) -> tuple[int, int, int]:
    return encoder.grid.t, encoder.grid.h, encoder.grid.w


def _times(grid: tuple[int, int, int]) -> str:
    return " x ".join(map(str, grid))
