"""The part of the picture that shows anything: without letterbox bars and without the black around a round or octagonal endoscope view.

In: a few frames from all over a video. Out: a `ContentBox`. It is its own file because everything that looks at pictures looks inside
it: thumbnails, measures, training copies. A bar is what is dark in every one of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DARK = 24  # of 255: limited-range black after lossy coding stays below
_LIT_SHARE = 0.02  # of a row or column: fewer lit pixels are sparkle or a line of text in a bar


@dataclass(frozen=True)
class ContentBox:
    """Edges as shares of the upright picture, 0 to 1: `left` < `right`, `top` < `bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the box in a picture of `height` x `width`."""
        rows = slice(round(self.top * height), max(round(self.bottom * height), round(self.top * height) + 1))
        columns = slice(round(self.left * width), max(round(self.right * width), round(self.left * width) + 1))
        return rows, columns


WHOLE = ContentBox(0.0, 0.0, 1.0, 1.0)


def find_content_box(frames: npt.NDArray[np.uint8]) -> ContentBox:
    """The smallest box that holds what is lit in any of `frames`, (T, H, W, 3); the whole picture where nothing is lit.

    The second brightest frame decides each pixel, so that one flash or one title does not.
    """
    brightest = np.sort(frames.max(axis=-1), axis=0)[-min(2, len(frames))]
    is_lit = brightest > _DARK
    rows = np.flatnonzero(is_lit.mean(axis=1) > _LIT_SHARE)
    columns = np.flatnonzero(is_lit.mean(axis=0) > _LIT_SHARE)
    if len(rows) == 0 or len(columns) == 0:
        return WHOLE
    height, width = is_lit.shape
    return ContentBox(
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
