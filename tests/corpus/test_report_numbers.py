"""The report on a corpus: every moment is counted once, its tables agree, and of a large corpus it stays small."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.corpus.card import shipped_cards
from surgrec.corpus.filters.find import OF_TIME
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.report.accounts import BESIDE, UNEXPLAINED, account
from surgrec.corpus.report.known import findings_file, read_known
from surgrec.corpus.report.page import as_html
from surgrec.corpus.report.pictures import KEPT, PER_REASON, choose_moments
from tests.corpus.pages import number
from tests.corpus.reported import page_of, video, write_findings, written

STARTS = st.floats(-2, 12, allow_nan=False)
INTERVALS = st.lists(st.tuples(STARTS, st.floats(0, 9)).map(lambda pair: (pair[0], sum(pair))), max_size=4)


# -- the time of a video


@settings(max_examples=200, deadline=None)
@given(INTERVALS, st.dictionaries(st.sampled_from(OF_TIME), INTERVALS, max_size=4))
def test_every_moment_is_counted_once(usable: list, refused: dict) -> None:
    made = account(10.0, usable, refused)
    assert made.usable + sum(made.lost.values()) == pytest.approx(10.0)
    assert 0 <= made.unheeded <= made.usable + 1e-9 and all(seconds > 0 for seconds in made.lost.values())
    moments = np.arange(0.0005, 10, 0.001)
    inside = sum((moments > start) & (moments < end) for start, end in usable) if usable else np.zeros(len(moments))
    assert made.usable == pytest.approx(np.count_nonzero(inside) / 1000, abs=0.01)


def test_the_first_reason_counts_and_the_rest_is_beside_it_or_unexplained() -> None:
    made = account(10.0, [(6.0, 10.0)], {"blur": [(2.0, 5.0)], "black": [(0.0, 3.0), (9.0, 9.5)]})
    assert made.lost == {"black": 3.0, "blur": 2.0, BESIDE: 1.0} and made.unheeded == 0.5
    assert account(10.0, [(6.0, 10.0)], {}).lost == {UNEXPLAINED: 6.0}
    assert account(10.0, [(0.0, 10.0)], {}).lost == {} and account(10.0, [], {}).usable == 0


# -- totals


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 videos of 130 sources, more than a table shows, a third with findings and intervals of all kinds."""
    folder, draw = tmp_path_factory.mktemp("many"), random.Random(5)
    rows, found = [], []
    for i in range(900):
        seconds, source = draw.randrange(8, 16000) / 4, f"source{int(130 * draw.random() ** 2)}"
        usable = [(0.0, seconds / 2), (seconds * 0.75, seconds)] if i % 3 == 0 else None
        box = {"left": 0, "top": 0, "right": 64, "bottom": 48 - 2 * (i % 9)} if i % 3 else None
        facts = {
            "source": source, "domain": draw.choice(("endoscopy", "robotic")), "procedure": draw.choice((None, "a", "b")),
            "group_id": f"{source}_g{i // 3}", "video_id": f"{source}_{i:012x}", "split": draw.choice((None, "train", "test")),
            "licence": draw.choice((None, "MIT")), "content_box": box,
        }  # fmt: skip
        rows.append(video(i, seconds, usable, **facts))
        if usable:
            found += [(facts["video_id"], seconds * 0.5, seconds * 0.6, draw.choice(OF_TIME[:3]))]
            found += [(facts["video_id"], seconds * 0.55, seconds * 0.7, draw.choice(OF_TIME[3:]))]
    manifest = written(folder, *rows)
    write_findings(manifest, *found)
    return manifest


