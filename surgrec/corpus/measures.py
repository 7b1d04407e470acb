"""What is measured of every sampled frame: a few numbers each, so that thresholds can change without decoding again.

In: small frames in the order of time, and where in them the view is. Out: `MEASURES`, one column each. It is its own file because filters
are functions of these columns and of nothing else, and because this is the arithmetic that runs beside the decoder and must stay cheap.

All levels are of 0 to 255. "In the view" leaves out bars, the black around a round picture, and a rim of a few pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.corpus.regions import Mask, grown

MEASURES = (
    "bright",  # luma that 98 % of the view stays below
    "mean",  # mean luma
    "spread",  # standard deviation of luma
    "palette_share",  # share of the view in its four commonest colours of 4096 (16 levels a channel)
    "column_share",  # share of the colour variance of the upper 60 % that lies between columns: 1 for vertical bars
    "redness",  # mean share of red in the light, R / (R + G + B), of what is not dark; grey is 0.333
    "blueness",  # likewise of blue
    "warm_share",  # share of what is not dark whose red share is above 0.37: blood, mucosa, fat, skin
    "cold_share",  # share whose red share is below 0.30: drapes, walls, narrow-band light
    "variety",  # spread of the colour of what is not dark: standard deviation of the shares of red and blue together
    "laplacian",  # variance of the Laplacian (Pech-Pacheco et al. 2000)
    "blur",  # 0 sharp to 1 blurred, whatever the contrast (Crete et al. 2007)
    "change",  # since the sample before: change of mean luma in blocks of 8 x 8 pixels; 95 % of the blocks change less
    "change_second",  # since the sample one second before
    "frame_seconds",  # when the frame on display began to be shown
)
_COLUMN = {name: number for number, name in enumerate(MEASURES)}

_TO_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_NOT_DARK = 30  # of the brightest channel: colours of what is darker are noise
_WARM, _COLD = 0.37, 0.30  # shares of red
_RIM = 7  # pixels across: the edge of the view is sharp in every frame
_REBLUR = 9  # pixels: the mean filter of Crete et al.
_BLOCK = 4  # of every second pixel
_BATCH = 8  # frames at a time, so that intermediate results stay in the cache

Floats = npt.NDArray[np.float32]


class Measures:
    """Columns by name: `measures["blur"]` is (n,)."""

    def __init__(self, table: Floats) -> None:
        if table.ndim != 2 or table.shape[1] != len(MEASURES):
            raise ValueError(f"expected (n, {len(MEASURES)}), not {table.shape}")
        self.table = table

    def __getitem__(self, name: str) -> Floats:
        return self.table[:, _COLUMN[name]]

    def __len__(self) -> int:
        return len(self.table)


class Measurer:
    """Measures frames chunk after chunk; remembers the last second, to tell what changed.

    Args:
        mask: (H, W), where the view is in the frames to come.
        per_second: how many samples make a second.
    """

    def __init__(self, mask: Mask, per_second: int) -> None:
        inner = ~grown(~np.pad(mask, 1), _RIM)[1:-1, 1:-1]
        if inner.sum() < 0.25 * mask.sum():  # too small a view to lose its rim
            inner = mask if mask.any() else np.ones_like(mask)
        self._mask = inner
        self._coarse = inner[::2, ::2] if inner[::2, ::2].any() else np.ones_like(inner[::2, ::2])
        self._picked = np.flatnonzero(self._coarse)
        rows = np.flatnonzero(self._coarse.any(axis=1))
        self._upper = slice(rows[0], rows[0] + max(1, round(0.6 * len(rows))))
        self._past: list[Floats | None] = [None] * per_second

    def __call__(self, frames: npt.NDArray[np.uint8], frame_seconds: npt.NDArray[np.float64]) -> Floats:
        """(T, M) of the next frames, (T, H, W, 3)."""
        table = np.empty((len(frames), len(MEASURES)), np.float32)
        for start in range(0, len(frames), _BATCH):
            batch = slice(start, start + _BATCH)
            self._measure(frames[batch], table[batch])
        table[:, _COLUMN["frame_seconds"]] = frame_seconds
        return table

    def skip(self) -> None:
        """A sample could not be read: nothing is known of what changed since."""
        self._past = [*self._past[1:], None]

    def _measure(self, frames: npt.NDArray[np.uint8], table: Floats) -> None:
        def put(name: str, values: npt.NDArray) -> None:
            table[:, _COLUMN[name]] = values

        luma = frames @ _TO_LUMA
        inside = luma[:, ::2, ::2].reshape(len(frames), -1)[:, self._picked]
        num_brighter = max(1, round(0.02 * inside.shape[1]))
        put("bright", np.partition(inside, -num_brighter, axis=1)[:, -num_brighter])
        put("mean", inside.mean(axis=1))
        put("spread", inside.std(axis=1))
        put("laplacian", self._laplacian(luma))
        put("blur", self._blur(luma))
        self._changes(self._blocks(luma[:, ::2, ::2]), table)

        coarse = frames[:, ::2, ::2]
        put("column_share", self._column_share(coarse[:, self._upper]))
        colours = coarse.reshape(len(frames), -1, 3)[:, self._picked]
        put("palette_share", _palette_share(colours))
        for name, values in _hues(colours).items():
            put(name, values)

    def _laplacian(self, luma: Floats) -> Floats:
        middle = luma[:, 1:-1, 1:-1]
        curve = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:] - 4 * middle
        return curve[:, self._mask[1:-1, 1:-1]].var(axis=1)

    def _blur(self, luma: Floats) -> Floats:
        """How little is lost by blurring once more: the larger of the two directions."""
        down = _blur_along(luma, self._mask)
        across = _blur_along(luma.transpose(0, 2, 1), self._mask.T)
        return np.maximum(down, across)

    def _blocks(self, luma: Floats) -> Floats:
        """(T, blocks): means of the blocks that lie in the view. Noise and the slow refinement of a standing picture by a codec hardly
        move them, whatever moves does."""
        height, width = (size // _BLOCK * _BLOCK for size in self._coarse.shape)
        rows, columns = height // _BLOCK, width // _BLOCK
        in_view = self._coarse[:height, :width].reshape(rows, _BLOCK, columns, _BLOCK).all(axis=(1, 3))
        if in_view.sum() < 16:  # too small for blocks: every pixel is one
            return luma.reshape(len(luma), -1)[:, self._picked]
        sums = np.add.reduceat(luma[:, :height, :width], np.arange(0, height, _BLOCK), axis=1)
        means = np.add.reduceat(sums, np.arange(0, width, _BLOCK), axis=2).astype(np.float32) / np.float32(_BLOCK**2)
        return means[:, in_view]

    def _changes(self, blocks: Floats, table: Floats) -> None:
        for row, current in enumerate(blocks):
            for name, before in (("change", self._past[-1]), ("change_second", self._past[0])):
                table[row, _COLUMN[name]] = np.nan if before is None else np.percentile(np.abs(current - before), 95)
            self._past = [*self._past[1:], current]

    def _column_share(self, upper: npt.NDArray[np.uint8]) -> Floats:
        """Between columns' variance over total variance, the three channels summed, of what is in the view."""
        mask = self._coarse[self._upper].astype(np.float32)
        height, number = mask.sum(axis=0), mask.sum()
        masked = upper * mask[..., None]
        columns = masked.sum(axis=1)
        centre = (columns.sum(axis=1) / number) ** 2
        total = np.einsum("thwc,thwc->tc", masked, masked, optimize=True) / number - centre
        between = (columns**2 / np.maximum(height, 1)[:, None]).sum(axis=1) / number - centre
        total, between = total.sum(axis=1), between.sum(axis=1)
        return np.where(total > 1, between / np.maximum(total, 1), 0).astype(np.float32)


