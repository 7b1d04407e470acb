"""Lets timm be imported where torch and torchvision come from different builds.

In: nothing. Out: an importable torchvision. It is its own file, imported before timm everywhere, because of one trap:
the torchvision wheel of the main package index is built for CUDA. Beside a CPU build of torch (or of another channel)
its compiled part does not load, and `import torchvision` then dies with "operator torchvision::nms does not exist",
because a Python file of it attaches a shape function to an operator that nobody declared; `import timm` dies with it.
Declaring the schemas of those operators is enough for everything that surgrec and timm use (transforms, layers,
models); `torchvision.ops.nms` itself still raises when called. Where torchvision imports normally this file does
nothing.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # must outlive this module: the schemas vanish with the object


def ensure_torchvision() -> None:
    """Import torchvision, declaring its operator schemas first where its compiled part does not load."""
    global _library
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        _library.define(schema)  # type: ignore[no-untyped-call]
    importlib.import_module("torchvision")


ensure_torchvision()