def test_all_tables_of_the_page_agree(many: Path) -> None:
    page, table = page_of(many), Manifest.read([many]).table
    hours = sum(table["duration_seconds"].to_pylist()) / 3600
    parts = page.with_columns("videos", "hours", "usable hours", "share", "groups")
    assert [next(iter(part[0])) for part in parts] == ["domain", "source", "procedure"]
    overview = page.with_columns("sources", "frames")[0][0]
    assert (number(overview["videos"]), number(overview["sources"])) == (900, len(set(table["source"].to_pylist())))
    for part in parts:
        *rows, total = part
        for column, rounded in (("videos", 0.0), ("hours", 5e-4), ("usable hours", 5e-4), ("share", 0.05)):
            total_of_rows = sum(number(line[column]) for line in rows)
            assert total_of_rows == pytest.approx(number(total[column]), abs=rounded * (len(rows) + 1)), column
        assert number(total["hours"]) == pytest.approx(hours, abs=6e-4) and number(total["videos"]) == 900
        assert total["usable hours"] == overview["usable hours"]
    assert sum(number(line["groups"]) for line in parts[1][:-1]) == number(parts[1][-1]["groups"])
    assert len(parts[1]) == 102 and parts[1][-2]["source"].startswith("and ")

    (fates,) = page.with_columns("what became of it")
    *rows, total = fates
    assert sum(number(line["hours"]) for line in rows) == pytest.approx(hours, abs=0.005)
    assert rows[0]["hours"] == overview["usable hours"] and number(total["hours"]) == pytest.approx(hours, abs=6e-4)
    (losses,) = page.with_columns("lost", "beside")
    for line in losses:
        assert number(line["usable"]) + number(line["lost"]) == pytest.approx(number(line["hours"]), abs=0.0011)
        reasons = [line[name] for name in line if name not in ("source", "hours", "usable", "lost", "empty videos")]
        assert sum(map(number, reasons)) == pytest.approx(number(line["lost"]), abs=0.006) and len(reasons) == 7
    for column in ("hours", "usable", "lost", "black", "beside"):
        assert sum(number(line[column]) for line in losses[:-1]) == pytest.approx(number(losses[-1][column]), abs=0.06)
    forms = [part for part in page.with_columns("videos", "hours", "share of videos") if "what" not in part[0]]
    assert len(forms) == 5 and all(sum(number(line["videos"]) for line in form) == 900 for form in forms)
    (boxes,) = page.with_columns("what is inside")
    assert sum(number(line["videos"]) for line in boxes) == 900
    (splits,) = page.with_columns("split")
    assert sum(number(line["videos"]) for line in splits[:-1]) == 900 == number(splits[-1]["videos"])


def test_the_same_corpus_gives_the_same_bytes_whatever_the_order_of_its_rows(many: Path, tmp_path: Path) -> None:
    rows = Manifest.read([many]).table.to_pylist()
    random.Random(1).shuffle(rows)
    other = written(tmp_path, *rows)
    found = pq.read_table(findings_file(many))
    pq.write_table(found.take(list(reversed(range(len(found))))), findings_file(other))
    first, second = (as_html(read_known(path, {})[0], None) for path in (many, other))
    assert first == second
    moments = [
        [(one.kind, one.video.video_id, one.seconds) for one in choose_moments(read_known(path, {})[0].videos)]
        for path in (many, other)
    ]
    assert moments[0] == moments[1]


@pytest.mark.slow
def test_a_corpus_of_the_published_size_is_a_small_page(tmp_path: Path) -> None:
    names = [f"source{i % 40}_{i:012x}" for i in range(10_535)]
    rows = [video(i, 810.0, source=f"source{i % 40}", video_id=name, group_id=f"g{i}") for i, name in enumerate(names)]
    manifest = written(tmp_path, *rows)
    write_findings(manifest, *((name, 10.0 * k, 10.0 * k + 4, OF_TIME[k % 6]) for name in names for k in range(8)))
    began = time.process_time()  # of this process: a busy machine has less of it for us, and needs no more
    known, _ = read_known(manifest, shipped_cards())
    text, moments = as_html(known, None), choose_moments(known.videos)
    assert time.process_time() - began < 30 and len(text) < 200_000
    assert len(moments) == len(OF_TIME) * PER_REASON + KEPT
    assert all(len({one.video.source for one in moments if one.kind == reason}) == PER_REASON for reason in OF_TIME)
