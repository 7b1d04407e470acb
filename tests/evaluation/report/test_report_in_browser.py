"""The report as headless Chromium shows it: no error, nothing asked for but the file, wide tables in boxes of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from surgrec.evaluation.report import write_report
from tests.evaluation.report.example import example

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
)
WIDTHS = (1280, 400)
TOO_WIDE = "Array.from(document.querySelectorAll('.plot')).filter(plot => plot.scrollWidth > innerWidth).length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install -e '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine; the Debian package of that name holds one")
    with driver.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of six tasks and fifteen encoders; asks for `browser`, so that without one nothing is made."""
    return write_report(example(6, 10), tmp_path_factory.mktemp("report"))[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_without_errors(page: Path, browser: Any, scheme: str) -> None:
    address, wrong, asked = page.as_uri(), [], []
    view = browser.new_page(color_scheme=scheme)
    view.set_default_timeout(120_000)
    view.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    for width in WIDTHS:
        view.set_viewport_size({"width": width, "height": 900})
        view.goto(address, wait_until="load")
        view.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate(TOO_WIDE) == 0
        assert view.evaluate("document.querySelectorAll('.plot svg').length") > 100
    assert wrong == [] and set(asked) == {address}
    paper, text = (view.evaluate(f"getComputedStyle(document.body).{style}") for style in ("backgroundColor", "color"))
    assert (_brightness(paper) > _brightness(text)) == (scheme == "light")
    view.close()


def test_names_heads_and_the_majority_stay_in_sight_while_a_table_scrolls(page: Path, browser: Any) -> None:
    view = browser.new_page(viewport={"width": 500, "height": 600})
    view.set_default_timeout(120_000)
    view.goto(page.as_uri())
    places = view.evaluate(
        """() => {
          const box = document.querySelector('.scroll.wide'); box.scrollTo(200, 150);
          const inside = box.getBoundingClientRect(), of = one => box.querySelector(one).getBoundingClientRect();
          const name = of('tbody tr:nth-child(8) th'), head = of('thead th:nth-child(3)'), majority = of('tfoot td');
          return {moved: [box.scrollLeft, box.scrollTop], left: name.left - inside.left, top: head.top - inside.top,
                  bottom: inside.top + box.clientTop + box.clientHeight - majority.bottom};
        }"""
    )
    assert places["moved"] == [200, 150]
    assert all(abs(places[side]) <= 2 for side in ("left", "top", "bottom"))
    view.close()


def test_a_row_of_a_plot_says_its_numbers_to_those_who_do_not_see_it(page: Path, browser: Any) -> None:
    view = browser.new_page()
    view.set_default_timeout(120_000)
    view.goto(page.as_uri())
    drawn = view.evaluate(
        "Array.from(document.querySelectorAll('.plot:not(.ribbons) tbody tr'), row => "
        "[row.querySelector('svg').getAttribute('aria-label'), row.querySelector('th').innerText + ': ' + row.lastChild.innerText])"
    )
    assert len(drawn) > 50 and all(said == shown for said, shown in drawn)
    view.close()


def _brightness(colour: str) -> int:
    """Of `rgb(r, g, b)`."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
