"""What an extraction was asked to do, in plain values.

In: the values of the flags. Out: an extractor and the description of its store. It is its own file because several processes build the
same from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgrec.features.extraction import origin_of
from surgrec.features.extractor import Extractor, Layout, Precision
from surgrec.features.origin import Origin


@dataclass(frozen=True)
class Settings:
    """`model`: a release, or a baseline as `surgrec.features.baseline` reads it; the rest: see `Extractor` and `claim_store`.

    `num_frames` and `frame_interval_seconds` are the clip of a baseline that has none of its own; a release says its own.
    """

    model: str
    out: Path
    file_format: str
    device: str
    layout: Layout
    layers: tuple[str, ...]
    precision: Precision
    dtype: str
    stride_seconds: float | None
    batch_size: int
    num_threads: int
    keep_short: bool
    num_frames: int | None = None
    frame_interval_seconds: float | None = None

    def build(self, device: str | None = None, num_readers: int = 1) -> tuple[Extractor, Origin]:
        """The extractor on `device`, and what its features have in common."""
        from surgrec.features.baseline import load_any

        model = load_any(self.model, device or self.device, self.num_frames, self.frame_interval_seconds)
        extractor = Extractor(
            model.encoder,
            model.preprocess,
            stride_seconds=self.stride_seconds,
            layout=self.layout,
            layers=self.layers,
            precision=self.precision,
            batch_size=self.batch_size,
            num_threads=max(1, self.num_threads // num_readers),
        )
        return extractor, origin_of(extractor, model.sha256, self.dtype, model.name)
