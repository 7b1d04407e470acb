"""Reading a file runs nothing that is in it, and what cannot be read is one sentence."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.weights_file import read_weights_file, weights_at


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
