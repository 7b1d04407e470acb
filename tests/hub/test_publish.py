"""Publishing does nothing until it is told to, never loses another's work, and what arrives is the release, whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from surgrec import publish
from surgrec.core.console import run_command
from surgrec.hub.folder import checksum_of, sums_text
from surgrec.hub.load import load_model, load_release
from tests.hub.build import small_release, written
from tests.hub.fake_hub import FakeHub, fake_hub, files_of

__all__ = ["fake_hub"]
NAME = "surgeons/surgrec-jepa"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return written(tmp_path / "release", licence="cc-by-4.0")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGREC_CACHE", str(tmp_path / "cache"))


def run(*arguments: object) -> int:
    return run_command(lambda: publish.main(list(map(str, arguments))))


def address(said: str) -> str:
    """What publishing tells to load."""
    return said.rsplit('surgrec.load_model("', 1)[1].split('"')[0]


def test_without_being_told_nothing_is_done(
    release: Path, tmp_path: Path, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    places = (("--repo", NAME), ("--folder", tmp_path / "www" / "jepa"), ("--zip", tmp_path / "jepa.zip"))
    for place in places:
        assert run(release, *place) == 0
        said = capsys.readouterr().out
        assert "nothing was done" in said and checksum_of(release) in said and "encoder.safetensors (" in said
    assert fake_hub.repositories == {} and not any(line.startswith("POST") for line in fake_hub.asked)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "hub_cache") == ["release"]


def test_on_the_hub_it_is_one_commit_that_loads_by_its_address(
    release: Path, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(release, "--repo", NAME, "--upload") == 0
    pinned = address(capsys.readouterr().out)
    ((commit, files),) = fake_hub.repositories[NAME]
    assert files == files_of(release) and pinned == f"{NAME}@{commit}"
    theirs, ours = load_model(pinned)[0].state_dict(), load_model(release)[0].state_dict()
    assert all(torch.equal(tensor, ours[key]) for key, tensor in theirs.items())
    assert run(release, "--repo", NAME, "--upload") == 0
    assert "nothing is left to do" in capsys.readouterr().out and len(fake_hub.repositories[NAME]) == 1


def test_on_the_hub_another_release_is_replaced_only_when_told_and_whole(
    release: Path, tmp_path: Path, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    other = files_of(written(tmp_path / "other", "mae"))
    fake_hub.commit(NAME, other | {".gitattributes": b"x"})
    for upload in ((), ("--upload",)):
        assert run(release, "--repo", NAME, *upload) == 2
        assert "another release is there" in capsys.readouterr().err
    assert len(fake_hub.repositories[NAME]) == 1
    assert run(release, "--repo", NAME, "--replace") == 0
    assert "removes   decoder.safetensors" in capsys.readouterr().out and len(fake_hub.repositories[NAME]) == 1
    assert run(release, "--repo", NAME, "--replace", "--upload") == 0
    assert len(fake_hub.repositories[NAME]) == 2
    assert fake_hub.repositories[NAME][-1][1] == files_of(release) | {".gitattributes": b"x"}
    assert load_release(address(capsys.readouterr().out)).checksum == checksum_of(release)


def test_on_the_hub_what_others_have_is_not_lost_by_accident(
    release: Path, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_hub.commit(NAME, {"pytorch_model.bin": b"somebody's"})
    assert run(release, "--repo", NAME, "--upload") == 2
    assert "something else is there (pytorch_model.bin)" in capsys.readouterr().err
    fake_hub.before_commit = {"pytorch_model.bin": b"newer"}
    assert run(release, "--repo", NAME, "--upload", "--replace") == 2, "it has changed since it was looked at"
    assert "somebody else has changed it meanwhile" in capsys.readouterr().err
    assert fake_hub.repositories[NAME][-1][1] == {"pytorch_model.bin": b"newer"}


@pytest.mark.parametrize("kind", ["--folder", "--zip"])
def test_on_a_disk_the_same_holds(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    place = tmp_path / "www" / ("jepa.zip" if kind == "--zip" else "jepa")
    assert run(release, kind, place, "--upload") == 0
    pinned = address(capsys.readouterr().out)
    assert pinned == f"{place}#sha256={checksum_of(release)}" and load_release(pinned).checksum == checksum_of(release)
    assert run(release, kind, place, "--upload") == 0 and "nothing is left to do" in capsys.readouterr().out
    other = written(tmp_path / "other", "mae")
    before = place.read_bytes() if place.is_file() else files_of(place)
    assert run(other, kind, place, "--upload") == 2 and "another release is there" in capsys.readouterr().err
    assert (place.read_bytes() if place.is_file() else files_of(place)) == before
    assert run(other, kind, place, "--upload", "--replace") == 0
    assert load_release(place).checksum == checksum_of(other)
    assert [path.name for path in place.parent.iterdir()] == [place.name], "nothing temporary is left"


def test_what_is_no_release_is_not_overwritten(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").touch()
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("a.jpg", "x")
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    for place in (("--folder", tmp_path / "notes"), ("--zip", tmp_path / "photos.zip")):
        assert run(release, *place, "--upload") == 2
        assert "something else is there" in capsys.readouterr().err
    for place, sentence in (
        (("--folder", tmp_path / "link"), "is no folder"),
        (("--zip", tmp_path / "a.tar"), "does not end in .zip"),
    ):
        assert run(release, *place, "--upload") == 2
        assert sentence in capsys.readouterr().err
    assert (tmp_path / "notes" / "thesis.tex").exists()


def test_neither_into_the_release_nor_over_the_folder_that_holds_it(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = (("--folder", release / "www"), ("--zip", release / "jepa.zip"), ("--folder", tmp_path))
    for place in places:
        assert run(release, *place, "--upload", "--replace") == 2
        assert "one within the other" in capsys.readouterr().err
    load_release(release)


def test_only_a_whole_release_with_a_card_is_published(
    release: Path, tmp_path: Path, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(sentence: str) -> None:
        for place in (("--repo", NAME), ("--folder", tmp_path / "out")):
            assert run(release, *place, "--upload") == 2
            assert sentence in capsys.readouterr().err
        assert fake_hub.repositories == {} and not (tmp_path / "out").exists()

    card = (release / "README.md").read_text()
    (release / "README.md").write_text("# no front matter\n")
    refused("README.md in")
    (release / "SHA256SUMS").write_text(sums_text(release))
    refused("does not begin with YAML")
    (release / "README.md").write_text(card)
    (release / "SHA256SUMS").write_text(sums_text(release))
    (release / "weights.pt").write_bytes(b"x")
    refused("weights.pt, a pickle")


def test_what_should_be_known_before_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = small_release(distance=("init None -> videomae:x.pth",))
    folder = written(tmp_path / "release", distance=made.distance)
    config = json.loads((folder / "config.json").read_text())
    config |= {"allow_contamination": True, "downstream": [{"name": "cholec80", "status": "found", "detail": ""}]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "SHA256SUMS").write_text(sums_text(folder))
    assert run(folder, "--folder", tmp_path / "out") == 0
    said = capsys.readouterr().out
    for remark in (
        "the licence of the weights is unknown", "forbid commercial use", "test material of cholec80", "allow_contamination was set",
        "is not listed", "lines of the card say",
    ):  # fmt: skip
        assert remark in said, remark


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        publish.main(["--help"])
    assert caught.value.code == 0 and "example: surgrec publish" in capsys.readouterr().out
