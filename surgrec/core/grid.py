"""Token geometry: how a clip of pixels becomes a grid of t x h x w tokens.

In: clip size and tubelet size. Out: a `TokenGrid`. It is its own file because masks, models, features and reports must
all agree on the flattening order (time slowest, then rows, then columns), and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from surgrec.core.errors import UserError


class GeometryError(UserError):
    """A clip size that the tubelet or patch does not divide."""


@dataclass(frozen=True)
class TokenGrid:
    """A grid of `t` time steps by `h` rows by `w` columns of tokens; token id = (time * h + row) * w + column."""

    t: int
    h: int
    w: int

    @property
    def num_cells(self) -> int:
        """Spatial cells, h * w."""
        return self.h * self.w

    @property
    def num_tokens(self) -> int:
        """All tokens N, t * h * w."""
        return self.t * self.h * self.w

    @classmethod
    def of_clip(cls, num_frames: int, height_pixels: int, width_pixels: int, tubelet: int, patch: int) -> TokenGrid:
        """The grid of a clip of `num_frames` frames. Raises `GeometryError` where something does not divide."""
        for name, value, by in (
            ("frames", num_frames, tubelet),
            ("height", height_pixels, patch),
            ("width", width_pixels, patch),
        ):
            if value <= 0 or value % by:
                raise GeometryError(f"clip {name} {value} is not a positive multiple of {by}; choose one that is")
        return cls(num_frames // tubelet, height_pixels // patch, width_pixels // patch)
