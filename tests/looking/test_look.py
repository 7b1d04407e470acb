"""The command: a page and a film of any video, and one sentence for what the user must mend."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from surgrec import extract, look
from surgrec.core.console import run_command
from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from tests.hub.build import written

VideoOf = Callable[[float], Path]


@pytest.fixture
def manifest(tmp_path: Path, video: VideoOf) -> Path:
    """Three videos of a patient whose name is in every path."""
    folder = tmp_path / "Erika_Muster"
    folder.mkdir()
    for seconds in (0.4, 2.0, 4.2):
        shutil.copy(video(seconds), folder / f"Muster_{seconds}.mp4")
    path = tmp_path / "manifest.parquet"
    Manifest(scan(folder, Card("cholec", "laparoscopy")).rows).write(path)
    return path


@pytest.fixture
def labels(manifest: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in Manifest.read([manifest]).video_ids:
        (folder / f"{name}.csv").write_text("frame,time_seconds,phase\n0,0,preparation\n25,1,dissection\n")
    return folder


def run(*arguments: object) -> int:
    return run_command(lambda: look.main(["--threads", "1", "--device", "cpu", *map(str, arguments)]))


def longest(manifest: Path) -> str:
    listed = Manifest.read([manifest])
    seconds = listed.column("duration_seconds").tolist()
    return str(listed.video_ids[seconds.index(max(seconds))])


def headings(page: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page.read_text())


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        look.main(["--help"])
    assert caught.value.code == 0 and "example: surgrec look" in capsys.readouterr().out


def test_the_commands_of_the_page_in_docs_are_commands() -> None:
    page = (Path(__file__).parents[2] / "docs" / "look.md").read_text(encoding="utf-8")
    commands = [shlex.split(line)[2:] for line in page.splitlines() if line.startswith("surgrec look ")]
    assert len(commands) == 2 and [look._parser().parse_args(words).out for words in commands] == 2 * [
        Path("look.html")
    ]
    for number in (look.MAX_MOMENTS, look._parser().parse_args(commands[0]).moments):
        assert f"{number} " in page


def test_everything_at_once_names_no_file(
    release: Path, manifest: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features, page, name = tmp_path / "features", tmp_path / "out" / "look.html", longest(manifest)
    extracted = ["--model", str(release), "--videos", str(manifest), "--out", str(features), "--threads", "1"]
    assert run_command(lambda: extract.main([*extracted, "--device", "cpu"])) == 0
    capsys.readouterr()
    options = ("--video", manifest, "--video-id", name, "--labels", labels, "--features", features, "--moments", 8)
    assert run("--model", release, *options, "--out", page) == 0
    assert headings(page) == ["Click a patch", "Feature map", "Timeline", "Nearest neighbours", "Reconstruction"]
    text, said = page.read_text(), capsys.readouterr().out
    assert name in text and name in said and "preparation" in text and "dissection" in text
    assert text.count('alt="neighbour cholec_') == 2 * 4, "two other videos beside each of four moments"
    for word in ("Muster", "Erika", str(tmp_path), str(release)):
        assert word not in text and word.encode() not in page.with_suffix(".mp4").read_bytes()
    assert "Muster" not in said
    assert sorted(path.name for path in page.parent.iterdir()) == ["look.html", "look.mp4"]
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    assert run("--model", release, *options, "--out", page) == 0
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before


def test_a_single_file_and_a_release_without_decoder(video: VideoOf, tmp_path: Path) -> None:
    release, page = written(tmp_path / "jepa", "jepa"), tmp_path / "look.html"
    (tmp_path / "phases.csv").write_text("time_seconds,phase\n0,preparation\n")
    assert run("--model", release, "--video", video(4.2), "--out", page, "--labels", tmp_path / "phases.csv") == 0
    assert headings(page) == ["Click a patch", "Feature map", "Timeline"]
    data = json.loads(re.findall(r'<script type="application/json" id="look-data">(.*?)</script>', page.read_text())[0])
    assert data["shape"][:3] == [11, 4, 4] and set(data["labels"]) == {"preparation"}


def test_the_film_shows_every_moment(release: Path, video: VideoOf, tmp_path: Path) -> None:
    assert run("--model", release, "--video", video(4.2), "--out", tmp_path / "look.html", "--moments", 9) == 0
    with av.open(str(tmp_path / "look.mp4")) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert film.streams.video[0].average_rate == 4
    assert len(pictures) == 9 and pictures[0].shape == (316, 864, 3)
    assert abs(pictures[8][:288].astype(int) - pictures[0][:288]).mean() > 1


def test_a_single_moment_is_a_film_of_two_seconds(release: Path, video: VideoOf, tmp_path: Path) -> None:
    assert run("--model", release, "--video", video(0.4), "--out", tmp_path / "look.html") == 0
    with av.open(str(tmp_path / "look.mp4")) as film:
        stream = film.streams.video[0]
        assert stream.frames / stream.average_rate >= 2
    assert "All 1 time step of the video" in (tmp_path / "look.html").read_text()


def test_what_a_user_must_mend_is_one_sentence_and_writes_nothing(
    release: Path, manifest: Path, labels: Path, video: VideoOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, name, other = tmp_path / "out" / "look.html", longest(manifest), written(tmp_path / "other", "mae", seed=1)
    features = tmp_path / "features"
    extracted = ["--model", str(other), "--videos", str(manifest), "--out", str(features), "--threads", "1"]
    assert run_command(lambda: extract.main([*extracted, "--device", "cpu"])) == 0
    (tmp_path / "empty.csv").write_text("video_id,time_seconds,phase\nothers,0,a\n")
    (tmp_path / "text.mp4").write_text("no video")
    one = ("--video", manifest, "--video-id", name)
    for arguments, sentence in (
        (("--video", manifest), "--video-id"),
        (("--video", manifest, "--video-id", "nobody"), "does not list nobody"),
        (("--video", video(2.0), "--video-id", name), "--video-id chooses from a manifest"),
        (("--video", tmp_path / "absent.mp4"), "there is no file"),
        (("--video", tmp_path / "text.mp4"), "cannot be read"),
        ((*one, "--moments", 0), "--moments 0"),
        ((*one, "--moments", 121), "--moments 121"),
        ((*one, "--labels", tmp_path / "empty.csv"), "has no line for the video"),
        ((*one, "--labels", labels, "--label-column", "step"), "lacks the column step"),
        ((*one, "--labels", tmp_path / "absent"), "are not there"),
        ((*one, "--features", features), "another model"),
        ((*one, "--features", tmp_path), "holds no features"),
        ((*one, "--corpus", manifest), "--corpus tells"),
        ((*one, "--out", tmp_path / "look.pdf"), "ends with .html"),
    ):
        capsys.readouterr()
        assert run("--model", release, "--out", page, *arguments) == 2, sentence
        said = capsys.readouterr().err
        assert sentence in said and len(said.strip().splitlines()) == 1, said
    assert not page.parent.exists()


def test_no_footage_is_lost_to_a_film_of_its_name(
    release: Path, video: VideoOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operation = shutil.copy(video(2.0), tmp_path / "operation.mp4")
    before = operation.read_bytes()
    assert run("--model", release, "--video", operation, "--out", tmp_path / "operation.html") == 2
    said = capsys.readouterr().err
    assert str(operation) in said and "choose another --out" in said and len(said.splitlines()) == 1
    assert operation.read_bytes() == before and list(tmp_path.iterdir()) == [operation]


def test_an_interrupted_page_leaves_none(
    release: Path, video: VideoOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from surgrec.looking import film

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(film, "_picture", interrupted)
    out = tmp_path / "out"
    assert run("--model", release, "--video", video(2.0), "--out", out / "look.html") == 130
    assert list(out.iterdir()) == []
