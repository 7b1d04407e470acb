"""Blur: strongly out of focus or smeared by motion. In: a survey. Out: which samples, and how blurred. Its own file: one filter, one page.

The measure is the blur effect of Crete et al. 2007 ("The blur effect: perception and estimation with a new no-reference perceptual blur
metric"): how little a picture loses by being blurred once more. Unlike the variance of the Laplacian (Pech-Pacheco et al. 2000), which
the survey holds too, it does not fall with contrast, so that smoke and dim light are not called blur. Endoscopes differ in sharpness, so a
video is compared with itself as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.corpus.filters.intervals import Bools, hysteresis
from surgrec.corpus.filters.thresholds import Blur
from surgrec.corpus.survey import Survey

_OWN = 25  # percentile: how sharp this camera is; up to three quarters of the video may be blurred


def blurred(survey: Survey, config: Blur) -> tuple[Bools, npt.NDArray]:
    """Samples (n,), and the score: the blur effect, 0 sharp to 1 blurred."""
    blur = survey.measures["blur"]
    is_judged = survey.is_readable & (survey.measures["bright"] >= 40)  # in the dark there is only noise
    own = float(np.percentile(blur[is_judged], _OWN)) if is_judged.any() else 1.0

    def reaches(level: float) -> Bools:
        """`begin`, or as much lower as `hold` is."""
        own_level = own + config.above_own - (config.begin - level)
        return is_judged & ((blur >= np.maximum(level, own_level)) | (blur >= config.always))

    return hysteresis(reaches(config.begin), reaches(config.hold)), blur
