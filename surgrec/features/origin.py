"""What the features of one store have in common, and how their batches become chunks.

In: facts of a model and an extraction; batches of features. Out: a description to compare; whole chunks. It is its own file because
both formats of `store` keep exactly the same, and neither must need torch to say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from surgrec.core.errors import UserError
from surgrec.features.windows import WindowFeatures

FORMAT_VERSION = 1
Number = Literal["float32", "float16"]
_CHUNK_BYTES = 4 << 20


class StoreError(UserError):
    """A features folder that belongs to something else or is damaged."""


@dataclass(frozen=True)
class Origin:
    """Where features come from; a store takes no others.

    `model_sha256`: of the encoder's weights file; `layout` and `feature_shape` of one window: see `surgrec.features.extractor`.
    """

    model_sha256: str
    preprocessing: dict[str, Any]
    layout: str
    feature_shape: tuple[int, ...]
    stride_seconds: float
    window_seconds: float
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Number):
            raise StoreError(f"features cannot be kept as {self.dtype}; choose one of {', '.join(get_args(Number))}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format_version": FORMAT_VERSION, **asdict(self), "feature_shape": list(self.feature_shape)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Origin:
        """The inverse of `to_dict`. Raises `StoreError`."""
        content = dict(values)
        if content.pop("format_version", None) != FORMAT_VERSION:
            raise StoreError("the features were written by another version of surgrec; choose another --out")
        try:
            return cls(**content | {"feature_shape": tuple(content["feature_shape"])})
        except (KeyError, TypeError) as error:
            raise StoreError(f"the description of the features is damaged ({error}); choose another --out") from None

    def differences(self, other: Origin) -> list[str]:
        """Names of the facts in which two origins differ."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [name for name in mine if mine[name] != theirs[name]]

    @property
    def windows_per_chunk(self) -> int:
        """So that a chunk, or a row group, takes about 4 MB."""
        return max(1, _CHUNK_BYTES // (int(np.prod(self.feature_shape)) * np.dtype(self.dtype).itemsize))


class Chunks:
    """Gathers batches of one video and hands them on in chunks: `write(first, block)` gets the windows from number `first` on."""

    def __init__(self, origin: Origin, num_windows: int, write: Callable[[int, WindowFeatures], None]) -> None:
        self._origin, self._num_windows, self._write = origin, num_windows, write
        self._waiting: list[WindowFeatures] = []
        self._num_written = 0

    def append(self, batch: WindowFeatures) -> None:
        """Take the next windows. Raises `ValueError` for features of another shape."""
        if batch.features.shape[1:] != self._origin.feature_shape:
            raise ValueError(f"features {batch.features.shape[1:]} do not fit a store of {self._origin.feature_shape}")
        self._waiting.append(batch)
        size = self._origin.windows_per_chunk
        while sum(map(len, self._waiting)) >= size:
            gathered = _joined(self._waiting)
            self._hand_on(_part(gathered, slice(0, size)))
            self._waiting = [_part(gathered, slice(size, None))]

    def finish(self) -> None:
        """Hand on what is left. Raises `ValueError` where windows are missing or too many."""
        if sum(map(len, self._waiting)):
            self._hand_on(_joined(self._waiting))
        self._waiting = []
        if self._num_written != self._num_windows:
            raise ValueError(f"{self._num_written} windows were given, not {self._num_windows}")

    def _hand_on(self, block: WindowFeatures) -> None:
        self._write(self._num_written, block)
        self._num_written += len(block)


def _joined(batches: list[WindowFeatures]) -> WindowFeatures:
    columns = zip(*(vars(batch).values() for batch in batches), strict=True)
    return WindowFeatures(*map(np.concatenate, columns))


def _part(batch: WindowFeatures, span: slice) -> WindowFeatures:
    return WindowFeatures(*(column[span] for column in vars(batch).values()))
