"""Writing a release: the folder that is shared, whole or not at all.

In: a trained encoder, the other half of its objective, and where they come from. Out: a folder of plain files (see `folder`),
written beside its place and renamed. It is its own file because a release outlives the run: it holds no pickle, no optimiser, no
path of the machine that made it, and the same input always gives the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surgrec import __version__
from surgrec.core.atomic import sync_path, write_json, write_text
from surgrec.hub import folder as layout
from surgrec.hub.card import UNKNOWN, CardFacts, TrainingSource, family_began_with, model_card, without_paths
from surgrec.hub.card_footage import Footage
from surgrec.hub.card_results import Result
from surgrec.hub.citation import citation
from surgrec.hub.folder import FORMAT_VERSION, ReleaseError, head_file, read_sums, sums_text, verify
from surgrec.hub.head import Head
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder


@dataclass(frozen=True)
class Release:
    """What goes into a release.

    `distance`: lines `key old -> new`, how the run departs from its variant. `footage`: what is known of what it was trained on.
    """

    encoder: Encoder
    head: Head | None
    preprocess: ClipPreprocess
    variant: str
    objective: str
    step: int
    sources: tuple[TrainingSource, ...] = ()
    distance: tuple[str, ...] = ()
    licence: str = UNKNOWN
    footage: Footage = field(default_factory=Footage)
    results: tuple[Result, ...] = ()

    def config(self) -> dict[str, Any]:
        """The content of `config.json`."""
        head = {} if self.head is None else {self.head.kind: self.head.arguments}
        return {
            "format_version": FORMAT_VERSION,
            "library": "surgrec",
            "surgrec_version": __version__,
            "variant": self.variant,
            "objective": self.objective,
            "step": self.step,
            "encoder": self.encoder.architecture,
            **head,
            "distance_from_variant": list(without_paths(self.distance)),
            "footage": list(self.footage.fingerprints),
            "contamination": list(self.footage.standings),
            "allow_contamination": self.footage.is_allowed,
            "seen_is_whole": None if self.footage.seen is None else self.footage.is_whole,
            "downstream": [asdict(each) for each in self.footage.downstream],
        }


def write_release(release: Release, out: Path) -> bool:
    """Write `release` to the folder `out`; False where exactly this release is there already.

    Raises `ReleaseError` where `out` is anything else than absent, an empty folder, or this release.
    """
    out = Path(out)
    _refuse_foreign(out)
    with _partial_folder(out) as partial:
        _write_files(release, partial)
        if (out / layout.SUMS_FILE).is_file():
            _refuse_different(partial, out)
            return False
        for path in partial.iterdir():
            sync_path(path)
        sync_path(partial)
        partial.rename(out)  # replaces an empty folder
        sync_path(out.parent)
    return True


def _write_files(release: Release, folder: Path) -> None:
    _save_weights(release.encoder, folder / layout.ENCODER_FILE)
    if release.head is not None:
        _save_weights(release.head.module, folder / head_file(release.head.kind))
    write_json(folder / layout.CONFIG_FILE, release.config())
    write_json(folder / layout.PREPROCESSING_FILE, release.preprocess.to_dict())
    facts = _facts(release)
    write_text(folder / layout.CARD_FILE, model_card(facts))
    write_text(folder / layout.CITATION_FILE, citation(release.variant, release.step))
    if release.footage.seen is not None:
        write_text(folder / layout.SEEN_FILE, release.footage.seen_text())
    write_text(folder / layout.SUMS_FILE, sums_text(folder))


def _save_weights(module: nn.Module, path: Path) -> None:
    """float32, contiguous, on the CPU. One metadata entry only: safetensors writes several in an order that changes from run to run."""
    tensors = {name: _plain(tensor) for name, tensor in module.state_dict().items()}
    if broken := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise ReleaseError(f"the weight {broken[0]} is not finite; release an earlier step (--step)")
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes 0600; a release is for sharing


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous().clone()


def _facts(release: Release) -> CardFacts:
    files = [(layout.ENCODER_FILE, "the encoder's weights, float32")]
    if release.head is not None:
        files.append((head_file(release.head.kind), f"the {release.head.kind}, needed only to go on pretraining"))
    files += [
        (layout.CONFIG_FILE, "architecture, variant, step, distance from the variant"),
        (layout.PREPROCESSING_FILE, "clip geometry in seconds, size, normalisation, range of colours"),
        (layout.CITATION_FILE, "how to cite"),
    ]
    if release.footage.seen is not None:
        files.append((layout.SEEN_FILE, "ids of the videos that it has seen, their sources, and when first"))
    return CardFacts(
        variant=release.variant,
        objective=release.objective,
        step=release.step,
        num_parameters=sum(parameter.numel() for parameter in release.encoder.parameters()),
        architecture=release.encoder.architecture,
        preprocess=release.preprocess,
        sources=release.sources,
        distance=without_paths(release.distance),
        licence=release.licence,
        began_with=family_began_with(release.distance),
        footage=release.footage,
        results=release.results,
        files=tuple(files),
    )


def _refuse_foreign(out: Path) -> None:
    """Only an absent path, an empty folder or a release may be there."""
    is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not is_free and not (out / layout.SUMS_FILE).is_file():
        raise ReleaseError(f"{out} exists and is no release; choose another --out")


def _refuse_different(new: Path, out: Path) -> None:
    """Raise unless the release that lies in `out` is whole and equal to `new`."""
    old_sums, new_sums = read_sums(out), read_sums(new)
    if old_sums != new_sums:
        differing = sorted(name for name in old_sums | new_sums if old_sums.get(name) != new_sums.get(name))
        raise ReleaseError(
            f"{out} holds another release (different: {', '.join(differing)}); choose another --out or remove it"
        )
    verify(out)


@contextmanager
def _partial_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, removed again if it is still there at the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
