"""A release as a folder of transformers: `AutoModel.from_pretrained`, `AutoVideoProcessor.from_pretrained`, no code in it.

In: a release. Out: `config.json`, `model.safetensors` and `video_preprocessor_config.json`. It is its own file because it decides which
class of transformers an encoder is, and which video processor shows it the same pixels:

    sincos positions, biases on queries and values         VideoMAEModel   VideoMAEVideoProcessor
    tiled rotary positions, all biases, with a predictor   VJEPA2Model     LlavaOnevisionVideoProcessor

A trap: `VJEPA2VideoProcessor` always shrinks to 256/224 of the crop, whatever its file says. LLaVA-OneVision's is transformers' base
processor with nothing added, and gives `pixel_values_videos`, which V-JEPA 2 wants.

Another: on uint8 frames torchvision rounds shrunk frames to whole grey levels, which these releases do not. Frames of the same values as
float32 are not rounded, and give the release's own pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from surgrec.hub.converted import Kind, Source, deviation_of, example_video
from surgrec.hub.folder import ReleaseError, head_file
from surgrec.hub.huggingface import to_transformers
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPALearner

_BILINEAR = 2  # of PIL, which transformers counts by


def _fill(source: Source, folder: Path) -> float:
    _model(source).save_pretrained(folder)
    _processor(source.preprocess, is_jepa=source.encoder.positions == "rope").save_pretrained(folder)
    _refuse_other_pixels(source, folder)
    return _deviation(source, folder)


def _model(source: Source) -> Any:
    """The model of transformers with these weights. Raises `ForeignWeightsError` for what it cannot express."""
    if source.encoder.positions != "rope":
        return to_transformers(source.encoder).eval()
    return to_transformers(JEPALearner(source.encoder, _predictor(source))).eval()


def _predictor(source: Source) -> Predictor:
    """The release's own: transformers has no V-JEPA 2 without one."""
    folder, arguments = source.release.folder, source.release.config.get("predictor")
    path = None if folder is None else folder / head_file("predictor")
    if path is None or not path.is_file() or not isinstance(arguments, dict):
        raise ReleaseError(
            "transformers' V-JEPA 2 has a predictor, and this release has none; convert a release that has, or use --to onnx"
        )
    try:
        with torch.device("meta"):
            predictor = Predictor(**arguments)
        predictor.load_state_dict(load_file(path), strict=True, assign=True)
    except (TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReleaseError(
            f"{path.name} of this release does not fit its config.json ({reason}); export it again"
        ) from None
    return predictor


def _processor(preprocess: ClipPreprocess, is_jepa: bool) -> Any:
    """The video processor that does what `preprocess` does."""
    from transformers import LlavaOnevisionVideoProcessor, VideoMAEVideoProcessor

    spec = preprocess.pixels
    if spec.interpolation != "bilinear":
        raise ReleaseError(
            f"this release resizes with {spec.interpolation} interpolation, which transformers does otherwise; it cannot be converted"
        )
    kind = LlavaOnevisionVideoProcessor if is_jepa else VideoMAEVideoProcessor
    return kind(
        do_resize=True,
        size={"shortest_edge": spec.short_side_pixels},
        default_to_square=False,
        resample=_BILINEAR,
        do_center_crop=True,
        crop_size={"height": spec.crop_pixels, "width": spec.crop_pixels},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        do_convert_rgb=False,
        do_sample_frames=False,
    )


# -- the proof, on what was written


@torch.inference_mode()
def _deviation(source: Source, folder: Path) -> float:
    from transformers import AutoModel

    theirs = AutoModel.from_pretrained(folder).eval()
    video = example_video(source)
    return deviation_of(features_of(theirs, video.transpose(1, 2)), source.encoder(video), "the model in transformers")


def features_of(model: nn.Module, pixels: Tensor) -> Tensor:
    """The encoder's tokens (B, N, D) of a model of transformers, for a video (B, T, C, H, W)."""
    options = {"skip_predictor": True} if hasattr(model, "predictor") else {}
    return model(pixels, **options).last_hidden_state


def _refuse_other_pixels(source: Source, folder: Path) -> None:
    from transformers import AutoVideoProcessor

    short = source.preprocess.pixels.short_side_pixels
    size = (
        source.preprocess.num_frames,
        short * 9 // 5,
        short * 5 // 2 + 1,
        3,
    )  # shrinks, and to no whole number of columns
    frames = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    processor = AutoVideoProcessor.from_pretrained(folder)
    (found,) = processor(list(frames.astype(np.float32)), return_tensors="pt").values()
    expected = source.preprocess(frames).transpose(1, 2)
    deviation_of(found, expected, "the video processor of transformers")


_USE = """```python
from transformers import AutoModel, AutoVideoProcessor

model = AutoModel.from_pretrained("path/to/this/folder").eval()
processor = AutoVideoProcessor.from_pretrained("path/to/this/folder")
inputs = processor(list(frames.astype("float32")), return_tensors="pt")  # frames uint8 T H W 3 RGB
tokens = model(**inputs).last_hidden_state  # 1 N D
```

As float32, frames are not rounded to whole grey levels after shrinking; uint8 frames are, and give slightly other features. Of a
V-JEPA 2, `model(**inputs, skip_predictor=True)` leaves out the predictor, which features do not need."""

TRANSFORMERS = Kind("transformers", _fill, _USE, "transformers")
