"""Laws of every adapter, whatever is done to its archive: read alike, refused in a sentence, or told in a note; never a crash."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.class_names import is_german, is_heading, is_no_class, meaning
from surgrec.evaluation.running.splits import split_sets
from surgrec.evaluation.tasks.card import task_card
from surgrec.evaluation.tasks.catalog import ADAPTERS, read_tasks
from surgrec.evaluation.tasks.check import check, in_words
from surgrec.evaluation.tasks.task import ClipTask, DenseTask, Task
from tests.evaluation.tasks import archives

NO_TEXT = (".mp4", ".avi", ".jpg", ".png", ".pickle")


@pytest.fixture
def root(tmp_path: Path, name: str) -> Path:
    """The miniature archive of the dataset `name`, to be damaged."""
    getattr(archives, name)(tmp_path / name)
    return tmp_path / name


def hashes(tasks: tuple[Task, ...]) -> dict[tuple[str, str], str]:
    return {(task.name, split.name): task.split_hash(split) for task in tasks for split in task.splits}


def videos_of(tasks: tuple[Task, ...]) -> list[Path]:
    rows = [row for task in tasks for row in (task.clips if isinstance(task, ClipTask) else task.recordings)]
    return sorted({row.video for row in rows})


def texts_of(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in NO_TEXT]


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_the_card_needs_is_where_the_adapter_reads(name: str, root: Path) -> None:
    """Or `check` would call missing what was read. A miniature with fewer videos than the dataset has is told to be a part."""
    standing = check(root, task_card(name))
    assert standing.is_ready, standing.refusal
    lacking = [found for found in standing.found if not found.is_enough]
    assert all(found.count for found in standing.found), [found.need.path for found in lacking]
    for task in standing.tasks:
        is_told = any(
            re.search(r"^[\d,]+ \w+( \w+)? of [\d,]+ missing: scores are not on", note) for note in task.notes
        )
        assert is_told == bool(lacking) or name == "kvasir_capsule", "its table says which videos there should be"
    assert all("\n" not in line for line in in_words(standing))


@pytest.mark.parametrize("name", ADAPTERS)
def test_marks_and_line_ends_of_other_systems_change_nothing(name: str, root: Path) -> None:
    expected = hashes(read_tasks(name, root))
    for path in texts_of(root):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert hashes(read_tasks(name, root)) == expected


@pytest.mark.parametrize("name", ADAPTERS)
def test_hidden_files_and_links_change_nothing(name: str, root: Path) -> None:
    """`._a.mp4` and `__MACOSX` are what some systems leave in archives; links are how archives of annexes lie on a disk."""
    tasks = read_tasks(name, root)
    expected = hashes(tasks)
    for video in videos_of(tasks)[:40]:
        for path in [video] if video.is_file() else sorted(video.iterdir())[:3]:
            (path.parent / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    (root / "__MACOSX").mkdir()
    (root / ".DS_Store").write_bytes(b"\x00")
    assert hashes(read_tasks(name, root)) == expected
    elsewhere = root.rename(root.parent / "annex")
    root.mkdir()
    for path in [path for path in sorted(elsewhere.rglob("*")) if path.is_file()]:
        link = root / path.relative_to(elsewhere)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert hashes(read_tasks(name, root)) == expected


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("loss", ["gone", "link"])
def test_a_video_that_is_not_there_is_told(name: str, loss: str, root: Path) -> None:
    """Refused, or said in a note; a link to nothing is no video."""
    tasks = read_tasks(name, root)
    counts = [found.count for found in check(root, task_card(name)).found]
    video = videos_of(tasks)[-1]
    shutil.rmtree(video) if video.is_dir() else video.unlink()
    if loss == "link":
        video.symlink_to(root / "nowhere")
    assert [found.count for found in check(root, task_card(name)).found] != counts
    try:
        fewer = read_tasks(name, root)
    except UserError as error:
        assert str(error).startswith(f"{name}: expected ")
    else:
        if name != "gyn_events":  # nobody says how many it has
            assert all(any("missing" in note for note in task.notes) for task in fewer)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_archive_in_a_folder_of_its_own_is_read_or_refused_with_a_hint(name: str, root: Path) -> None:
    expected = hashes(read_tasks(name, root))
    (root.parent / "outer").mkdir()
    root.rename(root.parent / "outer" / "inner")
    try:
        assert hashes(read_tasks(name, root.parent / "outer")) == expected
    except UserError as error:
        assert re.match(rf"{name}: expected .* below .*outer, but .*give that folder.*; the layout is: ", str(error))


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_file_in_the_place_of_a_folder_is_refused(name: str, root: Path) -> None:
    """Unless nothing of the folder is read."""
    expected = hashes(read_tasks(name, root))
    for folder in [path for path in sorted(root.rglob("*")) if path.is_dir()][:6]:
        kept = folder.rename(root.parent / "kept")
        folder.write_text("a file")
        try:
            tasks = read_tasks(name, root)
        except UserError as error:
            assert str(error).startswith(f"{name}: ")
        else:
            assert hashes(tasks) == expected or all(task.notes for task in tasks)
        folder.unlink()
        kept.rename(folder)


def damages(text: bytes) -> Iterator[bytes]:
    yield b""
    yield b"\n"
    yield b"\xff\xfe\x00\x41"
    yield b"\x00" * 64
    yield text[: len(text) // 2]
    yield text.split(b"\n", 1)[0] + b"\n"
    yield b"\n".join(reversed(text.split(b"\n")))
    yield re.sub(rb"[0-9]", "²".encode(), text)
    for number in (b"nan", b"-5", b"Infinity", b"9" * 20, b"9" * 5000, b"1e300"):
        yield re.sub(rb"[0-9]+", number, text)
        yield re.sub(rb"([0-9]+)([^0-9]*)\Z", number + rb"\2", text)
    yield re.sub(rb"[,;\t]", b" ", text)
    yield re.sub(rb"[A-Za-z]+", b"x" * 200_000, text, count=3)
    yield b"[" * 100_000
    yield from (b"null", b"{}", b"[]", b'{"annotations": {}, "images": [], "phases": [], "steps": []}')
    yield b'{"annotations": [], "images": {"a": null}, "phases": [null], "steps": null}'


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_damaged_file_is_refused_or_read_and_never_a_crash(every: int, name: str, root: Path) -> None:
    kinds: dict[str, Path] = {}
    for path in texts_of(root):
        kinds.setdefault(re.sub(r"\d+", "0", path.relative_to(root).as_posix()), path)
    for path in kinds.values():
        text = path.read_bytes()
        for damaged in list(damages(text))[::every]:
            path.write_bytes(damaged)
            try:
                read_tasks(name, root)
            except UserError as error:
                assert str(error).startswith(f"{name}: ") and len(str(error)) < 3000 and "\n" not in str(error)
        path.write_bytes(text)


@pytest.mark.parametrize("name", [name for name in ADAPTERS if len(task_card(name).forms) > 1])
def test_clips_lie_in_the_parts_of_their_operations(name: str, root: Path) -> None:
    tasks = read_tasks(name, root)
    (clips,) = (task for task in tasks if isinstance(task, ClipTask))
    for dense in (task for task in tasks if isinstance(task, DenseTask)):
        for split in dense.splits:
            for part, rows in split.parts().items():
                if name == "jigsaws" and part != "test":
                    continue  # one surgeon never passed needles, so whoever is next there is another than in the other tasks
                own = {each for each in clips.groups[clips.split(split.name).parts()[part]] if each in dense.groups}
                assert own <= set(dense.groups[rows].tolist())


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_clip_is_an_unbroken_stretch_of_its_class(name: str, root: Path) -> None:
    (task,) = (task for task in read_tasks(name, root) if isinstance(task, ClipTask))
    begun = {(clip.video, clip.label, round(clip.start_seconds, 3)) for clip in task.clips}
    assert len(begun) == len(task.clips)
    for clip in task.clips:
        assert clip.end_seconds is None or (clip.video, clip.label, round(clip.end_seconds, 3)) not in begun


@pytest.mark.parametrize("name", ADAPTERS)
def test_folds_of_a_cross_validation_are_one_experiment(name: str, root: Path) -> None:
    """Each row is then tested once, and an interval has all groups; a fold by itself may have one surgeon."""
    for task in read_tasks(name, root):
        num_tested = sum(len(split.test) for split in task.splits)
        if len(task.splits) > 2 and num_tested == len(task.groups):
            (whole,) = split_sets(task)
            assert len(whole.splits) == len(task.splits)


@pytest.mark.parametrize("name", ADAPTERS)
def test_classes_are_english_things_that_are_seen(name: str) -> None:
    """By the words that the auditor of lists goes by."""
    for labels in task_card(name).labels:
        wrong = [text for text in labels.names if is_german(text) or is_heading(text) or is_no_class(text)]
        assert not wrong and len({meaning(text) for text in labels.names}) == len(labels.names)


@pytest.mark.parametrize("call", ["read", "check"])
def test_a_folder_that_may_not_be_read_is_one_datasets_matter(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives.autolaparo(tmp_path)
    is_file: Callable[[Path], bool] = Path.is_file

    def refused(path: Path) -> bool:
        if path.name == "label_03.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    if call == "read":
        with pytest.raises((UserError, OSError), match="Permission denied"):
            read_tasks("autolaparo", tmp_path)
    else:
        standing = check(tmp_path, task_card("autolaparo"))
        assert not standing.is_ready and "Permission denied" in str(standing.refusal)
