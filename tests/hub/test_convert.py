"""What other libraries read of a release computes the same there; what they cannot express is refused, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import surgrec
from surgrec import convert
from surgrec.core.console import run_command
from surgrec.data.preprocess import PreprocessSpec
from surgrec.hub.converted import TOLERANCE, deviation_of
from surgrec.hub.folder import ReleaseError, read_sums, sha256_of
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder
from tests.hub.build import MEAN, PREPROCESS, STD, small_release, written

transformers = pytest.importorskip("transformers")


def run(*arguments: object) -> int:
    return run_command(lambda: convert.main(list(map(str, arguments))))


@pytest.fixture(scope="module", params=["mae", "jepa"])
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("release") / request.param, request.param)


@pytest.fixture(scope="module")
def theirs(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("theirs") / "folder"
    assert run("--model", release, "--to", "transformers", "--out", out) == 0
    return out


def frames(height: int, width: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (4, height, width, 3), dtype=np.uint8)


def tokens_of(folder: Path, pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    """As the card of the folder says."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoVideoProcessor.from_pretrained(folder)
    with torch.no_grad():
        return model(**processor(list(pixels), return_tensors="pt")).last_hidden_state


@pytest.mark.parametrize("size", [(32, 32), (40, 40), (72, 101), (101, 72), (41, 57), (20, 31)])
def test_frames_become_the_same_tokens_in_transformers(release: Path, theirs: Path, size: tuple[int, int]) -> None:
    """Shrunk, grown, upright and with a long side that is no whole number: (72, 101) is 40 x 56.1, (41, 57) is 40 x 55.6."""
    encoder, preprocess = surgrec.load_model(release)
    expected = encoder(preprocess(frames(*size)))
    assert (tokens_of(theirs, frames(*size).astype(np.float32)) - expected).abs().max() < 1e-5


def test_whole_grey_levels_are_what_uint8_costs(release: Path, theirs: Path) -> None:
    """Half a grey level and what torchvision's integer weights add: told on the card."""
    _, preprocess = surgrec.load_model(release)
    processor = transformers.AutoVideoProcessor.from_pretrained(theirs)
    (rounded,) = processor(list(frames(72, 101)), return_tensors="pt").values()
    off = (rounded - preprocess(frames(72, 101)).transpose(1, 2)).abs().max() * 255 * max(STD)
    assert 0.1 < off < 1.5
    (same,) = processor(list(frames(40, 50)), return_tensors="pt").values()
    assert torch.allclose(same, preprocess(frames(40, 50)).transpose(1, 2), atol=1e-5), "nothing to round"
    assert "float32" in (theirs / "README.md").read_text()


def test_the_classes_are_those_of_transformers_and_no_code_comes_along(release: Path, theirs: Path) -> None:
    config = json.loads((theirs / "config.json").read_text())
    assert config["architectures"] == ["VideoMAEModel" if release.name == "mae" else "VJEPA2Model"]
    for name in ("config.json", "video_preprocessor_config.json"):
        assert "auto_map" not in json.loads((theirs / name).read_text())
    assert {path.suffix for path in theirs.iterdir()} <= {".json", ".safetensors", ".md", ".cff", ""}


def test_card_terms_and_checksums_come_along(release: Path, theirs: Path) -> None:
    card, original = ((folder / "README.md").read_text() for folder in (theirs, release))
    assert "library_name: transformers\n" in card and "surgrec.load_model" not in card and "AutoModel" in card
    for heading in ("## Training data", "## Intended use and limits"):
        section = original[original.index(heading) :].split("\n## ")[0]
        assert section in card
    sums = read_sums(theirs)
    assert set(sums) == {path.name for path in theirs.iterdir()} - {"SHA256SUMS"}
    assert all(sha256_of(theirs / name) == digest for name, digest in sums.items())
    facts = json.loads((theirs / "converted.json").read_text())
    assert facts["encoder_sha256"] == sha256_of(release / "encoder.safetensors")
    assert facts["largest_deviation"] < TOLERANCE and facts["positions"] == "as in training"


