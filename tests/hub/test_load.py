"""Loading gives back the trained encoder bit for bit, or one sentence that names what is wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import surgrec
from surgrec.core.errors import UserError
from surgrec.hub.folder import sums_text
from surgrec.hub.load import load_model, load_release
from surgrec.hub.release import write_release
from tests.hub.build import small_release, written
from tests.hub.fake_hub import FakeHub, fake_hub

__all__ = ["fake_hub"]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return written(tmp_path / "release")


def renew_sums(folder: Path) -> None:
    """Make the checksums right again after a change, so that what comes after them is tested."""
    (folder / "SHA256SUMS").write_text(sums_text(folder))


def frames(num: int = 4) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (num, 50, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize("variant", ["mae", "jepa", "dense jepa"])
def test_the_round_trip_is_bitwise(tmp_path: Path, variant: str) -> None:
    made = small_release(variant)
    write_release(made, tmp_path / "release")
    encoder, preprocess = surgrec.load_model(tmp_path / "release")
    expected = made.encoder.state_dict()
    assert encoder.architecture == made.encoder.architecture and encoder.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in encoder.state_dict().items())
    assert not encoder.training and not any(parameter.requires_grad for parameter in encoder.parameters())
    video = preprocess(frames())
    assert video.shape == (1, 3, 4, 32, 32) and video.dtype == torch.float32
    tokens = encoder(video)
    assert tokens.shape == (1, 2 * 4 * 4, 48) and not tokens.requires_grad
    assert torch.equal(tokens, made.encoder.eval()(made.preprocess(frames())))


def test_preprocess_takes_torch_and_flipped_views(release: Path) -> None:
    _, preprocess = load_model(str(release))
    pixels = frames()
    assert torch.equal(preprocess(torch.from_numpy(pixels)), preprocess(pixels))
    assert torch.equal(preprocess(pixels[..., ::-1]), preprocess(pixels[..., ::-1].copy()))
    with pytest.raises(ValueError, match="uint8"):
        preprocess(pixels.astype(np.float32))


def test_the_digest_names_the_weights(release: Path) -> None:
    digest = hashlib.sha256((release / "encoder.safetensors").read_bytes()).hexdigest()
    assert load_release(release).sha256 == digest


@pytest.mark.parametrize("name", ["encoder.safetensors", "predictor.safetensors", "config.json", "README.md"])
def test_a_changed_byte_is_refused(release: Path, name: str) -> None:
    content = bytearray((release / name).read_bytes())
    content[len(content) // 2] ^= 1
    (release / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} in .* is not the file"):
        load_model(release)


def test_a_missing_file_is_refused(release: Path) -> None:
    (release / "preprocessing.json").unlink()
    with pytest.raises(UserError, match=r"preprocessing\.json is missing"):
        load_model(release)


def test_without_checksums_a_folder_is_no_release(release: Path) -> None:
    (release / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="has no SHA256SUMS"):
        load_model(release)


def test_checksums_must_cover_what_is_read(release: Path) -> None:
    lines = [line for line in (release / "SHA256SUMS").read_text().splitlines() if "config.json" not in line]
    (release / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"config\.json"):
        load_model(release)


@pytest.mark.parametrize("line", ["nonsense", f"{'0' * 64}  ../encoder.safetensors", f"{'0' * 64}  a/b.json"])
def test_checksums_of_something_else_are_refused(release: Path, line: str) -> None:
    with (release / "SHA256SUMS").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match="no checksum of a file beside it"):
        load_model(release)


def test_an_unlisted_file_is_refused_but_what_git_puts_there_is_not_looked_at(release: Path) -> None:
    (release / ".gitattributes").write_text("x")
    (release / ".git").mkdir()
    load_model(release)
    (release / ".hidden.json").write_text("{}")
    with pytest.raises(UserError, match=r"\.hidden\.json, which is no part"):
        load_model(release)
    (release / ".hidden.json").unlink()
    (release / "extra.json").write_text("{}")
    with pytest.raises(UserError, match=r"extra\.json.* does not list"):
        load_model(release)


class Explosive:
    """What a malicious checkpoint does."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (exit, ("the pickle was run",))


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.PKL"])
def test_a_pickle_is_refused_even_if_it_is_listed(release: Path, name: str, is_listed: bool) -> None:
    (release / name).write_bytes(pickle.dumps(Explosive()))
    if is_listed:
        renew_sums(release)
    with pytest.raises(UserError, match=f"{name}, a pickle"):
        load_model(release)


def pickled(protocol: int) -> bytes:
    return pickle.dumps(Explosive(), protocol)


