"""The pieces of a page: whatever is put in comes out as text, and the page needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from surgrec.core.html import Html, bar, data_block, element, escaped, joined, page, table

NASTY = "<script>alert('x')</script> & \"quoted\""


class Reader(HTMLParser):
    """Reads a page as a browser would: tags, attributes and text; checks that every tag is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_text_is_escaped_everywhere_and_only_once() -> None:
    made = page(
        NASTY,
        element("p", NASTY, title=NASTY),
        table([NASTY], [[NASTY]], caption=NASTY),
        bar(0.5, NASTY),
        joined([NASTY, element("b", NASTY)]),
    )
    read = Reader(made)
    assert "script" not in read.tags
    assert "".join(read.text).count(NASTY) == 9  # title, h1, p, th, td, caption, bar and two of joined
    assert ("title", NASTY) in read.attributes
    assert escaped(escaped("<")) == "&lt;" and escaped(Html("<b>")) == "<b>"


def test_a_page_asks_for_nothing_from_elsewhere() -> None:
    read = Reader(page("Title", element("p", "text")))
    assert not {"link", "script", "img", "iframe"} & set(read.tags)
    assert not re.search(r"url\(|@import|https?:", page("Title"))
    assert any(name == "content" and "default-src 'none'" in value for name, value in read.attributes)
    assert {name for name, _ in read.attributes} >= {"lang", "charset"}


def test_numbers_stand_right_and_text_left() -> None:
    made = table(["what", "count", "share"], [["clips", 12345, 0.5]])
    assert '<td>clips</td><td class="number">12,345</td><td class="number">0.500</td>' in made


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells, the table 1 columns"):
        table(["one"], [["a", "b"]])


@pytest.mark.parametrize(("share", "width"), [(-1.0, "0.0"), (0.25, "25.0"), (3.0, "100.0")])
def test_a_bar_stays_in_its_frame(share: float, width: str) -> None:
    assert f"width:{width}%" in bar(share, "label")


def test_a_page_runs_its_own_script_and_no_other() -> None:
    script = "const a = 1 < 2 && '</b>';"
    made = page(
        "Title",
        data_block("data", {"text": "</script><script>", "numbers": [1, 2.5]}),
        script=script,
        style="p { color: red; }",
    )
    read = Reader(made)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [value for name, value in read.attributes if name == "content" and "default-src" in value]
    assert policy.endswith(f"; script-src 'sha256-{digest}'") and "unsafe-inline'; img" in policy
    assert read.tags.count("script") == 2 and f"<script>{script}</script>" in made and "color: red" in made
    written = made.split('id="data">')[1].split("</script>")[0]
    assert json.loads(written) == {"text": "</script><script>", "numbers": [1, 2.5]}
