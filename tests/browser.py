"""An installed Chromium without a window, for tests of pages: the fixture `browser`, and a page with what it asks for and complains of.

It is its own file because every page for people is shown alike.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
)
PATIENCE_MILLISECONDS = 300_000  # ten times playwright's own: on a busy machine a browser starts in a minute


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install -e '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine; the Debian package of that name holds one")
    with driver.sync_playwright() as play:
        flags = list(FLAGS)
        started = play.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=PATIENCE_MILLISECONDS)
        yield started
        started.close()


def opened(browser: Any, file: Path, wrong: list[str], asked: set[str], **options: Any) -> Any:
    """A page of `file`, loaded; its errors, warnings and failed requests go to `wrong`, the addresses that it asks for to `asked`."""
    view = browser.new_page(**options)
    view.set_default_timeout(PATIENCE_MILLISECONDS)
    view.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.on("requestfailed", lambda request: wrong.append(request.url[:100]))
    view.on("request", lambda request: asked.add(request.url) if not request.url.startswith("data:") else None)
    view.goto(file.as_uri(), wait_until="load")
    return view