def test_run_again_there_is_nothing_left_to_do(
    release: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", release, "--to", "transformers", "--out")
    before = {path: path.stat().st_mtime_ns for path in theirs.iterdir()}
    assert run(*arguments, theirs) == 0 and "nothing is left to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in theirs.iterdir()}
    assert run("--model", written(tmp_path / "other", release.name, seed=1), *arguments[2:], theirs) == 2
    assert "holds another one (different: encoder_sha256)" in capsys.readouterr().err
    assert run("--model", release, "--to", "onnx", "--out", theirs) == 2
    assert "different: form" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert run(*arguments, tmp_path / "mine") == 2 and "no converted release" in capsys.readouterr().err


def test_a_changed_file_is_no_longer_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--model", written(tmp_path / "mae", "mae"), "--to", "transformers", "--out", tmp_path / "out")
    assert run(*arguments) == 0
    with (tmp_path / "out" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    assert run(*arguments) == 2 and "model.safetensors in" in capsys.readouterr().err


def bicubic() -> ClipPreprocess:
    return ClipPreprocess(4, 0.2, PreprocessSpec(40, 32, MEAN, STD, "bicubic"))


def other_encoder(**changes: Any) -> Encoder:
    return Encoder(**(small_release("mae").encoder.architecture | changes))


@pytest.mark.parametrize(
    ("variant", "changes", "sentence"),
    [
        ("dense jepa", {}, "no V-JEPA 2.1"),
        ("jepa", {"head": None}, "this release has none"),
        ("mae", {"preprocess": bicubic()}, "bicubic interpolation"),
        ("mae", {"encoder": other_encoder(positions="sincos_3d", qkv_bias="qkv"), "head": None}, "sincos_3d and qkv"),
        ("mae", {"encoder": other_encoder(position_grid=(2, 2, 2)), "head": None}, "of the clip's own grid"),
    ],
)
def test_what_transformers_cannot_express_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str, changes: dict[str, Any], sentence: str
) -> None:
    folder = written(tmp_path / "release", variant, **changes)
    assert run("--model", folder, "--to", "transformers", "--out", tmp_path / "out") == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["release"], "nothing half-written"


def test_another_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "mae", "mae")
    arguments = ("--model", folder, "--to", "transformers", "--pixels", 48, "--out", tmp_path / "out")
    assert run(*arguments) == 2 and '"interpolate"' in capsys.readouterr().err
    assert run(*arguments, "--positions", "interpolate") == 2 and "of the clip's own grid" in capsys.readouterr().err
    assert run(*arguments, "--positions", "own", "--frames", 8) == 0
    said = "positions computed for a grid of 4 x 6 x 6 tokens"
    assert said in capsys.readouterr().out and said in (tmp_path / "out" / "README.md").read_text()
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").image_size == 48


def test_another_model_is_not_handed_out() -> None:
    expected = torch.full((1, 2), 3.0)
    assert deviation_of(expected + 2e-5, expected, "it") == pytest.approx(2e-5 / 3, rel=0.1)
    for found in (expected + 4e-5, torch.full((1, 2), float("nan")), torch.zeros(2, 1)):
        with pytest.raises(ReleaseError, match="nothing was written"):
            deviation_of(found, expected, "it")


# -- ONNX


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mae", "dense jepa"])
def test_the_onnx_file_gives_the_same_tokens(variant: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = written(tmp_path / "release", variant)
    assert run("--model", folder, "--to", "onnx", "--out", tmp_path / "onnx") == 0
    encoder, preprocess = surgrec.load_model(folder)
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "encoder.onnx")
    for clips in (1, 2, 5):
        video = torch.cat([preprocess(frames(50, 60, seed)) for seed in range(clips)])
        (tokens,) = session.run(None, {"video": video.numpy()})
        assert np.abs(tokens - encoder(video).numpy()).max() < 1e-5
    assert ClipPreprocess.from_dict(json.loads((tmp_path / "onnx" / "preprocessing.json").read_text())) == PREPROCESS
    assert "onnxruntime" in (tmp_path / "onnx" / "README.md").read_text()
    assert session.get_modelmeta().custom_metadata_map["encoder_sha256"] == sha256_of(folder / "encoder.safetensors")


@pytest.mark.slow
def test_weights_too_large_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of ViT-H, which no single protobuf message can hold; here every size counts as too large."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from surgrec.hub import onnx_file

    monkeypatch.setattr(onnx_file, "_LARGEST_BYTES", 0)
    folder, out = written(tmp_path / "release", "mae"), tmp_path / "onnx"
    assert run("--model", folder, "--to", "onnx", "--out", out) == 0
    assert (out / "encoder.onnx.data").stat().st_size > (folder / "encoder.safetensors").stat().st_size * 0.9
    assert "encoder.onnx.data" in read_sums(out)
    encoder, preprocess = surgrec.load_model(folder)
    video = preprocess(frames(50, 60))
    session = onnxruntime.InferenceSession(out.rename(tmp_path / "elsewhere") / "encoder.onnx")
    (tokens,) = session.run(None, {"video": video.numpy()})
    assert np.abs(tokens - encoder(video).numpy()).max() < 1e-5
    (tmp_path / "elsewhere" / "encoder.onnx.data").unlink()
    with pytest.raises(Exception, match=r"encoder\.onnx\.data"):
        onnxruntime.InferenceSession(tmp_path / "elsewhere" / "encoder.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mae", "jepa"])
def test_the_onnx_file_of_another_clip(variant: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = written(tmp_path / "release", variant)
    other = ("--frames", 8, "--pixels", 48, "--positions", "interpolate")
    assert run("--model", folder, "--to", "onnx", "--out", tmp_path / "onnx", *other) == 0
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "encoder.onnx")
    assert session.get_inputs()[0].shape[1:] == [3, 8, 48, 48]
    assert "Made for another clip" in (tmp_path / "onnx" / "README.md").read_text()


@pytest.mark.parametrize(
    ("package", "extra", "form"), [("onnxscript", "onnx", "onnx"), ("transformers", "parity", "transformers")]
)
def test_what_to_install(
    package: str,
    extra: str,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    folder = written(tmp_path / "release", "mae")
    assert run("--model", folder, "--to", form, "--out", tmp_path / "out") == 2
    assert f"pip install 'surgrec[{extra}]'" in capsys.readouterr().err and not (tmp_path / "out").exists()
