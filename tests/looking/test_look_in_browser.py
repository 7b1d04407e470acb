"""The page as headless Chromium shows it: no error, nothing asked for but the file, and clicks that do what Python computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surgrec.features.videos import Video
from surgrec.hub.load import LoadedModel, load_decoder
from surgrec.looking.found import Found, Look, Neighbours
from surgrec.looking.neighbours import Neighbour
from surgrec.looking.page import as_html
from surgrec.looking.study import Labels, study
from tests.browser import browser, opened

__all__ = ["browser"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def look(
    model: LoadedModel, release: Path, video: Callable[[float], Path], tmp_path_factory: pytest.TempPathFactory
) -> Look:
    labels = tmp_path_factory.mktemp("labels") / "phases.csv"
    labels.write_text("time_seconds,phase\n0,preparation\n2,dissection of <Calot's> triangle\n")
    decoder = load_decoder(release)
    made = study(model, Video("lap_1", video(4.2), 4.2), num_moments=9, labels=Labels(labels, "phase"), decoder=decoder)
    found = Found(Neighbour(0.5, "eye_" + 12 * "1", 1.0, 2.0), made.seen.frames[0], "incision")
    absent = Found(Neighbour(0.4, "eye_" + 12 * "2", 0.0, 1.0))
    return replace(made, neighbours=Neighbours(((1, (found, absent)),), 7, 2, 0.25))


@pytest.fixture(scope="module")
def page(look: Look, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "look.html"
    file.write_text(as_html(look), encoding="utf-8")
    return file


def look_at(
    browser: Any, page: Path, wrong: list[str], asked: set[str], scheme: str = "light", width: int = 1280
) -> Any:
    return opened(browser, page, wrong, asked, color_scheme=scheme, viewport={"width": width, "height": 900})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_shows_without_errors(browser: Any, page: Path, scheme: str, width: int) -> None:
    wrong: list[str] = []
    asked: set[str] = set()
    view = look_at(browser, page, wrong, asked, scheme, width)
    assert view.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)") <= width
    assert view.locator("h2").all_inner_texts() == [
        "Click a patch", "Feature map", "Timeline", "Nearest neighbours", "Reconstruction"
    ]  # fmt: skip
    sizes = view.evaluate("Array.from(document.images, image => [image.complete, image.naturalWidth, image.width])")
    assert len(sizes) > 10 and all(is_complete and natural > 0 and shown > 0 for is_complete, natural, shown in sizes)
    assert view.locator("#viewer").is_visible() and view.locator("canvas").count() == 2
    paper, text = (
        sum(map(int, view.evaluate(f"getComputedStyle(document.body).{style}.match(/\\d+/g)")))
        for style in ("backgroundColor", "color")
    )
    assert (paper > text) == (scheme == "light")
    assert wrong == [] and asked == {page.as_uri()}
    view.close()


def test_the_browser_computes_what_python_does(browser: Any, page: Path, look: Look) -> None:
    view = look_at(browser, page, [], set())
    for place in ((0, 0, 0), (4, 2, 3), (8, 3, 1)):
        for is_centred in (False, True):
            call = f"Array.from(document.getElementById('viewer').similarity({','.join(map(str, place))},{str(is_centred).lower()}))"
            wanted = look.codes.similarity(*place, is_centred)
            np.testing.assert_allclose(view.evaluate(call), wanted.ravel(), atol=1e-4)
    view.close()


def test_a_click_asks_for_its_patch(browser: Any, page: Path, look: Look) -> None:
    wrong: list[str] = []
    view = look_at(browser, page, wrong, set())
    pane = view.locator(".pane").first
    box = pane.bounding_box()
    pane.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.1})
    part = "[data-part={}]"
    assert view.locator(part.format("asked")).inner_text().startswith("row 1, column 4 at ")
    before = view.locator(part.format("low")).inner_text()
    view.locator(part.format("centred")).check()
    assert view.locator(part.format("low")).inner_text() != before
    pane.press("ArrowDown")
    pane.press("ArrowLeft")
    assert view.locator(part.format("asked")).inner_text().startswith("row 2, column 3 at ")
    assert view.locator(part.format("mark")).is_visible()
    slider = view.locator(part.format("slider"))
    slider.press("End")
    assert "moment 9 of 9" in view.locator(part.format("time")).inner_text()
    assert view.locator(part.format("label")).inner_text() == "dissection of <Calot's> triangle"
    assert not view.locator(part.format("mark")).is_visible()  # the patch is of another moment
    view.locator("circle[data-moment='2']").click()
    assert "moment 3 of 9" in view.locator(part.format("time")).inner_text()
    shown = view.locator(part.format("frame")).get_attribute("src")
    assert shown == view.locator("#beside").get_attribute("src")
    centre = "[...document.querySelector('[data-part=map]').getContext('2d').getImageData(2, 1, 1, 1).data]"
    assert view.evaluate(centre) == [*look.colours[2, 1, 2].tolist(), 255]
    assert wrong == []
    view.close()


def test_it_plays(browser: Any, page: Path) -> None:
    view = look_at(browser, page, [], set())
    time = view.locator("[data-part=time]")
    before = time.inner_text()
    view.locator("[data-part=play]").click()
    view.wait_for_function("before => document.querySelector('[data-part=time]').textContent !== before", arg=before)
    view.locator("[data-part=play]").click()
    stopped = time.inner_text()
    view.wait_for_timeout(700)  # more than two moments at the slowest
    assert time.inner_text() == stopped and view.locator("[data-part=play]").inner_text() == "Play"
    view.close()


def test_without_scripts_the_rest_is_there(browser: Any, page: Path) -> None:
    view = opened(browser, page, [], set(), java_script_enabled=False)
    assert not view.locator("#viewer").is_visible() and "Clicking needs a browser" in view.locator("body").inner_text()
    assert view.locator(".stills img").count() == 8
    view.close()
