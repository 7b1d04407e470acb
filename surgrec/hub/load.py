"""Reading a release: `surgrec.load_model`.

In: where a release is (see `address`). Out: an encoder and its preprocessing. It is its own file because it trusts nothing: checksums
first, then plain formats only, then every key of the weights accounted for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.hub import folder as layout
from surgrec.hub.address import parse_address
from surgrec.hub.fetch import fetch
from surgrec.hub.folder import FORMAT_VERSION, ReleaseError, checksum_of, verify
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor

Head = TypeVar("Head", Decoder, Predictor)


@dataclass(frozen=True)
class LoadedModel:
    """A release in memory. `sha256` is the digest of the encoder's weights: the model's name in everything made with it. `checksum` is
    that of the whole release; `folder` is where it was read from."""

    encoder: Encoder
    preprocess: ClipPreprocess
    config: dict[str, Any]
    sha256: str
    checksum: str = ""
    folder: Path | None = None


def load_model(
    path_or_name: str | Path,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    checksum: str | None = None,
) -> tuple[Encoder, ClipPreprocess]:
    """The encoder and the preprocessing of a release.

    `encoder(video)` gives tokens (1, N, D) of the video (1, C, T, H, W) that `preprocess(frames)` makes of uint8 frames
    (T, H, W, 3). The encoder is in evaluation mode and needs no gradient.

    Args:
        path_or_name: a folder that `surgrec export` wrote or a .zip of it, its name on the Hugging Face hub, or the URL of its
            `SHA256SUMS` or .zip; pins may follow, `NAME@COMMIT` and `...#sha256=CHECKSUM` (see surgrec/hub/address.py).
        device: where the encoder lies and `preprocess` puts videos.
        revision: of the hub: a commit (which never changes), branch or tag.
        checksum: what the checksum of the release must be, 64 hexadecimal digits: the SHA-256 of its `SHA256SUMS`.

    Raises `UserError` where there is none, where it is another one than the pins say, and for a file that is changed, missing, unlisted
    or not safe to read. What is not on this machine and not pinned is loaded with a warning that names the pin.
    """
    loaded = load_release(path_or_name, device, revision, checksum)
    return loaded.encoder, loaded.preprocess


def load_release(
    path_or_name: str | Path,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    checksum: str | None = None,
) -> LoadedModel:
    """Like `load_model`, with the configuration, the digest of the weights, the checksum and the folder of the release."""
    chosen = usable_device(device)
    address = parse_address(path_or_name, revision, checksum)
    folder = fetch(address)
    sums = verify(folder, address.checksum)
    config = _read_json(folder / layout.CONFIG_FILE)
    _refuse_newer(folder, config)
    try:
        preprocess = ClipPreprocess.from_dict(_read_json(folder / layout.PREPROCESSING_FILE), str(chosen))
    except (TypeError, ValueError) as error:
        raise ReleaseError(f"{layout.PREPROCESSING_FILE} of {folder} makes no sense: {error}") from None
    encoder = _build(folder, config, chosen)
    return LoadedModel(encoder, preprocess, config, sums[layout.ENCODER_FILE], checksum_of(folder), folder)


def load_decoder(folder: Path, device: str | torch.device = "cpu") -> Decoder | None:
    """The decoder that an MAE release keeps beside its encoder, to show what it makes of hidden patches; None where it has none.

    `folder`: of the release, as `load_release` tells it. Raises `UserError` as that does.
    """
    return _load_head(folder, "decoder", Decoder, device)


def load_predictor(folder: Path, device: str | torch.device = "cpu") -> Predictor | None:
    """The predictor that a JEPA release keeps beside its encoder, to go on pretraining; otherwise like `load_decoder`."""
    return _load_head(folder, "predictor", Predictor, device)


def _load_head(folder: Path, kind: str, built: type[Head], device: str | torch.device) -> Head | None:
    chosen = usable_device(device)
    path = folder / layout.head_file(kind)
    if path.name not in verify(folder):
        return None
    arguments = _read_json(folder / layout.CONFIG_FILE).get(kind)
    try:
        with torch.device("meta"):
            head = built(**arguments)  # type: ignore[arg-type]
    except TypeError as error:
        raise ReleaseError(f"{layout.CONFIG_FILE} of {folder} describes no {kind} of this version: {error}") from None
    tensors = _read_tensors(path, chosen)
    _account_for_every_key(path, head.state_dict(), tensors, of=kind)
    head.load_state_dict(tensors, strict=True, assign=True)
    return head.eval().requires_grad_(False)


def _build(folder: Path, config: dict[str, Any], device: torch.device) -> Encoder:
    architecture = config.get("encoder")
    try:
        with torch.device("meta"):
            encoder = Encoder(**architecture)  # type: ignore[arg-type]
    except TypeError as error:
        raise ReleaseError(f"{layout.CONFIG_FILE} of {folder} describes no encoder of this version: {error}") from None
    path = folder / layout.ENCODER_FILE
    tensors = _read_tensors(path, device)
    _account_for_every_key(path, encoder.state_dict(), tensors)
    encoder.load_state_dict(tensors, strict=True, assign=True)
    return encoder.eval().requires_grad_(False)


def _read_tensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise ReleaseError(f"{path} is no readable safetensors file ({error}); fetch the release anew") from None


def _account_for_every_key(
    path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor], of: str = "encoder"
) -> None:
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
            f"{path} does not fit the {of} of {layout.CONFIG_FILE}: it {' and '.join(said)}; export it again"
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


def usable_device(device: str | torch.device) -> torch.device:
    """The device, on which this torch can compute. Raises `UserError` for any other."""
    try:
        chosen = torch.device(device)
        if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
            raise UserError(
                f"device {device} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices; use cpu"
            )
        is_there = chosen.type != "meta" and not (chosen.type == "cpu" and chosen.index)
        if chosen.type != "cuda":  # where this would take memory of the GPU, also for a process that only starts others
            torch.empty(0, device=chosen)
    except (RuntimeError, NotImplementedError, AssertionError, ModuleNotFoundError):
        is_there = False
    if not is_there:
        raise UserError(f"there is no device {str(device)!r} here; use cpu, cuda or cuda:N")
    return chosen
