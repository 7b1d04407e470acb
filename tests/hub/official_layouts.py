"""A small official file of every layout: its weights, how it is written, and what is to be said after its path.

It is its own file because whole files, damaged ones and what may be said after a path are told apart by the same eight.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from surgrec.core.grid import TokenGrid
from surgrec.hub.initial import _READERS
from surgrec.hub.pretrained import Pretrained
from tests.hub import official_files as official
from tests.hub.official_files import Weights
from tests.models.oracle import Case, oracle, videomae_config, vjepa2_config

CASE = Case((48, 2, 3, 4.0), (24, 1, 2, 4.0), (4, 32, 32, 2, 8))
GRID = TokenGrid(2, 4, 4)


class Official(NamedTuple):
    """A family, its file's weights by the name they stand under, what to say after the path, keys that are drops."""

    family: str
    parts: dict[str, Weights]
    write: Callable[[Path, dict[str, Weights]], Path]
    options: str
    drops: tuple[str, ...]


def _mae(key: str, clip: tuple[int, int] | None = (4, 32)) -> Callable[[Path, dict[str, Weights]], Path]:
    return lambda path, parts: official.mae_file(path, parts[key], key, clip)


def _jepa(path: Path, parts: dict[str, Weights]) -> Path:
    return official.jepa_file(path, parts["encoder"], parts["predictor"], parts.get("target_encoder"))


def make(name: str, depth_of_21: int = 12) -> Official:
    """A small file of every layout; the part that a reader takes by default comes first. Of V-JEPA 2.1 no depth under 12 was published."""
    torch.manual_seed(7)
    match name:
        case "videomae, pretrained" | "surgrec-mae":
            weights = official.videomae_pretraining(oracle("VideoMAEForPreTraining", videomae_config(CASE)))
            family = name.split(",")[0]
            return Official(family, {"model": weights}, _mae("model"), "@heads:3@head_heads:2", ())
        case "videomae, fine-tuned under module" | "videomae, fine-tuned under model":
            key = name.split()[-1]
            weights = official.videomae_finetuned(oracle("VideoMAEModel", videomae_config(CASE, use_mean_pooling=True)))
            drops = ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")
            return Official("videomae", {key: weights}, _mae(key, None), "@heads:3@frames:4@crop:32", drops)
        case "vjepa2":
            encoder, predictor = official.vjepa2_parts(oracle("VJEPA2Model", vjepa2_config(CASE)))
            stray, narrow = torch.randn(1, 32, 48), torch.randn(1, 32, 24)
            parts = {
                "target_encoder": encoder | {"pos_embed": stray},
                "predictor": predictor | {"predictor_pos_embed": narrow},
            }
            parts["encoder"] = dict(parts["target_encoder"])
            return Official("vjepa2", parts, _jepa, "@heads:3@head_heads:2", ("pos_embed", "predictor_pos_embed"))
        case "vjepa" | "surgrec-jepa":
            encoder, predictor = official.vjepa1_parts(GRID)
            taken, other = ("target_encoder", "encoder") if name == "vjepa" else ("encoder", "target_encoder")
            moved = {key: value if key == "pos_embed" else value + 1 for key, value in encoder.items()}
            parts = {taken: encoder, "predictor": predictor, other: moved}
            return Official(name, parts, _jepa, "@heads:2@head_heads:2@frames:4", ())
        case "vjepa2.1":
            encoder, predictor = official.vjepa21_parts(depth=depth_of_21)
            parts = {"target_encoder": encoder, "predictor": predictor, "encoder": encoder}
            drops = ("patch_embed_img.proj.weight", "patch_embed_img.proj.bias", "img_mod_embed")
            return Official("vjepa2.1", parts, _jepa, "@heads:2@head_heads:2", drops)
    raise AssertionError(name)


LAYOUTS = [
    "videomae, pretrained",
    "videomae, fine-tuned under module",
    "videomae, fine-tuned under model",
    "surgrec-mae",
    "vjepa",
    "surgrec-jepa",
    "vjepa2",
    "vjepa2.1",
]


def read(file: Official, path: Path) -> Pretrained:
    return _READERS[file.family](f"{file.write(path / 'w.pth', file.parts)}{file.options}")


def parts_that_are_read(file: Official) -> list[tuple[str, Weights]]:
    """The encoder that is taken by default, and the predictor."""
    return list(file.parts.items())[:2]
