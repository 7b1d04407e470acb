"""`surgrec corpora`: lists, shows and checks cards, and tells by name alone what of a source lies in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surgrec.__main__ import main as console
from surgrec.core.console import run_command
from surgrec.corpora import main
from surgrec.corpus import card_view
from surgrec.corpus.card import shipped_cards
from tests.conftest import REPOSITORY

SECRET = "Jane_Doe"


def corpora(*arguments: str) -> int:
    return run_command(lambda: main(list(arguments)))


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


# -- list and show


def test_the_list_and_its_filters(capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*flags: str) -> list[str]:
        assert corpora("list", "--json", *flags) == 0
        return [card["name"] for card in json.loads(capsys.readouterr().out)]

    cards = shipped_cards()
    assert listed() == sorted(cards)
    assert listed("--domain", "cataract") == [name for name in cards if cards[name].domain == "cataract"]
    assert listed("--task", "downstream") == [name for name in cards if cards[name].benchmarks]
    assert {"cholec80", "heichole"} <= set(listed("--task", "phase", "--domain", "laparoscopy"))
    assert "surgenet_youtube" not in listed("--task", "phase")

    assert corpora("list", "--domain", "cataract") == 0
    heading, *lines, count = capsys.readouterr().out.splitlines()
    assert heading.split() == list(card_view.COLUMNS) and count == f"{len(lines)} sources"
    assert all(len(line) <= 170 for line in lines)


def test_json_keeps_what_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert corpora("show", "sun", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert (
        card["licence"] == "unknown"
        and card["published"]["hours"] == "unknown"
        and card["published"]["frames"] == 158690
    )


@pytest.mark.parametrize("name", sorted(shipped_cards()))
def test_every_card_is_shown_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    card = shipped_cards()[name]
    assert corpora("show", name) == 0
    text = capsys.readouterr().out
    joined = " ".join(text.split())
    assert all(" ".join(source.cite.split()) in joined for source in card.sources)
    assert all(overlap.source in text for overlap in card.overlaps)
    assert all(fact in joined for fact in card_view.unknown_facts(card))
    assert " ".join(str(card.notes or "").split()) in joined and "UNKNOWN" not in text


def test_a_card_of_ones_own_is_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yaml").write_text("name: own\ndomain: other\n")
    assert corpora("show", "own", "--cards", str(tmp_path)) == 0
    assert corpora("show", str(tmp_path / "own.yaml")) == 0
    assert corpora("list", "--json", "--cards", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert '"name": "own"' in out


# -- check: cards


def test_the_shipped_cards_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert corpora("check") == 0
    assert capsys.readouterr().out.strip() == f"{len(shipped_cards())} cards, 0 problems"


def test_all_mistakes_of_ones_own_cards_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("name: a\ndomain: eye\n")
    (tmp_path / "b.yaml").write_text("name: b\ndomain: other\nlicense: MIT\n")
    (tmp_path / "c.yaml").write_text(
        "name: c\ndomain: other\noverlaps: [{source: nowhere, how: subset, note: n, cite: c}]\n"
    )
    assert corpora("check", "--cards", str(tmp_path)) == 2
    captured = capsys.readouterr()
    assert [line.startswith("error: ") for line in captured.err.splitlines()] == [True] * 3
    assert "did you mean 'licence'" in captured.err and "nowhere, which has no card" in captured.err
    assert "3 problems" in captured.out


def test_names_used_twice_and_empty_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpora("check", "--cards", str(tmp_path)) == 2
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("name: same\ndomain: other\n")
    assert corpora("check", "--cards", str(tmp_path)) == 2
    err = capsys.readouterr().err
    assert "there are no cards" in err and "have the same name, same" in err


# -- check: files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """All of Cholec80 but video 7, one video too many by its name, labels, and a folder of another thing."""
    videos = [f"cholec80/videos/video{number:02d}.mp4" for number in range(1, 81) if number != 7]
    touch(
        tmp_path,
        *videos,
        f"cholec80/videos/{SECRET}.mp4",
        "cholec80/phase_annotations/video01-phase.txt",
        "holiday/a.mp4",
    )
    return tmp_path


def test_what_is_present_missing_and_unexpected(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpora("check", "--root", str(root), "cholec80") == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "cholec80: 79 videos in 79 groups, 80 published",
        "  split train: 39",
        "  split test: 40",
        "  missing: 1",
        "  unexpected: fit no file_pattern: 1",
        "  other files: 1",
    ]


def test_the_folder_of_the_source_itself(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(root, "cholec80/videos/video07.mp4")
    (root / "cholec80" / "videos" / f"{SECRET}.mp4").unlink()
    assert corpora("check", "--root", str(root / "cholec80"), "cholec80") == 0
    assert capsys.readouterr().out.splitlines()[0] == "cholec80: 80 videos in 80 groups, 80 published"


def test_files_are_named_only_when_asked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / SECRET).mkdir()
    for flags in ((), ("cholec80",), ("cholec80", "heichole")):
        corpora("check", "--root", str(root), *flags)
        captured = capsys.readouterr()
        assert SECRET not in captured.out + captured.err and "video01" not in captured.out
    corpora("check", "--root", str(root), "--verbose")
    assert capsys.readouterr().out.count(SECRET) == 2


def test_all_sources_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpora("check", "--root", str(root)) == 2  # a video of Cholec80 is missing
    out = capsys.readouterr().out
    assert (
        f"folders of their name are here for 1 of {len(shipped_cards())} sources" in out
        and "no card is named after: 1" in out
    )
    assert corpora("check", "--root", str(root), "cholec80", "heichole") == 2
    assert "absent: heichole" in capsys.readouterr().out


def test_pictures_are_counted_as_frames_and_paths_without_a_group_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "videos/VID01/000000.png", "videos/VID01/000001.png", "videos/VIDxx/000000.png", "more/000000.png")
    assert corpora("check", "--root", str(tmp_path), "cholect50") == 2
    out = capsys.readouterr().out
    assert "2 frames in 1 group, 100,863 published" in out and "missing: 100,861" in out
    assert "no group can be read: 1" in out and "fit no file_pattern: 1" in out


def test_nothing_is_missed_where_nothing_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "a/x.mp4", "b/y.avi")
    assert corpora("check", "--root", str(tmp_path), "gynsurg") == 0
    assert capsys.readouterr().out.splitlines() == ["gynsurg: 2 videos in 2 groups, unknown published"]


# -- mistakes, and the page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "cholec8"], "did you mean cholec80"),
        (["show", "qqqqqqqq"], "surgrec corpora list"),
        (["list", "--domain", "eyes"], "choose one of endoscopy"),
        (["check", "nothing"], "there is no card of the name"),
        (["check", "--root", "nowhere/at/all", "cholec80"], "there is no folder"),
        (["list", "--cards", "nowhere/at/all"], "there are no cards"),
    ],
)
def test_mistakes_end_with_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpora(*arguments) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1 and "Traceback" not in err


@pytest.mark.parametrize("verb", [(), ("list",), ("show",), ("check",)])
def test_help_has_an_example(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        console(["corpora", *verb, "--help"])
    assert end.value.code == 0 and "example: surgrec corpora" in capsys.readouterr().out


def test_the_page_holds_the_tables_of_the_cards(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "corpora.md").read_text(encoding="utf-8")
    assert corpora("list", "--markdown") == 0
    sources, overlaps = capsys.readouterr().out.rstrip("\n").split("\n\n")
    for table in (sources, overlaps):
        assert table in page, "`surgrec corpora list --markdown` prints the new tables for docs/corpora.md"
    assert len(sources.splitlines()) == 2 + len(shipped_cards())
    pairs = {frozenset((card.name, overlap.source)) for card in shipped_cards().values() for overlap in card.overlaps}
    assert len(overlaps.splitlines()) == 2 + len(pairs)
