"""docs/foreign_weights.md lists the families that there are, and every reason for which a key is dropped."""

from __future__ import annotations

import re
from pathlib import Path

from surgrec.hub import endofm, image_layouts, image_models, image_start, videomae, vjepa, vjepa2, vjepa21
from surgrec.hub.initial import FAMILIES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "foreign_weights.md").read_text(encoding="utf-8")


def test_the_page_lists_the_families() -> None:
    section = PAGE.split("## Families")[1].split("##")[0]
    assert tuple(re.findall(r"^\| `([\w.-]+)` \|", section, flags=re.MULTILINE)) == FAMILIES


def test_the_page_gives_every_reason_for_a_drop() -> None:
    drops = (*videomae._CLASSIFIER, *vjepa21._ENCODER_DROPS, *vjepa21._PREDICTOR_DROPS)
    drops += (*image_layouts.DROPS, *image_layouts.HEAD_DROPS, *image_layouts.DINOV3_DROPS, *image_start.DROPS)
    drops += (*endofm.HEAD_DROPS, *endofm.TIME_DROPS)
    for reason in {reason for _, reason in drops} | {vjepa._TABLE, vjepa2._STRAY}:
        assert reason in PAGE


def test_the_page_lists_the_options_after_the_path() -> None:
    known = {
        *videomae._OPTIONS,
        *vjepa.OPTIONS,
        *vjepa2._OPTIONS,
        *image_models.OPTIONS,
        *endofm.OPTIONS,
    }
    assert set(re.findall(r"`@(\w+):", PAGE)) == known
