"""Tokens small enough for a page, from which a browser computes how alike two of them are.

In: tokens of all moments and their components. Out: `TokenCodes`: whole numbers from -127 to 127 along the first components, a scale for
each token, and how far similarities computed from them are off. It is its own file because the arithmetic stands here and in `viewer.js`,
and a test holds one against the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.looking.components import Components

TOKEN_BYTES = 4 << 20  # of codes in a page, before base64 makes four bytes of three
_NUM_COMPARED = 16  # tokens that the error is measured for, each against all

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TokenCodes:
    """`codes`: int8 (n, h, w, K); `scales`: float32 (n, h, w); a token's centred scores are code * scale. `offset`: float32 (K,), the mean
    token along the components; `square`: its squared length. `share` of the variance that K components hold. `mean_error`, `max_error`:
    measured distance of similarities from those of whole tokens; each for plain and for centred ones.
    """

    codes: npt.NDArray[np.int8]
    scales: Numbers
    offset: Numbers
    square: float
    share: float
    mean_error: tuple[float, float]
    max_error: tuple[float, float]

    def similarity(self, moment: int, row: int, column: int, is_centred: bool) -> Numbers:
        """Cosine similarity (n, h, w) of all tokens with one of them, as the page computes it. `is_centred`: of what remains when the mean
        token is taken off all."""
        scores = self.codes.astype(np.float32) * self.scales[..., None]
        offset, square = (np.zeros_like(self.offset), 0.0) if is_centred else (self.offset, self.square)
        inner = scores @ offset  # with the mean token
        squares = (scores**2).sum(-1) + 2 * inner + square
        here = moment, row, column
        dots = scores @ scores[here] + inner + inner[here] + square
        cosines: Numbers = dots / np.sqrt(np.maximum(squares * squares[here], 1e-20))
        return cosines.clip(-1, 1)


def num_components(num_tokens: int, width: int) -> int:
    """How many components of each token a page has room for: all, or as many as `TOKEN_BYTES` allow, at least three for the colours."""
    return min(width, max(3, TOKEN_BYTES // max(1, num_tokens)))


def encode_tokens(tokens: Numbers, components: Components) -> TokenCodes:
    """Codes of tokens (n, h, w, D) along all axes of `components`."""
    scores = components.scores(tokens)
    scales = np.maximum(np.abs(scores).max(-1) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    codes = np.round(scores / scales[..., None]).clip(-127, 127).astype(np.int8)
    mean = components.mean
    unmeasured = TokenCodes(
        codes,
        scales,
        components.axes @ mean,
        float(mean @ mean),
        float(components.shares.sum()),
        (0.0, 0.0),
        (0.0, 0.0),
    )
    pairs = [_errors(tokens, mean, unmeasured, is_centred) for is_centred in (False, True)]
    means, largest = zip(*pairs, strict=True)
    return TokenCodes(**{**vars(unmeasured), "mean_error": means, "max_error": largest})


def _errors(tokens: Numbers, mean: Numbers, codes: TokenCodes, is_centred: bool) -> tuple[float, float]:
    """Mean and largest distance from the similarities of whole tokens, for some of them, evenly chosen."""
    whole = tokens - mean if is_centred else tokens
    unit = whole / np.maximum(np.linalg.norm(whole, axis=-1, keepdims=True), 1e-12)
    places = np.unique(np.linspace(0, unit[..., 0].size - 1, _NUM_COMPARED).round().astype(int))
    means, largest = [], []
    for place in places:
        moment, row, column = (int(part) for part in np.unravel_index(place, unit.shape[:-1]))
        off = np.abs(codes.similarity(moment, row, column, is_centred) - unit @ unit[moment, row, column])
        means.append(float(off.mean()))
        largest.append(float(off.max()))
    return float(np.mean(means)), max(largest)
