"""Low information: uniform pictures, blue screens, colour bars, menus. In: a survey. Out: which samples, and how sure. Its own file: three
signs of one thing, a picture that no camera took.

* uniform: luma hardly varies (standard deviation).
* colour bars: in the upper part nearly all variance of colour lies between columns, none within them.
* menus and blue screens: four of 4096 colours fill nearly all of it. Dim pictures have few colours too and are not judged by this,
  unless they are as blue as no tissue is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.corpus.filters.intervals import Bools, hysteresis
from surgrec.corpus.filters.thresholds import LowInformation
from surgrec.corpus.survey import Survey


def low_information(survey: Survey, config: LowInformation) -> tuple[Bools, npt.NDArray]:
    """Samples (n,), and the score: the larger of the shares `palette_share` and `column_share`, 1 for a uniform picture."""
    spread, columns, palette = (survey.measures[name] for name in ("spread", "column_share", "palette_share"))
    is_bright = (survey.measures["bright"] >= config.palette_bright) | (
        survey.measures["blueness"] >= config.palette_blue
    )
    uniform = hysteresis(spread < config.uniform_begin, spread < config.uniform_hold)
    bars = hysteresis(columns >= config.columns_begin, columns >= config.columns_hold)
    menu = hysteresis((palette >= config.palette_begin) & is_bright, (palette >= config.palette_hold) & is_bright)
    return uniform | bars | menu, np.where(uniform, 1.0, np.maximum(columns, palette))
