"""The report: it says what the results say, leaves nothing out in silence, and shows hostile names as what they are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.report import write_report
from surgrec.evaluation.report.as_markdown import escaped
from surgrec.evaluation.report.blocks import Grid
from surgrec.evaluation.report.contents import contents
from surgrec.evaluation.report.known import Known
from surgrec.evaluation.report.means import mean_score
from surgrec.evaluation.results import MAJORITY, Gap, Results
from tests.core.test_html import NASTY, Reader
from tests.evaluation.report.example import example

HOSTILE = (
    NASTY,
    "</table></details>",
    "![x](http://example.org/x.png)",
    "a | b",
    "`code",
    "**bold**",
    "line\n# break",
    '" onload="x',
)


@pytest.fixture(scope="module")
def results() -> Results:
    return example()


@pytest.fixture(scope="module")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Page and Markdown of these results."""
    return written(results, tmp_path_factory.mktemp("report"))


def written(results: Results, folder: Path) -> tuple[str, str]:
    page, text = write_report(results, folder)
    return page.read_text(encoding="utf-8"), text.read_text(encoding="utf-8")


def tables_of(text: str) -> list[list[list[str]]]:
    """Every table of a Markdown text: rows of cells, the header first."""
    found: list[list[list[str]]] = []
    was_row = False
    for line in text.splitlines():
        if line.startswith("|"):
            if not was_row:
                found.append([])
            if not re.fullmatch(r"\|(-+:?\|)+", line):
                found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        was_row = line.startswith("|")
    return found


def shows(cell: str, *values: float) -> bool:
    """Whether the first numbers in a cell are `values`, rounded to the digits that stand there."""
    texts = re.findall(r"-?\d+\.\d+", cell)[: len(values)]
    return len(texts) == len(values) and all(
        f"{value:.{len(text.split('.')[1])}f}" == text for value, text in zip(values, texts, strict=True)
    )


# -- what it says


def test_every_number_of_a_main_table_is_that_of_the_results(results: Results, report: tuple[str, str]) -> None:
    known, seen = Known(results), 0
    mains = [
        table for table in tables_of(report[1]) if table[0][0].startswith("encoder (") and "split)" in table[0][-1]
    ]
    assert len(mains) == len(known.tables())
    for (protocol, metric, places), (_, *rows) in zip(known.tables(), mains, strict=True):
        names = [*known.rows(places, protocol), MAJORITY]
        assert len(rows) == len(names)
        for name, row in zip(names, rows, strict=True):
            assert row[0].startswith(known.title(name))
            for place, cell in zip(places, row[-len(places) :], strict=True):
                score = known.score(place, name, protocol, metric)
                if score is None:
                    assert cell.startswith(("failed, gap 1", "not run"))
                    continue
                assert score.low is not None and score.high is not None
                assert shows(cell, score.estimate, score.low, score.high)
                seen += 1
            if len(row) > 1 + len(places):
                scores = [known.score(place, name, protocol, metric) for place in places]
                mean = mean_score([score for score in scores if score]) if all(scores) else None
                assert (
                    row[1] == "not all tasks"
                    if mean is None
                    else shows(row[1], mean.estimate, mean.low or 0, mean.high or 0)
                )
    assert seen >= len(results.cells)  # those of baselines that look at nothing stand in several tables


def test_every_number_of_a_task_a_comparison_and_a_rank_is_that_of_the_results(
    results: Results, report: tuple[str, str]
) -> None:
    text = report[1]
    cells = [cell for table in tables_of(text) for row in table[1:] for cell in row]
    for cell in results.cells:
        for score in cell.scores:
            assert any(shows(shown, score.estimate, score.low or 0, score.high or 0) for shown in cells)
    titles = {encoder.name: encoder.title for encoder in results.encoders}
    pairs = {}
    for table in tables_of(text):
        if table[0][:2] == ["a", "b"]:
            for row in table[1:]:
                pairs.setdefault((row[0], row[1]), []).append(row)
    for one in results.comparisons:
        assert any(
            shows(row[3], one.difference) and shows(row[4], one.low, one.high)
            and float(row[5]) == pytest.approx(one.p, rel=6e-3) and float(row[6]) == pytest.approx(one.p_corrected, rel=6e-3)
            for row in pairs[titles[one.a], titles[one.b]]
        )  # fmt: skip
    ranked = [row for table in tables_of(text) if "probability of being best" in table[0] for row in table[1:]]
    assert len(ranked) == len(results.ranks)
    for rank in results.ranks:
        assert any(
            row[0].startswith(titles[rank.encoder]) and shows(row[1], rank.mean_rank) and shows(row[2], rank.low, rank.high)
            and shows(row[3], rank.probability_best) for row in ranked
        )  # fmt: skip


