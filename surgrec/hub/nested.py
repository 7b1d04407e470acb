"""Where in a file of weights those of an encoder lie.

In: what follows `FAMILY:`, and the name of a weight that every model of the family has. Out: the path with what was said beside it, and
the weights with the prefix of their names. It is its own file because authors of several families save alike: the weights alone, or
the whole state of a training run.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.weights_file import read_weights_file

STEM = "patch_embed.proj.weight"
_HEADS = "heads:"
_NESTS = ("teacher", "model", "state_dict")
_PREFIXES = ("", "module.", "backbone.", "module.backbone.")


def split_source(source: str) -> tuple[Path, str | None, int | None]:
    """The path of `PATH`, `PATH@NAME` or `PATH@heads:N`, the name, and the number of heads; None where not said.

    An "@" that belongs to the path is left there. Raises `ForeignWeightsError` where heads are announced and no number follows.
    """
    path, at, said = source.rpartition("@")
    if not at or "/" in said or Path(source).expanduser().exists():
        return Path(source).expanduser(), None, None
    if not said.startswith(_HEADS):
        return Path(path).expanduser(), said, None
    number = said.removeprefix(_HEADS)
    if not number.isdecimal() or not int(number):
        raise ForeignWeightsError(f"{source} ends in no number of heads; write PATH@heads:6")
    return Path(path).expanduser(), None, int(number)


def find_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights of a vision transformer under the names that they have in the file, and the prefix of its names among them.

    Raises `ForeignWeightsError` where no patch embedding is found, alone or where training checkpoints keep their weights.
    """
    content = read_weights_file(path)
    nests = [content, *(content[name] for name in _NESTS if isinstance(content.get(name), dict))]
    for weights in nests:
        for prefix in _PREFIXES:
            if prefix + STEM in weights:
                return weights, prefix
    raise ForeignWeightsError(
        f"{path} holds no vision transformer: it lacks {STEM}, alone and under {', '.join(_NESTS)}; check the file"
    )


def without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
