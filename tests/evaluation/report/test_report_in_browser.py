"""The report as headless Chromium shows it: no error, nothing asked for but the file, wide tables in boxes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from surgrec.evaluation.report import write_report
from tests.browser import browser, opened
from tests.evaluation.report.example import example

__all__ = ["browser"]
pytestmark = pytest.mark.slow

WIDTHS = (1280, 400)
TOO_WIDE = "Array.from(document.querySelectorAll('.plot')).filter(plot => plot.scrollWidth > innerWidth).length"


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of six tasks and fifteen encoders; asks for `browser`, so that without one nothing is made."""
    return write_report(example(6, 10), tmp_path_factory.mktemp("report"))[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_without_errors(page: Path, browser: Any, scheme: str) -> None:
    wrong, asked = list[str](), set[str]()
    view = opened(browser, page, wrong, asked, color_scheme=scheme)
    for width in WIDTHS:
        view.set_viewport_size({"width": width, "height": 900})
        view.goto(page.as_uri(), wait_until="load")
        view.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate(TOO_WIDE) == 0
        assert view.evaluate("document.querySelectorAll('.plot svg').length") > 100
    assert wrong == [] and asked == {page.as_uri()}
    paper, text = (view.evaluate(f"getComputedStyle(document.body).{style}") for style in ("backgroundColor", "color"))
    assert (_brightness(paper) > _brightness(text)) == (scheme == "light")
    view.close()


def test_names_heads_and_the_majority_stay_in_sight_while_a_table_scrolls(page: Path, browser: Any) -> None:
    view = opened(browser, page, [], set(), viewport={"width": 500, "height": 600})
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
    view = opened(browser, page, [], set())
    drawn = view.evaluate(
        "Array.from(document.querySelectorAll('.plot:not(.ribbons) tbody tr'), row => "
        "[row.querySelector('svg').getAttribute('aria-label'), row.querySelector('th').innerText + ': ' + row.lastChild.innerText])"
    )
    assert len(drawn) > 50 and all(said == shown for said, shown in drawn)
    view.close()


def _brightness(colour: str) -> int:
    """Of `rgb(r, g, b)`."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
