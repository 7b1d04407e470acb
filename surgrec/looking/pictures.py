"""Pictures for the page: compressed, and put side by side.

In: arrays. Out: JPEGs. It is its own file because the size of a page is decided here and in `similarity`.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from surgrec.looking.film import enlarged

_QUALITY = 80
Pixels = npt.NDArray[np.uint8]


def jpeg(pixels: Pixels) -> bytes:
    """uint8 (H, W, 3) compressed."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def in_text(data: bytes) -> str:
    """base64, as pages hold bytes."""
    return base64.b64encode(data).decode("ascii")


def side_by_side(frame: Pixels, colour: Pixels) -> Pixels:
    """A frame (P, P, 3) and its map (h, w, 3), enlarged to its size."""
    return np.concatenate((frame, enlarged(colour, len(frame))), axis=1)


def enlarged_views(views: npt.NDArray[np.float32], side: int) -> Pixels:
    """Pictures (k, S, S, 3) in [0, 1], each enlarged to `side`, in a row."""
    whole = (views * 255).round().astype(np.uint8)
    return np.concatenate([enlarged(view, side) for view in whole], axis=1)
