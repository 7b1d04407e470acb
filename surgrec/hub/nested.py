"""Where in a file of weights those of an image encoder lie.

In: a path. Out: the weights under the names that they have there, and the prefix of the encoder's names. It is its own file because
authors of several families save alike: the weights alone, or the whole state of a training run with the weights under one of a few names.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.pretrained import STEM
from surgrec.hub.weights_file import read_weights_file, sound

_NESTS = ("teacher", "model", "state_dict")
_PREFIXES = ("", "module.", "backbone.", "module.backbone.")


def find_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights of a vision transformer under the names that they have in the file, and the prefix of its names among them.

    They are `sound`. Raises `ForeignWeightsError` where they are not, and where no patch embedding is found, alone or where training
    checkpoints keep their weights.
    """
    content = read_weights_file(path)
    nests = {str(path): content}
    nests |= {f"{path} ({name})": content[name] for name in _NESTS if isinstance(content.get(name), dict)}
    for where, weights in nests.items():
        for prefix in _PREFIXES:
            if prefix + STEM in weights:
                return sound(weights, where), prefix
    raise ForeignWeightsError(
        f"{path} holds no vision transformer: it lacks {STEM}, alone and under {', '.join(_NESTS)}; check the file"
    )


def without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
