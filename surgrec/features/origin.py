"""What the features of one store have in common, and how their batches become chunks.

In: facts of a model and an extraction; batches of features. Out: a description to compare; whole chunks. It is its own file because
both formats of `store` keep exactly the same, and neither must need torch to say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from surgrec.core.errors import UserError
from surgrec.features.windows import WindowFeatures

FORMAT_VERSION = 2  # 2: with model, precision, layers, and a checksum of each video's features
Number = Literal["float32", "float16"]
_CHUNK_BYTES = 4 << 20


class StoreError(UserError):
    """A features folder that belongs to something else or is damaged."""


@dataclass(frozen=True)
class Origin:
    """Where features come from; a store takes no others.

    `model` is a name for people, `model_sha256` decides: the digest of the encoder's weights. `layout`, `layers`, `precision` and the
    `feature_shape` of one window: see `surgrec.features.extractor`. `window_seconds` is a window's length, and a time step's in the layout
    `time` is that through their number.
    """

    model_sha256: str
    preprocessing: dict[str, Any]
    layout: str
    feature_shape: tuple[int, ...]
    stride_seconds: float
    window_seconds: float
    dtype: str = "float32"
    model: str = ""
    precision: str = "float32"
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Number):
            raise StoreError(f"features cannot be kept as {self.dtype}; choose one of {', '.join(get_args(Number))}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            **asdict(self),
            "feature_shape": list(self.feature_shape),
            "layers": list(self.layers),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Origin:
        """The inverse of `to_dict`. Raises `StoreError`."""
        content = dict(values)
        if content.pop("format_version", None) != FORMAT_VERSION:
            raise StoreError("the features were written by another version of surgrec; choose another --out")
        try:
            return cls(**content | {name: tuple(content[name]) for name in ("feature_shape", "layers")})
        except (KeyError, TypeError) as error:
            raise StoreError(f"the description of the features is damaged ({error}); choose another --out") from None

    def differences(self, other: Origin) -> list[str]:
        """Names of the facts in which two origins differ; what a model is called is none."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [name for name in mine if mine[name] != theirs[name] and name != "model"]

    @property
    def windows_per_chunk(self) -> int:
        """So that a chunk, or a row group, takes about 4 MB."""
        return max(1, _CHUNK_BYTES // (int(np.prod(self.feature_shape)) * np.dtype(self.dtype).itemsize))


class Chunks:
    """Gathers batches of one video and hands them on in chunks: `write(first, block)` gets the windows from number `first` on.

    Features are turned into the numbers that are kept (`Origin.dtype`). After `finish`, `features_sha256` is the digest of all of them, as
    `hashlib.sha256(array.tobytes())` gives it for the array (n, ...), little-endian.
    """

    def __init__(self, origin: Origin, num_windows: int, write: Callable[[int, WindowFeatures], None]) -> None:
        self._origin, self._num_windows, self._write = origin, num_windows, write
        self._waiting: list[WindowFeatures] = []
        self._num_written = 0
        self._digest = hashlib.sha256()

    @property
    def features_sha256(self) -> str:
        return self._digest.hexdigest()

    def append(self, batch: WindowFeatures) -> None:
        """Take the next windows. Raises `ValueError` for features of another shape."""
        if batch.features.shape[1:] != self._origin.feature_shape:
            raise ValueError(f"features {batch.features.shape[1:]} do not fit a store of {self._origin.feature_shape}")
        self._waiting.append(batch)
        size = self._origin.windows_per_chunk
        while sum(map(len, self._waiting)) >= size:
            gathered = joined(self._waiting)
            self._hand_on(_part(gathered, slice(0, size)))
            self._waiting = [_part(gathered, slice(size, None))]

    def finish(self) -> None:
        """Hand on what is left. Raises `ValueError` where windows are missing or too many."""
        if sum(map(len, self._waiting)):
            self._hand_on(joined(self._waiting))
        self._waiting = []
        if self._num_written != self._num_windows:
            raise ValueError(f"{self._num_written} windows were given, not {self._num_windows}")

    def _hand_on(self, block: WindowFeatures) -> None:
        kept = np.ascontiguousarray(block.features, np.dtype(self._origin.dtype).newbyteorder("<"))
        self._digest.update(kept.data)
        block = replace(block, features=kept)
        self._write(self._num_written, block)
        self._num_written += len(block)


def joined(batches: list[WindowFeatures]) -> WindowFeatures:
    """Consecutive batches as one."""
    columns = zip(*(vars(batch).values() for batch in batches), strict=True)
    return WindowFeatures(*map(np.concatenate, columns))


def _part(batch: WindowFeatures, span: slice) -> WindowFeatures:
    return WindowFeatures(*(column[span] for column in vars(batch).values()))
