"""A baseline stands in for a release: its features are what its own library gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surgrec import extract
from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.evaluation.protocols.blocks import depth_of
from surgrec.features.baseline import load_any
from surgrec.features.store import open_store
from surgrec.video.decode import open_video

VideoOf = Callable[[float], Path]
FAST = ("--threads", "1", "--device", "cpu")


def frames_of(path: Path, preprocess, start: float = 0.0) -> torch.Tensor:  # type: ignore[no-untyped-def]
    with open_video(path) as reader:
        times = start + np.arange(preprocess.num_frames) * preprocess.frame_interval_seconds
        return preprocess(reader.read(times).pixels)


def transformers_here() -> Any:
    import surgrec.core.torchvision_guard  # noqa: F401  (before transformers, which imports torchvision)

    return pytest.importorskip("transformers")


def saved_timm(folder: Path, name: str, **options: object) -> torch.nn.Module:
    import surgrec.core.torchvision_guard  # noqa: F401, I001  (before timm)
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **options).eval()
    save_for_hf(model, str(folder), safe_serialization=True, model_args=options)
    return model


@pytest.mark.parametrize(
    "name, options, width",
    [
        ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2}, 192),
        ("resnet10t", {}, 512),
    ],
)
def test_a_model_of_timm(name: str, options: dict[str, object], width: int, video: VideoOf, tmp_path: Path) -> None:
    theirs = saved_timm(tmp_path / "model", name, **options)
    model = load_any(f"timm:{tmp_path / 'model'}", "cpu", num_frames=4)
    clip = frames_of(video(2.0), model.preprocess)
    with torch.no_grad():
        tokens, images = model.encoder(clip), clip[0].transpose(0, 1)
        expected = theirs.forward_features(images)  # type: ignore[operator]
    assert model.preprocess.num_frames == 4 and model.preprocess.frame_interval_seconds == 0.16
    assert model.name == f"timm {name}" and len(model.sha256) == 64
    cells = expected.flatten(2).transpose(1, 2) if expected.ndim == 4 else expected[:, 1:]
    torch.testing.assert_close(tokens[0], cells.reshape(-1, width))
    out = tmp_path / "features"
    command = ["--model", f"timm:{tmp_path / 'model'}", "--videos", video(2.0), "--out", out, "--frames", 4, *FAST]
    if name.startswith("vit"):
        command += ["--layers", "model.blocks.0", "model.norm"]
    assert run_command(lambda: extract.main([str(word) for word in command])) == 0
    (video_id,) = open_store(out).video_ids()
    kept = open_store(out).read(video_id).features[0]
    np.testing.assert_allclose(kept[-1] if kept.ndim == 2 else kept, tokens[0].mean(0), atol=1e-5)


def test_a_video_model_of_transformers(video: VideoOf, tmp_path: Path) -> None:
    transformers = transformers_here()
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=48, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96
    )  # fmt: skip
    theirs = transformers.VideoMAEModel(config).eval()
    theirs.save_pretrained(tmp_path / "model")
    model = load_any(f"transformers:{tmp_path / 'model'}", "cpu")
    assert (model.encoder.tubelet, model.encoder.clip_tokens, model.encoder.width) == (2, (2, 16), 48)
    clip = frames_of(video(2.0), model.preprocess)
    with torch.no_grad():
        expected = theirs(clip.transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(model.encoder(clip), expected)
    out = tmp_path / "features"
    command = [
        "--model",
        f"transformers:{tmp_path / 'model'}",
        "--videos",
        video(2.0),
        "--out",
        out,
        "--tokens",
        "time",
    ]
    assert run_command(lambda: extract.main([*map(str, command), *FAST])) == 0
    (video_id,) = open_store(out).video_ids()
    kept = open_store(out).read(video_id).features[0]
    np.testing.assert_allclose(kept, expected[0].reshape(2, 16, 48).mean(1), atol=1e-5)


def test_an_image_model_of_transformers(video: VideoOf, tmp_path: Path) -> None:
    transformers = transformers_here()
    torch.manual_seed(0)
    sizes = {"image_size": 28, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    theirs = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**sizes)).eval()
    theirs.save_pretrained(tmp_path / "model")
    model = load_any(f"transformers:{tmp_path / 'model'}", "cpu", num_frames=2, frame_interval_seconds=0.5)
    assert model.encoder.clip_tokens == (2, 4) and model.encoder.num_prefix_tokens == 5, "a class token, four registers"
    clip = frames_of(video(2.0), model.preprocess)
    with torch.no_grad():
        expected = theirs(clip[0].transpose(0, 1)).last_hidden_state[:, 5:]
        torch.testing.assert_close(model.encoder(clip)[0], expected.reshape(8, 32))


def tiny_vivit(folder: Path) -> torch.nn.Module:
    transformers = transformers_here()
    torch.manual_seed(0)
    config = transformers.VivitConfig(
        image_size=32, num_frames=4, tubelet_size=[2, 16, 16], hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64,
    )  # fmt: skip
    model: torch.nn.Module = transformers.VivitModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)  # type: ignore[operator]
    return model


def test_what_the_file_lacks_and_nobody_uses_does_not_make_two_loads_differ(tmp_path: Path) -> None:
    """A pooler is drawn by transformers where a classifier was published, and is not on the way to the tokens."""
    transformers = transformers_here()
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(**sizes, intermediate_size=64)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "model")
    first, second = (load_any(f"transformers:{tmp_path / 'model'}", "cpu", num_frames=2) for _ in range(2))
    assert first.sha256 == second.sha256 and first.facts == second.facts


def test_the_predictor_of_a_vjepa2_is_no_part_of_its_encoder(video: VideoOf, tmp_path: Path) -> None:
    transformers = transformers_here()
    torch.manual_seed(0)
    sizes = {"crop_size": 32, "frames_per_clip": 4, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.VJEPA2Config(
        **sizes, pred_hidden_size=48, pred_num_attention_heads=2, pred_num_hidden_layers=3
    )
    theirs = transformers.VJEPA2Model(config).eval()
    theirs.save_pretrained(tmp_path / "model")
    model = load_any(f"transformers:{tmp_path / 'model'}", "cpu")
    assert not [name for name, _ in model.encoder.named_parameters() if "predictor" in name]
    assert depth_of(model.encoder) == 2
    clip = frames_of(video(2.0), model.preprocess)
    with torch.no_grad():
        torch.testing.assert_close(
            model.encoder(clip), theirs(clip.transpose(1, 2), skip_predictor=True).last_hidden_state
        )


def test_models_of_equal_weights_and_other_heads_are_two(tmp_path: Path) -> None:
    transformers = transformers_here()
    sizes = {"image_size": 28, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 1}
    found = []
    for heads in (2, 4):
        torch.manual_seed(0)
        config = transformers.Dinov2Config(**sizes, num_attention_heads=heads)
        transformers.Dinov2Model(config).save_pretrained(tmp_path / str(heads))
        found.append(load_any(f"transformers:{tmp_path / str(heads)}", "cpu", num_frames=2))
    assert found[0].sha256 == found[1].sha256 and found[0].facts != found[1].facts
    assert set(found[0].facts["libraries"]) == {"torch", "transformers"}


def test_the_class_token_of_a_vivit_is_none_of_its_tokens(video: VideoOf, tmp_path: Path) -> None:
    theirs = tiny_vivit(tmp_path / "model")
    model = load_any(f"transformers:{tmp_path / 'model'}", "cpu")
    assert (model.encoder.clip_tokens, model.encoder.num_prefix_tokens) == ((2, 4), 1)
    clip = frames_of(video(2.0), model.preprocess)
    with torch.no_grad():
        expected = theirs(clip.transpose(1, 2)).last_hidden_state[:, 1:]
        torch.testing.assert_close(model.encoder(clip), expected)


def tiny_dinov2(folder: Path, **processor: object) -> None:
    transformers = transformers_here()
    sizes = {"image_size": 56, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(folder)
    options = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "resample": 3}
    transformers.BitImageProcessor(**{**options, **processor}).save_pretrained(folder)


def test_what_a_processor_cuts_out_is_what_its_model_sees(tmp_path: Path) -> None:
    tiny_dinov2(tmp_path / "model", image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.2, 0.2])
    pixels = load_any(f"transformers:{tmp_path / 'model'}", "cpu", num_frames=1).preprocess.pixels
    assert (pixels.short_side_pixels, pixels.crop_pixels, pixels.interpolation) == (32, 28, "bicubic")
    assert (pixels.mean, pixels.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    tiny_dinov2(tmp_path / "plain", do_normalize=False)
    pixels = load_any(f"transformers:{tmp_path / 'plain'}", "cpu", num_frames=1).preprocess.pixels
    assert (pixels.mean, pixels.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    tiny_dinov2(tmp_path / "wide", rescale_factor=1 / 127.5)
    with pytest.raises(UserError, match="only a range of 0 to 1"):
        load_any(f"transformers:{tmp_path / 'wide'}", "cpu", num_frames=1)


def test_timm_shrinks_to_whole_pixels_as_timm_does(tmp_path: Path) -> None:
    import surgrec.core.torchvision_guard  # noqa: F401, I001  (before timm)
    import timm
    from timm.models import save_for_hf

    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=1)
    config = {"input_size": (3, 32, 32), "crop_pct": 0.95}  # 33.68 pixels, which timm cuts off to 33
    save_for_hf(
        model, str(tmp_path), safe_serialization=True, model_args={"img_size": 32, "depth": 1}, model_config=None
    )
    text = (tmp_path / "config.json").read_text()
    facts = json.loads(text)
    facts["pretrained_cfg"] |= config
    (tmp_path / "config.json").write_text(json.dumps(facts))
    pixels = load_any(f"timm:{tmp_path}", "cpu", num_frames=1).preprocess.pixels
    assert (pixels.short_side_pixels, pixels.crop_pixels) == (33, 32)


def test_a_model_that_wants_more_than_pixels_is_one_sentence(tmp_path: Path) -> None:
    transformers = transformers_here()
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.TimesformerConfig(image_size=32, patch_size=16, num_frames=2, **small)
    transformers.TimesformerModel(config).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="gives no features of 2 frames of 32 x 32 pixels"):
        load_any(f"transformers:{tmp_path / 'model'}", "cpu", num_frames=2)
    tiny_vivit(tmp_path / "vivit")
    for options, said in (
        ({"num_frames": 0}, "--frames is 0"),
        ({"frame_interval_seconds": 0.0}, "--interval-seconds is 0.0"),
        ({"frame_interval_seconds": float("nan")}, "--interval-seconds is nan"),
    ):
        with pytest.raises(UserError, match=said):
            load_any(f"transformers:{tmp_path / 'vivit'}", "cpu", **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="there is no device"):
        load_any(f"transformers:{tmp_path / 'vivit'}", "nowhere")


def test_what_cannot_be_had_is_one_sentence(release: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("timm:no_such_model_at_all", "timm gives no model"),
        (f"timm:{tmp_path / 'empty'}", "timm gives no model"),
        (f"transformers:{tmp_path / 'empty'}", "transformers gives no model"),
    ):
        with pytest.raises(UserError, match=said):
            load_any(name, "cpu")
    with pytest.raises(UserError, match="--frames"):
        load_any(str(release), "cpu", num_frames=8)


def test_the_digest_is_that_of_the_weights(tmp_path: Path) -> None:
    model = saved_timm(tmp_path / "a", "vit_tiny_patch16_224", img_size=32, depth=1)
    digest = load_any(f"timm:{tmp_path / 'a'}", "cpu").sha256
    assert load_any(f"timm:{tmp_path / 'a'}", "cpu").sha256 == digest
    from timm.models import save_for_hf

    with torch.no_grad():
        next(model.parameters()).reshape(-1)[3] += 1e-3
    options = {"img_size": 32, "depth": 1}
    save_for_hf(model, str(tmp_path / "b"), safe_serialization=True, model_args=options)
    assert load_any(f"timm:{tmp_path / 'b'}", "cpu").sha256 != digest


def test_a_checkpoint_that_lacks_weights_is_refused_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    """transformers fills what it does not find with random numbers, and says so only in a log."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, decoder_hidden_size=24, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2, decoder_intermediate_size=48, **sizes
    )  # fmt: skip
    whole = transformers.VideoMAEForPreTraining(config)
    whole.save_pretrained(tmp_path / "whole")
    (line,) = load_any(f"transformers:{tmp_path / 'whole'}", "cpu").said
    assert "weights filled" in line and "decoder" in line and "0 keys" not in line
    state = {key: value for key, value in whole.state_dict().items() if "layer.1.layernorm_after.bias" not in key}
    whole.save_pretrained(tmp_path / "part", state_dict=state)
    with pytest.raises(UserError, match=r"with chance.*layer\.1\.layernorm_after\.bias"):
        load_any(f"transformers:{tmp_path / 'part'}", "cpu")


def test_the_classifier_of_timm_is_left_out_and_told(tmp_path: Path) -> None:
    import surgrec.core.torchvision_guard  # noqa: F401, I001  (before timm)
    import timm
    from timm.models import save_for_hf

    options = {"img_size": 32, "depth": 1}
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=5, **options)
    save_for_hf(theirs, str(tmp_path), safe_serialization=True, model_args=options)
    model = load_any(f"timm:{tmp_path}", "cpu")
    assert model.said == (f"timm: all {len(theirs.state_dict())} weights filled; 2 of the classifier dropped",)
