"""Reading a file runs nothing that is in it, and what cannot be read is one sentence."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from surgrec.hub import weights_file
from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.weights_file import read_weights_file, sound, weights_at


class Payload:
    """A pickle that, when it is run, creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def one_sentence(path: Path) -> str:
    with pytest.raises(ForeignWeightsError) as caught:
        read_weights_file(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("place", ["alone", "beside weights", "without torch"])
def test_a_pickle_with_code_is_refused_and_nothing_executed(tmp_path: Path, place: str) -> None:
    trace, file = tmp_path / "trace", tmp_path / "weights.pth"
    if place == "without torch":
        file.write_bytes(pickle.dumps(Payload(trace), protocol=2))
    else:
        torch.save(Payload(trace) if place == "alone" else {"model": {"a": torch.ones(2)}, "x": Payload(trace)}, file)
    assert re.search(
        r"asks for (posix|nt)\.system, which is more than plain values and was not run", one_sentence(file)
    )
    assert not trace.exists()
    if place == "without torch":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert trace.exists(), "the payload is one"


@pytest.mark.parametrize("is_zipped", [True, False])
def test_plain_checkpoints_are_read_with_the_options_of_their_run(tmp_path: Path, is_zipped: bool) -> None:
    content = {"model": {"a": torch.arange(6.0)}, "epoch": 3, "args": argparse.Namespace(lr=1e-3, name="x")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zipped)
    found = read_weights_file(tmp_path / "w.pth")
    assert torch.equal(found["model"]["a"], content["model"]["a"])  # type: ignore[index]
    assert found["epoch"] == 3 and found["args"].lr == 1e-3


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "w.safetensors")
    assert torch.equal(read_weights_file(tmp_path / "w.safetensors")["a"], torch.ones(3))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "old.pth"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, name: str, share: float) -> None:
    weights, file = {"a": torch.randn(40, 40), "b": torch.randn(7)}, tmp_path / name
    if name == "w.safetensors":
        save_file(weights, file)
    else:
        torch.save(weights, file, _use_new_zipfile_serialization=name == "w.pth")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert "fetch it anew" in one_sentence(file)


@pytest.mark.parametrize(
    "content", [b"hello", b"\x00" * 100, b"<html>404</html>", b"PK\x03\x04 no zip", pickle.dumps(3)]
)
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_foreign_file_is_one_sentence(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    one_sentence(tmp_path / name)


def test_an_absent_file_and_one_without_names(tmp_path: Path) -> None:
    assert "no file of weights" in one_sentence(tmp_path / "absent.pt")
    torch.save(torch.ones(2), tmp_path / "tensor.pt")
    assert "holds a Tensor" in one_sentence(tmp_path / "tensor.pt")
    torch.save({0: torch.ones(2)}, tmp_path / "numbered.pt")
    assert "no weights by name" in one_sentence(tmp_path / "numbered.pt")


def test_the_weights_are_under_one_of_some_names() -> None:
    content = {"module": {"a": torch.ones(1)}, "epoch": 3}
    assert weights_at(content, ("model", "module"), "f")[0] == "module"
    with pytest.raises(ForeignWeightsError, match="no weights under model or epoch"):
        weights_at(content, ("model", "epoch"), "f")


# -- archives and truncation


def compressed(source: Path, to: Path) -> Path:
    """The same archive with its entries deflated."""
    with zipfile.ZipFile(source) as stored, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as deflated:
        for entry in stored.infolist():
            deflated.writestr(entry.filename, stored.read(entry))
    return to


def test_a_compressed_archive_holds_the_same_weights(tmp_path: Path) -> None:
    """Mapped into memory, its bytes would be taken for numbers."""
    weights = {"a": torch.randn(40, 40), "b": torch.zeros(300), "c": torch.arange(9)}
    torch.save({"model": weights}, tmp_path / "stored.pt")
    found = read_weights_file(compressed(tmp_path / "stored.pt", tmp_path / "deflated.pt"))["model"]
    assert found.keys() == weights.keys() and all(torch.equal(found[key], weights[key]) for key in weights)


def test_an_archive_that_unpacks_to_more_than_weights_could_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_file, "_UNPACKED_BYTES_OF_NO_CONCERN", 0)
    monkeypatch.setattr(torch, "load", lambda *args, **more: pytest.fail("it was read"))
    torch.save({"a": torch.zeros(500_000)}, tmp_path / "stored.pt")
    assert "unpacks to" in one_sentence(compressed(tmp_path / "stored.pt", tmp_path / "bomb.pt"))


def test_an_old_file_cut_at_any_byte_is_one_sentence(tmp_path: Path) -> None:
    """Cut inside a number, inside a name, between two values: each fails elsewhere in the reader."""
    content, file = {"model": {"a": torch.ones(2)}, "epoch": 70000, "loss": 1.5}, tmp_path / "old.pt"
    torch.save(content, file, _use_new_zipfile_serialization=False)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        said = one_sentence(file)  # a name that is cut short is one that the reader does not know
        assert "fetch it anew" in said or re.search(r"asks for \w[\w.]*\.\w+, which is more than plain", said), length
    file.write_bytes(whole)
    assert read_weights_file(file)["epoch"] == 70000


# -- tensors that are no weights

UNSOUND: dict[str, tuple[Callable[[], Tensor], str]] = {
    "meta": (lambda: torch.empty(4, 3, device="meta"), "without values"),
    "sparse": (lambda: torch.eye(4).to_sparse(), "in another form than a plain array"),
    "sparse rows": (lambda: torch.eye(4).to_sparse_csr(), "in another form than a plain array"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), "in another form"),
    "nan": (lambda: torch.tensor([1.0, float("nan")]), "with values that are not finite"),
    "infinite": (lambda: torch.tensor([1.0, -float("inf")], dtype=torch.bfloat16), "with values that are not finite"),
    "expanded": (lambda: torch.zeros((), dtype=torch.half).expand(10**12, 48), "expanded from 2 bytes"),
}


@pytest.mark.parametrize("kind", UNSOUND)
def test_tensors_that_are_no_weights_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    make, sentence = UNSOUND[kind]
    torch.save({"model": {"good": torch.ones(3), "bad": make()}}, tmp_path / "w.pt")
    content = read_weights_file(tmp_path / "w.pt")
    with pytest.raises(ForeignWeightsError, match=f"has bad .*{sentence}"):
        weights_at(content, ("model",), tmp_path / "w.pt")


def test_a_key_that_is_no_name_is_refused() -> None:
    with pytest.raises(ForeignWeightsError, match="has the key 0, which is no name of a weight"):
        sound({"a": torch.ones(1), 0: torch.ones(1)}, "f")


def test_every_plain_array_is_sound() -> None:
    """Views, no values at all, whole numbers, truth values, eight bits."""
    kinds = (torch.float64, torch.float16, torch.int8, torch.bool, torch.uint8, torch.float8_e4m3fn, torch.complex64)
    weights: dict[str, Any] = {str(kind): torch.ones(3).to(kind) for kind in kinds}
    weights |= {
        "view": torch.ones(4, 4).t()[1:, ::2],
        "empty": torch.empty(0, 5),
        "scalar": torch.tensor(2),
        "note": "x",
    }
    assert sound(weights, "f") == weights