def test_no_number_comes_from_nowhere(results: Results, report: tuple[str, str]) -> None:
    """Every number with three decimals in a Markdown table is one of the results, or a mean of them."""
    known = Known(results)
    allowed = {
        value
        for cell in results.cells
        for score in cell.scores
        for value in (score.estimate, score.low, score.high, *score.seeds)
    }
    allowed |= {
        value for cell in results.cells for each in cell.per_class for value in (each.precision, each.recall, each.f1)
    }
    allowed |= {value for one in results.comparisons for value in (one.difference, one.low, one.high)}
    allowed |= {
        value for rank in results.ranks for value in (rank.mean_rank, rank.low, rank.high, rank.probability_best)
    }
    for protocol, metric, places in known.tables():
        for name in known.encoders:
            scores = [score for place in places if (score := known.score(place, name, protocol, metric))]
            if (mean := mean_score(scores)) is not None:
                allowed |= {mean.estimate, mean.low, mean.high}
    rounded = {f"{value:.{digits}f}" for value in allowed if value is not None for digits in range(3, 11)}
    tables = [table for table in tables_of(report[1]) if table[0][:2] != ["a", "b"]]
    shown = [
        text for table in tables for row in table[1:] for cell in row for text in re.findall(r"-?\d+\.\d{3,}\b", cell)
    ]
    assert len(shown) > 500
    assert [text for text in shown if text not in rounded and text != "0.000"] == []


def test_the_majority_stands_in_every_table_last(results: Results, report: tuple[str, str]) -> None:
    page, text = report
    tables = [
        table
        for table in tables_of(text)
        if table[0][0].startswith("encoder (") and "probability of being best" not in table[0]
    ]
    assert tables and all(table[-1][0].startswith("majority") for table in tables)
    assert page.count("<tfoot>") >= len(tables) and page.count('class="majority-line"') > len(results.cells)


def test_without_a_majority_its_row_is_there_with_an_alarm_and_no_mean(results: Results, tmp_path: Path) -> None:
    without = replace(
        results,
        cells=tuple(cell for cell in results.cells if cell.encoder != MAJORITY),
        encoders=tuple(encoder for encoder in results.encoders if encoder.name != MAJORITY),
        comparisons=(), ranks=(),
    )  # fmt: skip
    page, text = written(without, tmp_path)
    mains = [table for table in tables_of(text) if table[0][0].startswith("encoder (") and "split)" in table[0][-1]]
    assert mains and all(table[-1][0].startswith("majority") and set(table[-1][1:]) == {"not run"} for table in mains)
    assert all("mean" not in table[0][1] for table in mains)
    assert "The majority was not run on all tasks" in page and "No mean over tasks is given" in page


def test_a_mean_stands_beside_the_majoritys_and_only_where_no_task_is_missing(report: tuple[str, str]) -> None:
    mains = [
        table for table in tables_of(report[1]) if table[0][0].startswith("encoder (") and "split)" in table[0][-1]
    ]
    with_mean = [table for table in mains if table[0][1].startswith("mean (of 3 tasks)")]
    assert len(with_mean) == 3
    for table in with_mean:
        assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", table[-1][1])
    (failed,) = (row for row in with_mean[0] if row[0].startswith("random initialisation"))
    assert failed[1] == "not all tasks" and failed[-1] == "failed, gap 1"


def test_numbers_of_single_seeds_are_of_the_metric_that_their_column_names(results: Results, tmp_path: Path) -> None:
    """Whatever the order in which a cell from elsewhere lists its metrics."""
    cells = tuple(
        replace(cell, scores=cell.scores[::-1]) if cell.encoder == "foreign_0" else cell for cell in results.cells
    )
    assert written(replace(results, cells=cells), tmp_path)[1] == written(results, tmp_path)[1]


