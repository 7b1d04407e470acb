"""All filters over one survey.

In: a survey and thresholds. Out: findings, and the stretches that are usable. It is its own file because here is decided which filters
take time away and which are only told.

Taking time away, each sample for one reason, the first of: unreadable, black, low_information, frozen, out_of_body, blur. Told with their
region, the time staying usable: text, overlay, picture_in_picture. They last for a whole video or large parts of it, so that
refusing their time would refuse whole sources; crop or mask them, or leave such videos out.
"""

from __future__ import annotations

import numpy as np

from surgrec.corpus.filters.black import black
from surgrec.corpus.filters.blur import blurred
from surgrec.corpus.filters.frozen import frozen
from surgrec.corpus.filters.intervals import Finding, findings_of
from surgrec.corpus.filters.low_information import low_information
from surgrec.corpus.filters.out_of_body import OutOfBodyModel, out_of_body
from surgrec.corpus.filters.picture_in_picture import pictures_in_picture
from surgrec.corpus.filters.still_edges import text_and_overlays
from surgrec.corpus.filters.thresholds import Thresholds, Timing, Usable
from surgrec.corpus.survey import Survey

OF_TIME = ("unreadable", "black", "low_information", "frozen", "out_of_body", "blur")
OF_REGIONS = ("text", "overlay", "picture_in_picture")
REASONS = (*OF_TIME, *OF_REGIONS)

_EVERY_SAMPLE = Timing(0.0, 0.0)


def find(
    survey: Survey, duration_seconds: float, thresholds: Thresholds, model: OutOfBodyModel | None = None
) -> list[Finding]:
    """All findings of a video, by time. `model` takes the place of the colours in `out_of_body`."""
    if len(survey.measures) != len(survey):
        raise ValueError("the survey has no measures")
    judged = {
        "black": (*black(survey, thresholds.black), thresholds.black.timing),
        "low_information": (
            *low_information(survey, thresholds.low_information),
            thresholds.low_information.timing,
        ),
        "frozen": (*frozen(survey, thresholds.frozen), thresholds.frozen.timing),
        "out_of_body": (*out_of_body(survey, thresholds.out_of_body, model), thresholds.out_of_body.timing),
        "blur": (*blurred(survey, thresholds.blur), thresholds.blur.timing),
    }
    open_to_question = survey.is_readable.copy()
    unreadable = np.ones(len(survey))
    findings = findings_of(
        "unreadable", ~survey.is_readable, unreadable, _EVERY_SAMPLE, survey.times_seconds, duration_seconds
    )
    for reason, (found, score, timing) in judged.items():
        found = found & open_to_question
        findings += findings_of(reason, found, score, timing, survey.times_seconds, duration_seconds)
        open_to_question &= ~found
    findings += _regions(survey, duration_seconds, thresholds)
    return sorted(findings, key=lambda finding: (finding.start_seconds, finding.end_seconds, finding.reason))


def _regions(survey: Survey, duration_seconds: float, thresholds: Thresholds) -> list[Finding]:
    """What stands still; the frame of an inset is no overlay besides."""
    insets = pictures_in_picture(survey, thresholds.picture_in_picture, thresholds.still_edges, duration_seconds)
    still = text_and_overlays(survey, thresholds.text, thresholds.still_edges, duration_seconds)
    return insets + [one for one in still if not any(_is_frame(one, inset) for inset in insets)]


def _is_frame(overlay: Finding, inset: Finding) -> bool:
    """Whether an overlay is as large as an inset at the same place and time."""
    a, b = overlay.region, inset.region
    if overlay.reason != "overlay" or overlay.start_seconds != inset.start_seconds or a is None or b is None:
        return False
    width, height = min(a.right, b.right) - max(a.left, b.left), min(a.bottom, b.bottom) - max(a.top, b.top)
    smaller = min((part.right - part.left) * (part.bottom - part.top) for part in (a, b))
    return width > 0 and height > 0 and width * height > 0.5 * smaller


def usable_intervals(findings: list[Finding], duration_seconds: float, config: Usable) -> list[tuple[float, float]]:
    """What is left of 0 to `duration_seconds`, a margin kept from everything refused; leftovers that are too short are left out."""
    refused = sorted((one.start_seconds, one.end_seconds) for one in findings if one.reason in OF_TIME)
    if not refused:
        return [(0.0, duration_seconds)]
    left, start = [], 0.0
    for first, last in refused:
        left.append((start, first - config.margin_seconds if first > 0 else 0.0))
        start = max(start, last + config.margin_seconds)
    left.append((start, duration_seconds))
    return [(first, last) for first, last in left if last - first >= max(config.min_seconds, 1e-6)]
