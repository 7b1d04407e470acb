"""The page: whole in itself, bounded in size, safe whatever a label is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from surgrec.look import MAX_MOMENTS
from surgrec.looking.charts import coloured_by_label, coloured_by_time
from surgrec.looking.components import principal
from surgrec.looking.embedding import embed
from surgrec.looking.found import Found, Look, Neighbours
from surgrec.looking.moments import PICTURE_PIXELS, Seen, plan_moments
from surgrec.looking.neighbours import Neighbour
from surgrec.looking.page import as_html
from surgrec.looking.similarity import encode_tokens, num_components
from tests.hub.build import PREPROCESS

NASTY = "</script><script>alert(1)</script>\"'&"
DURATION = 40.0


def look_of(num_moments: int = 6, cells: int = 4, width: int = 24, is_noise: bool = False) -> Look:
    """Of moments that nothing was decoded for."""
    draw = np.random.default_rng(0)
    plan = plan_moments(DURATION * 4, PREPROCESS, 2, num_moments)
    shape = (num_moments, PICTURE_PIXELS, PICTURE_PIXELS, 3)
    frames = draw.integers(0, 256, shape, dtype=np.uint8) if is_noise else np.full(shape, 90, np.uint8)
    tokens = draw.normal(size=(num_moments, cells, cells, width)).astype(np.float32)
    starts = plan.times_seconds[:, 0]
    pooled = tokens.mean((1, 2))
    seen = Seen(plan.seconds, plan.places, frames, tokens, pooled, starts, starts + 0.8, {}, 0, plan)
    components = principal(tokens.reshape(-1, width), num_components(num_moments * cells**2, width))
    return Look(
        video_id="lap_0123456789ab",
        duration_seconds=DURATION * 4,
        model={"variant": "mae", "step": 300},
        sha256="ab" * 32,
        seen=seen,
        components=components,
        codes=encode_tokens(tokens, components),
        embedded=embed(seen.embeddings, "pca"),
        colouring=coloured_by_time(seen.seconds, DURATION * 4),
    )


class Reader(HTMLParser):
    """What a page asks a browser for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.scripts: list[str] = []
        self.policy, self._is_script, self.data = "", False, ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.asked += [str(values[name]) for name in ("src", "href", "srcset", "action", "poster") if name in values]
        self.policy = str(values["content"]) if values.get("http-equiv") == "Content-Security-Policy" else self.policy
        self._is_script = tag == "script"
        if tag == "script" and "type" not in values:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_script = self._is_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._is_script and self.scripts:
            self.scripts[-1] += data
        elif self._is_script:
            self.data += data


def test_a_page_needs_nothing_else() -> None:
    text = as_html(look_of())
    read = Reader(text)
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in read.asked) and read.asked
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|import\(", text)
    (script,) = read.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert read.policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def test_the_same_look_gives_the_same_page() -> None:
    assert as_html(look_of()) == as_html(look_of())


def test_the_data_are_those_of_the_look() -> None:
    look = look_of()
    data: dict[str, Any] = json.loads(Reader(as_html(look)).data)
    assert data["shape"] == [6, 4, 4, 24] and len(data["frames"]) == len(data["times"]) == 6
    codes = np.frombuffer(base64.b64decode(data["codes"]), np.int8).reshape(data["shape"])
    np.testing.assert_array_equal(codes, look.codes.codes)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(data["scales"]), "<f4"), look.codes.scales.ravel())
    assert np.frombuffer(base64.b64decode(data["colours"]), np.uint8).size == 6 * 16 * 3


def test_labels_and_ids_are_text_whatever_they_are() -> None:
    marks = [(0.0, NASTY), (50.0, ""), (100.0, "dissection")]
    look = look_of()
    colouring = coloured_by_label(look.seen.seconds, look.duration_seconds, marks)
    found = Found(Neighbour(0.5, "eye_1", 1.0, 2.0), np.zeros((8, 8, 3), np.uint8), NASTY, is_same_case=True)
    neighbours = Neighbours(((1, (found, Found(Neighbour(0.4, "eye_2", 0.0, 1.0)))),), 7, 2, 0.25)
    text = as_html(replace(look, colouring=colouring, neighbours=neighbours))
    read = Reader(text)
    assert len(read.scripts) == 1 and "<script>alert" not in text
    assert json.loads(read.data)["labels"].count(NASTY) == sum(look.seen.seconds < 50)
    assert "same case" in text and "no picture" in text and "no label" in text


def test_spans_cover_the_video_once() -> None:
    seconds = np.arange(0, 100, 10.0)
    for marks in ([(0.0, "a"), (40.0, "b")], [(20.0, "a"), (20.0, "b"), (30.0, "b"), (200.0, "c")], [(5.0, "")]):
        made = coloured_by_label(seconds, 100.0, marks)
        assert made.spans[0][0] == 0 and made.spans[-1][1] == 100.0
        assert all(one[1] == two[0] and one[2] != two[2] for one, two in zip(made.spans, made.spans[1:], strict=False))
        for second, colour in zip(seconds, made.colours, strict=True):
            (name,) = [name for start, end, name in made.spans if start <= second < end]
            assert colour == made.colour_of(name)


def test_many_labels_have_a_colour_each() -> None:
    marks = [(float(number), f"phase {number}") for number in range(40)]
    made = coloured_by_label(np.arange(40.0), 40.0, marks)
    assert len(set(made.colours)) == 40 and len(made.legend) == 40


@pytest.mark.parametrize("grid", [14, 24])
def test_the_largest_page_is_bounded(grid: int) -> None:
    text = as_html(look_of(MAX_MOMENTS, cells=grid, width=96, is_noise=True))  # noise is the largest JPEG there is
    assert len(text) < 25e6
    assert f"{MAX_MOMENTS} of 400 time steps are shown, evenly over the video, one every" in text