def test_a_mean_of_tasks_on_the_same_videos_is_wider_and_says_so(results: Results, tmp_path: Path) -> None:
    one, two, *rest = results.tasks
    shared = replace(results, tasks=(replace(one, sharing=(two.name,)), replace(two, sharing=(one.name,)), *rest))
    apart = Known(shared).apart
    assert apart[one.name] == apart[two.name] == one.name and all(apart[each.name] == each.name for each in rest)
    assert "are in part of the same videos" in written(shared, tmp_path / "shared")[1]
    assert "are in part of the same videos" not in written(results, tmp_path / "apart")[1]

    def widths(found: Results) -> list[float]:
        known = Known(found)
        protocol, metric, places = known.tables()[0]
        scores = [known.score(place, "mae", protocol, metric) for place in places]
        mean = mean_score([each for each in scores if each], [known.apart[task] for task, _ in places])
        assert mean is not None and mean.low is not None and mean.high is not None
        return [mean.estimate - mean.low, mean.high - mean.estimate]

    assert all(wide > narrow for wide, narrow in zip(widths(shared), widths(results), strict=True))


def test_alarms_gaps_notes_and_findings_are_where_the_number_is_and_at_the_top(report: tuple[str, str]) -> None:
    page, text = report
    before, after = page.split("<nav", 1)
    told = ["one class was predicted for all 300 test rows", "features were not finite in 3 of 41 clips"]
    assert all(sentence in before and sentence in after and sentence in text for sentence in told)
    for word in ("alarm-1", "gap-1", "note-1"):
        assert f'href="#{word}"' in page and f'id="{word}"' in page
    assert "3 of 41 test cases are in train too (generated)" in text and "1 finding" in text
    assert "Finding: 3 of 41" in text and "Audit:" not in text, "not all that is found of a task is the auditor's"


def test_every_link_leads_to_one_place(report: tuple[str, str]) -> None:
    reader = Reader(report[0])
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    assert {value[1:] for name, value in reader.attributes if name == "href"} <= set(ids)


def test_a_failed_task_is_missing_with_its_reason_and_the_others_stay(results: Results, tmp_path: Path) -> None:
    lost = results.tasks[1].name
    failed = replace(
        results,
        cells=tuple(cell for cell in results.cells if cell.task != lost),
        comparisons=tuple(one for one in results.comparisons if one.task != lost),
        gaps=(Gap(lost, "", "", "its archive lacks the folder videos/"),),
    )
    page, text = written(failed, tmp_path)
    for form in (page, text):
        assert form.count("its archive lacks the folder videos/") >= 4
        assert "There is no finished number of this task." in form
        assert "all encoders, all protocols" in form


def test_a_majority_that_failed_is_explained_beside_every_protocol(results: Results) -> None:
    task = results.tasks[0].name
    cells = tuple(cell for cell in results.cells if (cell.task, cell.encoder) != (task, MAJORITY))
    known = Known(replace(results, cells=cells, gaps=(Gap(task, MAJORITY, "none", "no train row"),)))
    for protocol in known.protocols:
        assert known.gap(task, MAJORITY, protocol) is not None
        assert known.gap(task, "mae", protocol) is None


def test_nothing_at_all_is_a_report_too(tmp_path: Path) -> None:
    page, text = written(Results(1, "empty", "2026-01-01", {}, (), (), ()), tmp_path)
    assert "There is no finished number." in page and "There is no finished number." in text


def test_protocol_and_splits_and_environment_and_cost_are_there(results: Results, report: tuple[str, str]) -> None:
    text = report[1]
    for task in results.tasks:
        assert all(f"`{split.hash}`" in text for split in task.splits)
    assert "hardware: gpu" in text and "0 of 41 test videos found by bytes, patient or footage" in text
    total = f"{sum(cell.seconds for cell in results.cells):,.1f}"
    assert total in text and f"{sum(cell.num_fits for cell in results.cells):,}" in text


def test_confusions_and_timelines_are_on_the_page(results: Results, report: tuple[str, str]) -> None:
    page = report[0]
    cell = next(cell for cell in results.cells if cell.encoder == "mae" and cell.timelines)
    assert (
        "Confusion matrices" in page and f"taken for {results.tasks[2].classes[1]}: {cell.confusion[0][1]:,} of" in page
    )
    timeline = cell.timelines[0]
    right = sum(a == b for a, b in zip(timeline.truth, timeline.predicted, strict=True))
    assert f"{right} of {len(timeline.truth)} right" in page and timeline.video_id in page


# -- what it is


def test_the_page_needs_nothing_but_itself(report: tuple[str, str]) -> None:
    page = report[0]
    reader = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(reader.tags)
    assert all(value.startswith("#") for name, value in reader.attributes if name in ("href", "src", "xlink:href"))
    assert not re.search(r"(https?:)?//|@import|url\(", page)


