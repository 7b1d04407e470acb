"""Write a report.

In: `Results`, a folder. Out: `report.html` and `report.md` in it, each whole or not at all. It is its own file because it alone
touches a disk.
"""

from __future__ import annotations

from pathlib import Path

from surgrec.core.atomic import write_text
from surgrec.evaluation.report.as_html import as_html
from surgrec.evaluation.report.as_markdown import as_markdown
from surgrec.evaluation.report.contents import contents
from surgrec.evaluation.report.known import Known
from surgrec.evaluation.results import Results

PAGE, TEXT = "report.html", "report.md"


def write_report(results: Results, folder: Path) -> tuple[Path, Path]:
    """The paths of the page and of the Markdown; the same results give the same bytes.

    Raises `UserError` for results that contradict themselves, before anything is written.
    """
    title, blocks = f"Benchmark: {results.name}", contents(Known(results))
    page, text = as_html(title, blocks), as_markdown(title, blocks)
    folder = Path(folder)
    write_text(folder / PAGE, page)
    write_text(folder / TEXT, text)
    return folder / PAGE, folder / TEXT
