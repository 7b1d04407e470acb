"""Frozen: the same picture for seconds. In: a survey. Out: which samples, and how little changes. Its own file: one filter, one page.

The idea is FFmpeg's `freezedetect`: the picture changes less than a threshold for a while. There it is the mean absolute difference of
pixels between neighbouring frames. Here means of 8 x 8 pixels are compared, since a codec refines a standing picture for seconds and a
camera has noise, and the most changed twentieth of them decides, since in a quiet operation only an instrument moves; and the difference is
over one second, so that a video of 2 frames a second is not called frozen. A slower one, whose pictures truly stand that long, is not
judged.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.corpus.filters.intervals import Bools, hysteresis
from surgrec.corpus.filters.thresholds import Frozen
from surgrec.corpus.survey import SAMPLES_PER_SECOND, Survey


def frozen(survey: Survey, config: Frozen) -> tuple[Bools, npt.NDArray]:
    """Samples (n,), and the score: change of luma over a second that 95 % of the blocks stay below."""
    change = np.nan_to_num(survey.measures["change_second"], nan=255.0)
    if _frames_per_second(survey) < config.min_frames_per_second:
        return np.zeros(len(survey), np.bool_), change
    still = hysteresis(change < config.begin, change < config.hold)
    stands = still.copy()  # a small change over a second speaks of that whole second
    for back in range(1, SAMPLES_PER_SECOND + 1):
        stands[:-back] |= still[back:]
    return stands, np.where(still, change, 0.0)


def _frames_per_second(survey: Survey) -> float:
    """Of a quick stretch: the ninth decile of how many different frames the samples of a second show; at most the rate of samples."""
    shown = survey.measures["frame_seconds"][survey.is_readable]
    if len(shown) <= SAMPLES_PER_SECOND:
        return float(SAMPLES_PER_SECOND)
    is_new = np.diff(shown) > 0
    per_second = np.convolve(is_new, np.ones(SAMPLES_PER_SECOND), mode="valid")
    return float(np.percentile(per_second, 90)) if len(per_second) else float(SAMPLES_PER_SECOND)