def test_the_same_results_give_the_same_bytes(results: Results, tmp_path: Path) -> None:
    assert written(results, tmp_path / "a") == written(example(), tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["report.html", "report.md"]


def poisoned(value: Any, word: str) -> Any:
    """Results whose titles, sentences and names are hostile."""
    tasks = tuple(
        replace(task, title=word, domain=word, classes=tuple(f"{word} {place}" for place in range(len(task.classes))), findings=(word,),
                splits=tuple(replace(split, hash=word, origin=word) for split in task.splits))
        for task in value.tasks
    )  # fmt: skip
    encoders = tuple(
        replace(
            one,
            title=word,
            geometry={word: word},
            weights={word: [word]},
            contamination={task.name: word for task in tasks},
        )
        for one in value.encoders
    )
    cells = tuple(
        replace(cell, note=word, alarm=word, chosen={word: word}, timelines=tuple(replace(one, video_id=word) for one in cell.timelines),
                scores=tuple(replace(score, form=word) for score in cell.scores))
        for cell in value.cells
    )  # fmt: skip
    gaps = tuple(replace(gap, reason=word) for gap in value.gaps)
    return replace(
        value,
        name=word,
        date=word,
        environment={word: {word: [word]}},
        tasks=tasks,
        encoders=encoders,
        cells=cells,
        gaps=gaps,
    )


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return written(poisoned(example(3, 1), "harmless"), tmp_path_factory.mktemp("harmless"))


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_names_are_shown_as_they_are(word: str, harmless: tuple[str, str], tmp_path: Path) -> None:
    page, text = written(poisoned(example(3, 1), word), tmp_path)
    reader, calm = Reader(page), Reader(harmless[0])
    assert reader.tags == calm.tags
    assert [name for name, _ in reader.attributes] == [name for name, _ in calm.attributes]
    assert sum(word in piece for piece in reader.text) > 20
    outside_of_code = re.sub(r"(?<!\\)`[^`\n]*`", "", text)
    assert "<" not in outside_of_code and not re.search(r"(?<!\\)\[[^\]]*(?<!\\)\]\(", outside_of_code)
    rows, calm_rows = tables_of(text), tables_of(harmless[1])
    assert [[len(row) for row in table] for table in rows] == [[len(row) for row in table] for table in calm_rows]
    headings = re.findall(r"^#+ ", text, flags=re.MULTILINE)
    assert headings == re.findall(r"^#+ ", harmless[1], flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# no heading", "\\# no heading"),
        ("- no point", "\\- no point"),
        ("1. no point", "1\\. no point"),
        ("0.712 of macro_f1", "0.712 of macro_f1"),
        ("_a_", "\\_a\\_"),
        ("a\n\nb", "a b"),
        ("---", "\\---"),
        ("&lt;", "&amp;lt;"),
        ("http://a.b and www.a.b", "http\\://a.b and www\\.a.b"),
        ("write to a@b.c", "write to a\\@b.c"),
    ],
)
def test_markdown_shows_text_as_it_is(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_results_that_contradict_themselves_are_refused_and_nothing_is_written(
    results: Results, tmp_path: Path
) -> None:
    cell = next(cell for cell in results.cells if cell.timelines)
    ragged = replace(cell, timelines=(replace(cell.timelines[0], truth=(0,)),))
    wrong = {
        "the task 'lost'": replace(cell, task="lost"),
        "the encoder 'lost'": replace(cell, encoder="lost"),
        "not square": replace(cell, confusion=((1, 2),)),
        "more times than labels": ragged,
    }
    for told, one in wrong.items():
        with pytest.raises(UserError, match=told):
            write_report(replace(results, cells=(one,), comparisons=(), ranks=()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_killed_writer_leaves_the_report_before(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(results, tmp_path)
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        write_report(replace(results, name="another"), tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "report.html").read_text() == before[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]


def test_a_large_benchmark_keeps_every_encoder_and_task_in_its_tables() -> None:
    known = Known(example(19, 13))
    blocks = contents(known)
    assert sum(isinstance(block, Grid) and block.is_wide for block in blocks) > 50
    assert len(known.tasks) == 19
    for protocol, _, places in known.tables():
        assert len(known.rows(places, protocol)) == len(known.encoders) - 1
    assert len(known.encoders) == 19
