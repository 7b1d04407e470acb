"""What is known of a video once it was looked at.

In and out: plain data. It is its own file because `study` fills it, and every section of the page reads a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surgrec.looking.charts import Colouring
from surgrec.looking.components import Components, colours
from surgrec.looking.embedding import Embedded
from surgrec.looking.moments import Pixels, Seen
from surgrec.looking.neighbours import Neighbour
from surgrec.looking.similarity import TokenCodes


@dataclass(frozen=True)
class Found:
    """A neighbour with its picture, uint8 (P, P, 3) where its video could be read, and its label where it has one."""

    neighbour: Neighbour
    pixels: Pixels | None = None
    label: str = ""
    is_same_case: bool = False


@dataclass(frozen=True)
class Neighbours:
    """`rows`: for some moments, by number, what is nearest; `num_windows` of `num_videos` were compared, `median` of their similarities."""

    rows: tuple[tuple[int, tuple[Found, ...]], ...]
    num_windows: int
    num_videos: int
    median: float


@dataclass(frozen=True)
class Rebuilt:
    """`views`: for some moments, by number, float32 (3, S, S, 3): hidden, rebuilt, as it is."""

    views: tuple[tuple[int, npt.NDArray[np.float32]], ...]
    ratio: float
    is_normalised: bool


@dataclass(frozen=True)
class Look:
    """A video, a model, and what the one makes of the other."""

    video_id: str
    duration_seconds: float
    model: dict[str, Any]
    sha256: str
    seen: Seen
    components: Components
    codes: TokenCodes
    embedded: Embedded
    colouring: Colouring
    neighbours: Neighbours | None = None
    rebuilt: Rebuilt | None = None

    @property
    def colours(self) -> Pixels:
        """uint8 (n, h, w, 3), the same colour for the same feature in all moments."""
        return colours(self.components.scores(self.seen.tokens)[..., :3])
