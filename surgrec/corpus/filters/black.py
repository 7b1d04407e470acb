"""Black: nothing is lit. In: a survey. Out: which samples, and how dark. Its own file: one filter, one page.

The idea is FFmpeg's `blackdetect`: a frame is black where 98 % of its pixels are darker than a threshold.
"""

from __future__ import annotations

import numpy.typing as npt

from surgrec.corpus.filters.intervals import Bools, hysteresis
from surgrec.corpus.filters.thresholds import Black
from surgrec.corpus.survey import Survey


def black(survey: Survey, config: Black) -> tuple[Bools, npt.NDArray]:
    """Samples (n,), and the score: luma, 0 to 255, that 98 % of the view stays below."""
    bright = survey.measures["bright"]
    return hysteresis(bright < config.begin, bright < config.hold), bright
