"""Reading a file of weights that others wrote, without running anything in it.

In: a path to a safetensors file or a PyTorch pickle. Out: what it holds, on the CPU. It is its own file because a pickle is a program:
here is the one place that opens one, and only with torch's reader for plain values (`weights_only=True`); and because a file can hold
tensors that are no weights (without values, expanded from one number, not finite), which no reader of a family should meet.
"""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from surgrec.hub.keys import ForeignWeightsError

# An archive with compressed entries is unpacked into memory. Zeros shrink a thousandfold and trained weights hardly at all, so one that
# unpacks to many times its size is no weights.
_MOST_UNPACKED_SHARE = 20
_UNPACKED_BYTES_OF_NO_CONCERN = 2**26
# What reading a broken file may end in, by where it is broken.
_BROKEN = (
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    MemoryError,
    ArithmeticError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
)


def read_weights_file(path: str | Path) -> dict[str, Any]:
    """The dictionary that a file holds: tensors by name (safetensors), or whatever plain values a pickle has, nested.

    Tensors of a zipped pickle are mapped, not read, so that an optimiser state that nobody asks for costs nothing; a compressed archive
    is read.
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
    """The first of `names` under which `content` holds weights, and those weights. Raises `ForeignWeightsError` where none are `sound`."""
    for name in names:
        if isinstance(content.get(name), dict):
            return name, sound(content[name], f"{path} ({name})")
    there = ", ".join(list(content)[:5]) or "nothing"
    raise ForeignWeightsError(f"{path} has no weights under {' or '.join(names)} (it has {there}); check the family")


def sound(weights: Mapping[Any, Any], where: str | Path) -> dict[str, Any]:
    """The same weights; every tensor among them is a plain array with values of its own, all finite. `where` names the origin in the error.

    Raises `ForeignWeightsError`, naming the key, for a key that is no name and for a tensor without values, sparse or quantised, expanded
    (larger than what the file stores of it, so that copying it could fill the memory), or with a value that is not finite.
    """
    for key, value in weights.items():
        if not isinstance(key, str):
            raise ForeignWeightsError(f"{where} has the key {key!r}, which is no name of a weight; check the file")
        reason = _unsound(value) if isinstance(value, Tensor) else None
        if reason is not None:
            raise ForeignWeightsError(f"{where} has {key} {reason}, which are no weights; check the file")
    return dict(weights)


def _unsound(tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "without values"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        return f"in another form than a plain array ({tensor.layout}, {tensor.dtype})"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"of shape {tuple(tensor.shape)} expanded from {tensor.untyped_storage().nbytes()} bytes"
    # not every type of one byte can be asked
    if not torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all():
        return "with values that are not finite"
    return None


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
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\w[\w.]*\.\w+)", str(error))
        if asked is None:
            raise _unreadable(path) from None
        raise ForeignWeightsError(
            f"{path} is a pickle that asks for {asked[1]}, which is more than plain values and was not run; "
            "ask its author for safetensors, or for the weights alone"
        ) from None
    except _BROKEN:
        raise _unreadable(path) from None  # what torch's reader says of a broken file is about the reader


def _can_be_mapped(path: Path) -> bool:
    """Whether the file is an archive with nothing compressed; torch maps compressed entries too, and takes their bytes for values.

    Raises `ForeignWeightsError` for one that unpacks to far more than weights could.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if unpacked > max(_UNPACKED_BYTES_OF_NO_CONCERN, _MOST_UNPACKED_SHARE * size):
        raise ForeignWeightsError(
            f"{path} has {size} bytes and unpacks to {unpacked}, which weights do not; it was not read, check the file"
        )
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _unreadable(path: Path) -> ForeignWeightsError:
    return ForeignWeightsError(f"{path} is no whole file of PyTorch weights; fetch it anew")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