def zipped() -> bytes:
    """As torch saves."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    return buffer.getvalue()


DISGUISES = {
    "a pickle": pickled(4),
    "a pickle of protocol 2": pickled(2),
    "a pickle as text": pickled(0),
    "what torch saves": zipped(),
    "a compressed archive": gzip.compress(pickled(4)),
}
RENAMED = (
    "encoder.safetensors",
    "predictor.safetensors",
    "config.json",
    "README.md",
    "CITATION.cff",
    "extra.csv",
    "extra.json",
)


@pytest.mark.parametrize("name", RENAMED)
@pytest.mark.parametrize("kind", DISGUISES)
def test_a_pickle_under_any_other_name_is_refused(release: Path, name: str, kind: str) -> None:
    """Also in files that loading never opens: somebody else may."""
    (release / name).write_bytes(DISGUISES[kind])
    renew_sums(release)
    with pytest.raises(UserError, match=f"holds {name}, which"):
        load_model(release)


def test_an_archive_behind_or_within_the_weights_is_refused(release: Path) -> None:
    path = release / "predictor.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole + zipped())
    renew_sums(release)
    with pytest.raises(UserError, match=r"predictor\.safetensors, which is a zip archive"):
        load_model(release)
    archive = zipped() + bytes(-len(zipped()) % 4)
    save_file({"zz": torch.frombuffer(bytearray(archive), dtype=torch.uint8)[: len(zipped())].clone()}, path)
    renew_sums(release)
    with pytest.raises(UserError, match=r"predictor\.safetensors, which has an archive hidden"):
        load_model(release)


def test_links_pipes_and_folders_are_no_files_of_a_release(release: Path) -> None:
    sums = (release / "SHA256SUMS").read_text()
    (release / "more.json").mkdir()
    with pytest.raises(UserError, match=r"more\.json, which SHA256SUMS does not list"):
        load_model(release)
    (release / "SHA256SUMS").write_text(f"{sums}{'0' * 64}  more.json\n")
    with pytest.raises(UserError, match=r"more\.json is missing"):
        load_model(release)
    (release / "more.json").rmdir()
    os.mkfifo(release / "more.json")
    with pytest.raises(UserError, match=r"more\.json is missing"):
        load_model(release)


def test_cards_and_citations_that_people_write_are_read(release: Path) -> None:
    (release / "README.md").write_text("# A card\n\nin\nfour\nlines.\n")
    (release / "CITATION.cff").write_text("\ufeff# by hand\ncff-version: 1.2.0\n", encoding="utf-8")
    renew_sums(release)
    load_model(release)


def missing(tensors: dict[str, Tensor]) -> None:
    del tensors["norm.bias"]


def extra(tensors: dict[str, Tensor]) -> None:
    tensors["norm.gain"] = torch.zeros(3)


def renamed(tensors: dict[str, Tensor]) -> None:
    tensors["norm.gain"] = tensors.pop("norm.bias")


def misshapen(tensors: dict[str, Tensor]) -> None:
    tensors["norm.bias"] = torch.zeros(7)


def halved(tensors: dict[str, Tensor]) -> None:
    tensors["norm.bias"] = tensors["norm.bias"].half()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (missing, "lacks norm.bias;"),
        (extra, "has the unknown norm.gain;"),
        (renamed, "lacks norm.bias and has the unknown norm.gain;"),
        (misshapen, r"has the misfit norm.bias torch.float32 \(7,\) instead of torch.float32 \(48,\)"),
        (halved, r"has the misfit norm.bias torch.float16"),
    ],
)
def test_every_key_is_accounted_for(release: Path, change: Callable[[dict[str, Tensor]], None], sentence: str) -> None:
    tensors = load_file(release / "encoder.safetensors")
    change(tensors)
    save_file(tensors, release / "encoder.safetensors", metadata={"format": "pt"})
    renew_sums(release)
    with pytest.raises(UserError, match=sentence):
        load_model(release)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    renew_sums(path.parent)


def test_what_this_version_does_not_know_is_refused(release: Path) -> None:
    edit(release / "config.json", format_version=2)
    with pytest.raises(UserError, match="release format 2"):
        load_model(release)
    edit(release / "config.json", format_version=1, encoder={"width": 3})
    with pytest.raises(UserError, match="describes no encoder"):
        load_model(release)


def test_preprocessing_must_be_complete_and_rgb(release: Path) -> None:
    edit(release / "preprocessing.json", colour="BGR")
    with pytest.raises(UserError, match="'BGR'"):
        load_model(release)
    edit(release / "preprocessing.json", colour="RGB", sharpen=2)
    with pytest.raises(UserError, match="sharpen"):
        load_model(release)


@pytest.mark.parametrize("device", ["abacus", "cuda:63"])
def test_a_device_that_is_not_there_is_said_so(release: Path, device: str) -> None:
    with pytest.raises(UserError, match=device):
        load_model(release, device=device)


# -- names of the hub (more in test_fetch.py)


def test_without_the_hub_package_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        load_model("surgeons/nothing")


def test_a_path_that_is_not_there_never_asks_the_hub(tmp_path: Path, fake_hub: FakeHub) -> None:
    for path in (tmp_path / "absent", "./absent/release", "a/b/c", "../up"):
        with pytest.raises(UserError, match="no release folder"):
            load_model(path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        load_model(tmp_path / "file")
    assert fake_hub.asked == []
