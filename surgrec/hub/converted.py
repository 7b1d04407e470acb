"""A folder that another library reads, made of a release.

In: a release, the clip that is wanted, and what writes the files. Out: a folder that is whole or absent, with the card, the citation, the
preprocessing and checksums of its own. It is its own file because all such folders share what must not be lost on the way: the terms of the
weights, where they come from, what became of positions, and the proof that the other library computes the same.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgrec import __version__
from surgrec.core.atomic import sync_path, write_json, write_text
from surgrec.hub import folder as layout
from surgrec.hub.folder import ReleaseError, read_sums, sha256_of, sums_text
from surgrec.hub.geometry import PositionsAsked, fit_clip
from surgrec.hub.load import LoadedModel, load_release
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

FACTS_FILE = "converted.json"
TOLERANCE = 1e-5  # of the largest feature, or of one where all are smaller


@dataclass(frozen=True)
class Source:
    """What a folder is made of: a release, for some clip."""

    release: LoadedModel
    encoder: Encoder
    preprocess: ClipPreprocess
    positions: str  # what became of them, for people


@dataclass(frozen=True)
class Kind:
    """One form: its name, what fills a folder and returns the deviation that it found, how it is used, the card's `library_name`."""

    name: str
    fill: Callable[[Source, Path], float]
    use: str
    library: str


def read_source(
    release: str | Path,
    *,
    revision: str | None = None,
    num_frames: int | None = None,
    pixels: int | None = None,
    positions: PositionsAsked | None = None,
) -> Source:
    """A release for clips of `num_frames` frames of `pixels` x `pixels`, see `fit_clip`. Raises `UserError`."""
    loaded = load_release(release, revision=revision)
    fitted = fit_clip(loaded.encoder, loaded.preprocess, num_frames=num_frames, pixels=pixels, positions=positions)
    return Source(loaded, fitted.encoder, fitted.preprocess, fitted.said)


def write_converted(kind: Kind, source: Source, out: Path) -> bool:
    """Write `source` in the form `kind` to the folder `out`; False where exactly that is there already.

    Raises `ReleaseError` where `out` is anything else than absent, an empty folder, or that; and for what the form cannot express.
    """
    out = Path(out)
    facts = _facts(kind, source)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _refuse_other(out, facts)
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        deviation = kind.fill(source, partial)
        write_json(partial / layout.PREPROCESSING_FILE, source.preprocess.to_dict())
        write_json(partial / FACTS_FILE, facts | {"largest_deviation": deviation})
        _write_card(kind, source, partial)
        write_text(partial / layout.SUMS_FILE, sums_text(partial))
        for path in partial.iterdir():
            path.chmod(0o644)
            sync_path(path)
        sync_path(partial)
        partial.rename(out)  # replaces an empty folder
        sync_path(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def deviation_of(found: Tensor, expected: Tensor, what: str) -> float:
    """The largest difference, in units of the largest expected value or of 1. Raises `ReleaseError` where it is above `TOLERANCE`."""
    if found.shape != expected.shape:
        raise ReleaseError(
            f"{what} gives {tuple(found.shape)} and this release {tuple(expected.shape)}; nothing was written"
        )
    deviation = float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
    if not deviation <= TOLERANCE:
        raise ReleaseError(
            f"{what} differs from this release by {deviation:.1e}, above {TOLERANCE:g}; nothing was written"
        )
    return deviation


def example_video(source: Source, batch: int = 1) -> Tensor:
    """Random values (B, C, T, H, W), always the same, of the clip that the folder is for."""
    encoder = source.encoder
    size = (batch, encoder.channels, encoder.num_frames, encoder.height_pixels, encoder.width_pixels)
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def _facts(kind: Kind, source: Source) -> dict[str, Any]:
    preprocess = source.preprocess
    return {
        "made_by": f"surgrec {__version__}",
        "form": kind.name,
        "encoder_sha256": source.release.sha256,
        "num_frames": preprocess.num_frames,
        "crop_pixels": preprocess.pixels.crop_pixels,
        "positions": source.positions or "as in training",
    }


def _refuse_other(out: Path, facts: dict[str, Any]) -> None:
    """Raise unless `out` holds exactly what would be written, unchanged since."""
    facts_file = out / FACTS_FILE
    if not out.is_dir() or not facts_file.is_file():
        raise ReleaseError(f"{out} exists and is no converted release; choose another --out")
    for name, digest in read_sums(out).items():
        if not (out / name).is_file() or sha256_of(out / name) != digest:
            raise ReleaseError(
                f"{name} in {out} is not the file that {layout.SUMS_FILE} lists; remove {out} and convert again"
            )
    there = json.loads(facts_file.read_text(encoding="utf-8"))
    if different := sorted(key for key in facts if there.get(key) != facts[key]):
        raise ReleaseError(
            f"{out} holds another one (different: {', '.join(different)}); choose another --out or remove it"
        )


def _write_card(kind: Kind, source: Source, folder: Path) -> None:
    """The release's card with the use of this form, and its citation, where it has them."""
    release = source.release.folder
    assert release is not None
    if (release / layout.CITATION_FILE).is_file():
        shutil.copyfile(release / layout.CITATION_FILE, folder / layout.CITATION_FILE)
    if not (release / layout.CARD_FILE).is_file():
        return
    card = (release / layout.CARD_FILE).read_text(encoding="utf-8")
    card = card.replace("library_name: surgrec\n", f"library_name: {kind.library}\n", 1)
    positions = f"\n\nMade for another clip than that of training: {source.positions}." if source.positions else ""
    use = f"## Use\n\n{kind.use}{positions}\n\nMade by `surgrec convert` of the release that this card describes.\n\n"
    files = f"## Files\n\nThose that {kind.library} reads, and `{layout.SUMS_FILE}`, which lists them all.\n"
    card = re.sub(r"^## Use\n.*?(?=^## |\Z)", lambda _: use, card, flags=re.MULTILINE | re.DOTALL)
    card = re.sub(r"^## Files\n.*?(?=^## |\Z)", lambda _: files, card, flags=re.MULTILINE | re.DOTALL)
    write_text(folder / layout.CARD_FILE, card)
