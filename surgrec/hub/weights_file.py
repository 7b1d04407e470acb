"""Reading a file of weights that others wrote, without running anything in it.

In: a path to a safetensors file or a PyTorch pickle. Out: what it holds, on the CPU. It is its own file because a pickle is a program:
here is the one place that opens one, and only with torch's reader for plain values (`weights_only=True`).
"""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from surgrec.hub.keys import ForeignWeightsError


def read_weights_file(path: str | Path) -> dict[str, Any]:
    """The dictionary that a file holds: tensors by name (safetensors), or whatever plain values a pickle has, nested.

    Tensors of a zipped pickle are mapped, not read, so that an optimiser state that nobody asks for costs nothing.
    Raises `ForeignWeightsError` for a file that is absent, truncated, of another kind, or that needs code to be run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ForeignWeightsError(f"there is no file of weights {path}; check the path")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not _is_named(content):
        raise ForeignWeightsError(f"{path} holds a {type(content).__name__} and no weights by name; check the file")
    return content


def weights_at(content: dict[str, Any], names: tuple[str, ...], path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """The first of `names` under which `content` holds weights, and those weights. Raises `ForeignWeightsError` where there is none."""
    for name in names:
        if _is_named(content.get(name)):
            return name, dict(content[name])
    there = ", ".join(list(content)[:5]) or "nothing"
    raise ForeignWeightsError(f"{path} has no weights under {' or '.join(names)} (it has {there}); check the family")


def _is_named(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(key, str) for key in content)


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ForeignWeightsError(f"{path} is no readable safetensors file ({_line(error)}); fetch it anew") from None


def _read_pickle(path: Path) -> Any:
    try:
        # official checkpoints carry the options of their run; a Namespace is a bag of values, and making one runs nothing
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is None:
            raise _unreadable(path) from None
        raise ForeignWeightsError(
            f"{path} is a pickle that asks for {asked[1]}, which is more than plain values and was not run; "
            "ask its author for safetensors, or for the weights alone"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, AssertionError):
        raise _unreadable(path) from None  # what torch's reader says of a broken file is about the reader


def _unreadable(path: Path) -> ForeignWeightsError:
    return ForeignWeightsError(f"{path} is no whole file of PyTorch weights; fetch it anew")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
