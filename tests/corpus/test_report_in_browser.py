"""Pages as headless Chromium shows them: no error, nothing asked for but the file, every picture there, nothing too wide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from surgrec import audit, corpus_command, filter, synthesize
from surgrec.core.console import run_command
from surgrec.corpus.manifest import Manifest
from tests.browser import browser, opened

__all__ = ["browser"]
pytestmark = pytest.mark.slow

SOURCES = ("chole_center", "colon_round", "cataract_fine")
WIDTHS = (1280, 400)
HEADINGS = {
    "corpus": ["Corpus report", "Composition", "Files", "Licences", "Groups and splits", "What the filters took", "Duplicates",
               "Contamination", "Known overlaps", "Refused", "Removed"],
    "splits": ["Audit of splits", "Splits", "Classes"],
    "contamination": ["Audit of contamination"],
}  # fmt: skip


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report on a part of the synthesised corpus, with findings and an audit, and the reports of both audits. Asks for `browser`, so that
    without one nothing is made."""
    folder = tmp_path_factory.mktemp("pages")
    whole, corpus, test = folder / "synthesised" / "manifest.parquet", folder / "m.parquet", folder / "test.parquet"
    assert synthesize.main(["--out", str(folder / "synthesised"), "--workers", "2"]) == 0
    table = Manifest.read([whole]).table
    Manifest(table.filter(pc.is_in(table["source"], pc.cast(list(SOURCES), "string")))).write(corpus)
    Manifest(table.filter(pc.equal(table["source"], SOURCES[2])).slice(0, 1)).write(test)
    assert filter.main(["--manifest", str(corpus), "--workers", "2"]) == 0
    made = {name: folder / f"{name}.html" for name in HEADINGS}
    audited = ["--pretrain", str(corpus), "--downstream", str(test), "--out", str(made["contamination"])]
    assert audit.main(["contamination", *audited, "--workers", "2"]) == 2  # the test video is in the corpus
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("".join(f"case_{i % 5}/{split}_{i}.mp4 {i % 3}\n" for i in range(60)))
    lists = ["--train", str(folder / "train.csv"), "--test", str(folder / "test.csv"), "--group-pattern", r"case_(\d)"]
    assert audit.main(["splits", *lists, "--out", str(made["splits"])]) == 2  # cases are in both
    report = ["report", "--manifest", str(corpus), "--out", str(made["corpus"]), "--workers", "2"]
    assert run_command(lambda: corpus_command.main(report)) == 0
    return made


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", HEADINGS)
def test_a_page_shows_without_errors(pages: dict[str, Path], browser: Any, name: str, scheme: str) -> None:
    wrong: list[str] = []
    asked: set[str] = set()
    for width in WIDTHS:
        viewport = {"width": width, "height": 900}
        view = opened(browser, pages[name], wrong, asked, color_scheme=scheme, viewport=viewport)
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate("document.body.scrollWidth") <= width
        headings = view.locator("h1, h2").all_inner_texts()
        assert [heading for heading in HEADINGS[name] if heading not in headings] == []
        sizes = view.evaluate("Array.from(document.images, image => [image.complete, image.naturalWidth, image.width])")
        assert all(is_complete and natural > 0 and shown > 0 for is_complete, natural, shown in sizes)
        assert (len(sizes) > 10) == (name == "corpus")
        colours = (view.evaluate(f"getComputedStyle(document.body).{style}") for style in ("backgroundColor", "color"))
        paper, text = map(_brightness, colours)
        assert (paper > text) == (scheme == "light")
        view.close()
    assert wrong == [] and asked == {pages[name].as_uri()}


def test_a_link_leads_to_its_section(pages: dict[str, Path], browser: Any) -> None:
    view = opened(browser, pages["corpus"], [], set(), viewport={"width": 1280, "height": 900})
    links = view.locator("nav a")
    assert links.count() == len(HEADINGS["corpus"]) - 1
    for number in range(links.count()):
        target = view.locator(str(links.nth(number).get_attribute("href")))
        assert target.inner_text() == links.nth(number).inner_text()
    view.close()


def _brightness(colour: str) -> int:
    """Of `rgb(r, g, b)`."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
