"""Reading a release: `surgrec.load_model`.

In: a folder, or the name of a repository on the Hugging Face hub. Out: an encoder and its preprocessing. It is its own file
because it trusts nothing: checksums first, then plain formats only, then every key of the weights accounted for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.hub import folder as layout
from surgrec.hub.folder import FORMAT_VERSION, HEADS, ReleaseError, head_file, verify
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class LoadedModel:
    """A release in memory. `sha256` is the digest of the encoder's weights: the model's name in everything made with it."""

    encoder: Encoder
    preprocess: ClipPreprocess
    config: dict[str, Any]
    sha256: str
    folder: Path | None = None


def load_model(
    path_or_name: str | Path, device: str | torch.device = "cpu", revision: str | None = None
) -> tuple[Encoder, ClipPreprocess]:
    """The encoder and the preprocessing of a release.

    `encoder(video)` gives tokens (1, N, D) of the video (1, C, T, H, W) that `preprocess(frames)` makes of uint8 frames
    (T, H, W, 3). The encoder is in evaluation mode and needs no gradient. `path_or_name`: a folder that `surgrec export` wrote, or
    the name of such a folder on the Hugging Face hub, of which `revision` picks a branch, tag or commit.
    Raises `UserError` where there is none, and for a file that is changed, missing, unlisted or not safe to read.
    """
    loaded = load_release(path_or_name, device, revision)
    return loaded.encoder, loaded.preprocess


def load_release(
    path_or_name: str | Path, device: str | torch.device = "cpu", revision: str | None = None
) -> LoadedModel:
    """Like `load_model`, with the configuration and the digest of the weights."""
    chosen = _device(device)
    folder = _find(path_or_name, revision)
    sums = verify(folder)
    config = _read_json(folder / layout.CONFIG_FILE)
    _refuse_newer(folder, config)
    try:
        preprocess = ClipPreprocess.from_dict(_read_json(folder / layout.PREPROCESSING_FILE), str(chosen))
    except (TypeError, ValueError) as error:
        raise ReleaseError(f"{layout.PREPROCESSING_FILE} of {folder} makes no sense: {error}") from None
    encoder = _build(folder, config, chosen)
    return LoadedModel(encoder, preprocess, config, sums[layout.ENCODER_FILE], folder)


def _build(folder: Path, config: dict[str, Any], device: torch.device) -> Encoder:
    architecture = config.get("encoder")
    try:
        with torch.device("meta"):
            encoder = Encoder(**architecture)  # type: ignore[arg-type]
    except TypeError as error:
        raise ReleaseError(f"{layout.CONFIG_FILE} of {folder} describes no encoder of this version: {error}") from None
    path = folder / layout.ENCODER_FILE
    try:
        tensors = load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise ReleaseError(f"{path} is no readable safetensors file ({error}); fetch the release anew") from None
    _account_for_every_key(path, encoder.state_dict(), tensors)
    encoder.load_state_dict(tensors, strict=True, assign=True)
    return encoder.eval().requires_grad_(False)


def _account_for_every_key(path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise `ReleaseError`, naming the keys, unless `found` has exactly the keys of `wanted`, in shape and type."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    misshapen = [
        f"{name} {found[name].dtype} {tuple(found[name].shape)} instead of {wanted[name].dtype} {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & found.keys())
        if found[name].shape != wanted[name].shape or found[name].dtype != wanted[name].dtype
    ]
    problems = [("lacks", missing), ("has the unknown", extra), ("has the misfit", misshapen)]
    said = [f"{verb} {_some(names)}" for verb, names in problems if names]
    if said:
        raise ReleaseError(
            f"{path} does not fit the encoder of {layout.CONFIG_FILE}: it {' and '.join(said)}; export it again"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _refuse_newer(folder: Path, config: dict[str, Any]) -> None:
    version = config.get("format_version")
    if not isinstance(version, int):
        raise ReleaseError(f"{layout.CONFIG_FILE} of {folder} has no format_version; `surgrec export` writes releases")
    if version > FORMAT_VERSION:
        raise ReleaseError(
            f"{folder} has release format {version}, this surgrec reads up to {FORMAT_VERSION}; upgrade surgrec"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReleaseError(f"{path} is no JSON ({error}); export the release again") from None
    if not isinstance(content, dict):
        raise ReleaseError(f"{path} is no JSON object; export the release again")
    return content


def _device(device: str | torch.device) -> torch.device:
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UserError(f"there is no device {device!r}; use cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device {device} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices; use cpu"
        )
    return chosen


# -- finding


def _find(path_or_name: str | Path, revision: str | None) -> Path:
    """The folder of a release on this machine, fetched first where a name of the hub is given."""
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ReleaseError(f"{path} is a file; give the release folder that `surgrec export` wrote")
    name = str(path_or_name)
    if not _HUB_NAME.fullmatch(name):
        raise ReleaseError(f"there is no release folder {path}; `surgrec export` writes one")
    return _fetch(name, revision)


def _fetch(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise ReleaseError(
            f"there is no folder {name} here, and to look for it on the Hugging Face hub the package huggingface_hub is needed: "
            "pip install huggingface_hub"
        ) from None
    wanted = [getattr(layout, constant) for constant in dir(layout) if constant.endswith("_FILE")]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*wanted, *map(head_file, HEADS)]))
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReleaseError(
            f"there is no release folder {name} here, and the Hugging Face hub did not give one of that name "
            f"({type(error).__name__}: {reason}); check the name, the connection and the rights to it"
        ) from None
