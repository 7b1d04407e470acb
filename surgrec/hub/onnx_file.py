"""A release as an ONNX file, for runtimes without torch.

In: a release. Out: `encoder.onnx`: `video` float32 (batch, C, T, H, W), normalised, to `tokens` (batch, N, D). It is its own file because
it is the only one that needs onnx, onnxscript and onnxruntime (extra `onnx`), on first use.

The number of frames and the size are fixed, so that positions are constants of the graph; the number of clips is free. What was written is
run in onnxruntime before the folder gets its name. Weights of more than 2 GB (from ViT-H on) lie beside it, in `encoder.onnx.data`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from surgrec.core.errors import UserError
from surgrec.hub.converted import Kind, Source, deviation_of, example_video

ONNX_FILE = "encoder.onnx"
_OPSET = 18
_LARGEST_BYTES = 2**31 - 2**27  # of one protobuf message, with room for the graph


def _fill(source: Source, folder: Path) -> float:
    _refuse_without_packages()
    encoder = source.encoder.eval().requires_grad_(False)
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            encoder,
            (example_video(source, 2),),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["video"],
            output_names=["tokens"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props["encoder_sha256"] = source.release.sha256
    constants = (value.const_value for value in program.model.graph.initializers.values())  # weights and positions
    size = sum(constant.nbytes for constant in constants if constant is not None)
    program.save(folder / ONNX_FILE, external_data=size > _LARGEST_BYTES)
    return _deviation(source, folder / ONNX_FILE)


@torch.inference_mode()
def _deviation(source: Source, path: Path) -> float:
    """Of one clip and of three, so that the free axis is."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = []
    for batch in (1, 3):
        video = example_video(source, batch)
        (tokens,) = session.run(None, {"video": video.numpy()})
        found.append(deviation_of(torch.from_numpy(tokens), source.encoder(video), "the ONNX file in onnxruntime"))
    return max(found)


def _refuse_without_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"this needs the package {error.name}: pip install 'surgrec[onnx]'") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its own developers much on stdout and in warnings; what goes wrong, it raises."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


_USE = f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("path/to/this/folder/{ONNX_FILE}")
(tokens,) = session.run(None, {{"video": video}})  # float32 B 3 T H W, normalised -> B N D
```

`preprocessing.json` says what becomes of frames before: the short side to `short_side_pixels` (bilinear, antialiased, float32), the
middle `crop_pixels`, then (value / 255 - mean) / std."""

ONNX = Kind("onnx", _fill, _USE, "onnx")