def _blur_along(luma: Floats, mask: Mask) -> Floats:
    """Crete et al. 2007, equations 2 to 5, along axis 1: differences of neighbours before and after a mean of `_REBLUR` pixels. The
    difference of two neighbouring means is that of the two pixels that enter and leave, divided by their number."""
    reach = _REBLUR // 2
    if luma.shape[1] <= _REBLUR + 1:
        return np.zeros(len(luma), np.float32)
    step = np.abs(luma[:, reach + 1 : -reach] - luma[:, reach : -reach - 1])
    blurred = np.abs(luma[:, _REBLUR:] - luma[:, :-_REBLUR]) / _REBLUR
    counted = mask[reach + 1 : -reach]
    total = (step * counted).sum(axis=(1, 2))
    lost = (np.maximum(step - blurred, 0) * counted).sum(axis=(1, 2))
    return np.where(total > 0, 1 - lost / np.maximum(total, 1e-6), 1).astype(np.float32)


def _palette_share(colours: npt.NDArray[np.uint8]) -> Floats:
    """Of (T, pixels, 3)."""
    coarse = (colours >> 4).astype(np.int32)
    codes = (coarse[..., 0] << 8) | (coarse[..., 1] << 4) | coarse[..., 2]
    counts = [np.sort(np.bincount(row, minlength=8))[-4:].sum() for row in codes]
    return np.array(counts, np.float32) / codes.shape[1]


def _hues(colours: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    """Measures of (T, pixels, 3) that only concern colour; grey where all is dark."""
    counted = (colours.max(axis=2) >= _NOT_DARK).astype(np.float32)
    light = np.maximum(colours @ np.ones(3, np.float32), 1)
    red, blue = colours[..., 0] / light, colours[..., 2] / light
    number = counted.sum(axis=1)
    has_any, number = number > 0, np.maximum(number, 1)

    def mean(values: npt.NDArray, otherwise: float) -> Floats:
        return np.where(has_any, (values * counted).sum(axis=1) / number, otherwise).astype(np.float32)

    redness, blueness = mean(red, 1 / 3), mean(blue, 1 / 3)
    variance = mean((red - redness[:, None]) ** 2 + (blue - blueness[:, None]) ** 2, 0.0)
    return {
        "redness": redness,
        "blueness": blueness,
        "warm_share": mean(red > _WARM, 0.0),
        "cold_share": mean(red < _COLD, 0.0),
        "variety": np.sqrt(variance),
    }
