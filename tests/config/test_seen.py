"""Which checkpoints saw a video is computed afterwards; here it is compared with what the run really read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surgrec.config.build import build_run, build_runtime, run_folder
from surgrec.config.compose import claim_folder, compose_config
from surgrec.config.seen import ask_run, note_release, runs_that_saw
from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.removal import remove
from surgrec.corpus.scan import scan
from surgrec.training.folder import RunFolder
from surgrec.training.footage import footage_of, footage_until, record_footage
from surgrec.training.loop import pretrain
from tests.corpus.test_manifest import manifest as manifest_of
from tests.corpus.test_manifest import row
from tests.data.conftest import write_video
from tests.training.tiny import lines_of, overrides

SOURCES = {"large": 8, "small": 3}
FEW = ("data.global_batch_size=2", "trainer.checkpoint_every=1", "trainer.keep_checkpoints=99")
PHASES = "trainer.phases=[{steps: 3, global_batch_size: 4, lr_end: 0.0001}]"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven videos of two sources, one of them gone since they were indexed."""
    folder, tables = tmp_path_factory.mktemp("corpus"), []
    for source, count in SOURCES.items():
        (folder / source).mkdir()
        for number in range(count):
            write_video(folder / source / f"{number}.mp4", 9 * len(tables) + number, 64, 48)
        tables.append(scan(folder / source, Card(source, "other")).rows)
    (folder / "large" / "3.mp4").unlink()
    Manifest(pa.concat_tables(tables)).write(folder / "manifest.parquet")
    return folder / "manifest.parquet"


class Recording:
    """A loader that notes after which update each video was first seen."""

    def __init__(self, loader: Any, video_ids: Any, first_seen: dict[str, int]) -> None:
        self.loader, self.video_ids, self.first_seen = loader, video_ids, first_seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            for number in batch.rows:
                self.first_seen.setdefault(str(self.video_ids[number]), batch.step + 1)
            yield batch


def train(arguments: list[str], first_seen: dict[str, int], until: int | None = None) -> Path:
    """Train and note what was seen; with `until`, end like a killed process after so many updates."""
    config = compose_config(arguments)
    runtime = build_runtime(config)
    claim_folder(config, run_folder(config).config_file)
    run = build_run(config, runtime)
    plan = dataclasses.replace(run.plan, steps=until or run.plan.steps)
    loader = lambda first: Recording(run.make_loader(first), run.video_ids, first_seen)  # noqa: E731
    pretrain(dataclasses.replace(run, make_loader=loader, plan=plan))
    runtime.close()
    return run.folder.path


@pytest.mark.slow
def test_what_is_computed_is_what_was_read(manifest: Path, tmp_path: Path) -> None:
    """Over two phases of different batches, with videos that are replaced because their file is gone."""
    read: dict[str, int] = {}
    folder = train(overrides("mae", manifest, tmp_path, "run", "trainer.steps=7", *FEW, PHASES), read)
    names = set(Manifest.read([manifest]).video_ids.tolist())
    assert len(lines_of(folder / "failures.jsonl")) > 0 and len(read) < len(names) and max(read.values()) > 7
    answer = ask_run(folder, names)
    assert answer.unknown is None and answer.listed == names and answer.first_seen == read
    assert answer.checkpoints == tuple(range(1, 11)) and answer.pictures == folder / "previews"
    for name in names:
        alone = ask_run(folder, {name})
        assert alone.first_seen == ({name: read[name]} if name in read else {})
        assert [alone.has_seen(step) for step in alone.checkpoints] == [
            step >= read.get(name, 99) for step in alone.checkpoints
        ]
    known = Manifest.read([manifest]).table.to_pylist()[0]
    assert ask_run(folder, set(), {known["sha256"]}).listed == {known["video_id"]}  # by its bytes
    assert ask_run(folder, {"nobody"}).listed == frozenset()
    for file in folder.rglob("*"):
        assert not file.is_file() or b".mp4" not in file.read_bytes(), file  # a record without paths


@pytest.mark.slow
def test_a_run_that_goes_on_without_a_video_knows_both_stretches(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "m.parquet"
    Manifest.read([manifest]).write(copy)
    before: dict[str, int] = {}
    arguments = overrides("jepa", copy, tmp_path / "runs", "run", "trainer.steps=8", *FEW)
    folder = train(arguments, before, until=4)
    gone = min(before, key=lambda name: before[name])
    remove([copy], [gone])
    after: dict[str, int] = {}
    capsys.readouterr()
    assert train(arguments, after) == folder
    assert "the footage has changed (11 -> 10 videos): from step 4 on" in capsys.readouterr().err
    assert gone not in after
    names = set(Manifest.read([manifest]).video_ids.tolist())
    answer = ask_run(folder, names)
    assert answer.listed == names and answer.first_seen == after | before
    assert [stretch.from_step for stretch in footage_of(RunFolder(folder))] == [0, 4]
    assert len(footage_until(RunFolder(folder), 4)) == 1 and len(footage_until(RunFolder(folder), 5)) == 2
    assert ask_run(folder, {gone}).first_seen == {gone: before[gone]}


@pytest.mark.slow
def test_what_began_from_a_release_has_seen_what_that_had(manifest: Path, tmp_path: Path) -> None:
    read: dict[str, int] = {}
    folder = train(overrides("mae", manifest, tmp_path / "runs", "first", "trainer.steps=3", *FEW), read)
    name = max(read, key=lambda name: read[name])
    for step in (read[name] - 1, read[name]):
        release = tmp_path / f"release{step}"
        release.mkdir()
        (release / "SHA256SUMS").write_text(f"{step}")
        for _ in range(2):
            note_release(RunFolder(folder), step, release)
    assert len(lines_of(folder / "releases.jsonl")) == 2
    begun = {"child": f"release{read[name]}", "grandchild": "elsewhere", "innocent": f"release{read[name] - 1}"}
    (tmp_path / f"release{read[name]}").rename(tmp_path / "moved")  # known by what it holds
    begun["child"] = "moved"
    (tmp_path / "elsewhere").mkdir()
    pin = hashlib.sha256(f"{read[name]}".encode()).hexdigest()
    begun["pinned"] = f"gone.zip#sha256={pin}"  # by what the address says that it holds
    for run, release in begun.items():
        other = tmp_path / "runs" / run
        (other / "checkpoints" / "step_00000005").mkdir(parents=True)
        config = compose_config(overrides("mae", manifest, tmp_path, run, f"init='surgrec:{tmp_path / release}'"))
        claim_folder(config, other / "config.yaml")
        table = Manifest.read([manifest]).table.filter(pa.array([i < 2 for i in range(11)]))
        record_footage(RunFolder(other), Manifest(table), 0)
    note_release(RunFolder(tmp_path / "runs" / "child"), 5, tmp_path / "elsewhere")
    answers = {run.folder.name: run for run in runs_that_saw(tmp_path, {name})}
    assert [answers[run].has_seen_at_begin for run in ("first", "child", "grandchild", "innocent", "pinned")] == [
        False, True, True, False, True
    ]  # fmt: skip
    assert answers["grandchild"].has_seen(0) and answers["first"].first_seen == {name: read[name]}


def test_what_cannot_be_told_is_said(manifest: Path, tmp_path: Path) -> None:
    config = compose_config(overrides("mae", manifest, tmp_path, "old"))
    claim_folder(config, tmp_path / "old" / "config.yaml")
    (tmp_path / "old" / "metrics.jsonl").touch()
    assert "did not record" in str(runs_that_saw(tmp_path, {"x"})[0].unknown)
    folder = RunFolder(tmp_path / "old")
    record_footage(folder, Manifest.read([manifest]), 0)
    assert runs_that_saw(tmp_path, {"x"})[0].unknown is None
    next(folder.footage.iterdir()).unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        ask_run(tmp_path / "old", {"x"})
    assert "missing or damaged" in str(runs_that_saw(tmp_path, {"x"})[0].unknown)
    (tmp_path / "old" / "config.yaml").write_text("variant: none")
    assert "no variant" in str(runs_that_saw(tmp_path, {"x"})[0].unknown)


def test_what_has_no_usable_footage_is_never_drawn_and_costs_nothing(tmp_path: Path) -> None:
    """A run of billions of positions is not gone through for it."""
    rows = [row(i, usable=[] if i == 0 else [{"start_seconds": 0.0, "end_seconds": 4.0}]) for i in range(9)]
    config = compose_config(overrides("mae", tmp_path, tmp_path, "run", "trainer.steps=1000000000"))
    folder = RunFolder(tmp_path / "run")
    claim_folder(config, folder.config_file)
    (folder.checkpoints / "step_1000000000").mkdir(parents=True)
    record_footage(folder, manifest_of(*rows), 0)
    answer = ask_run(folder.path, {rows[0]["video_id"]})
    assert answer.listed == {rows[0]["video_id"]} and answer.first_seen == {}
    assert ask_run(folder.path, {rows[0]["video_id"], rows[1]["video_id"]}).first_seen.keys() == {rows[1]["video_id"]}


def test_footage_is_noted_once_and_anew_after_going_back(manifest: Path, tmp_path: Path) -> None:
    folder, whole = RunFolder(tmp_path), Manifest.read([manifest])
    less, least = (Manifest(whole.table.slice(0, count)) for count in (9, 5))
    assert record_footage(folder, whole, 0) is None
    written = folder.footage_file.read_bytes()
    assert record_footage(folder, whole, 0) is None and record_footage(folder, whole, 7) is None
    assert folder.footage_file.read_bytes() == written
    assert "11 -> 9" in str(record_footage(folder, less, 7))
    assert "9 -> 5" in str(record_footage(folder, least, 9))
    assert "9 -> 11" in str(record_footage(folder, whole, 8))  # went back: what was noted of step 9 is void
    assert [(s.from_step, s.num_videos) for s in footage_of(folder)] == [(0, 11), (7, 9), (8, 11)]
    assert record_footage(folder, least, 0) is None  # no checkpoint was left
    assert [(s.from_step, s.num_videos) for s in footage_of(folder)] == [(0, 5)]
    assert json.loads(folder.footage_file.read_text())["fingerprint"] == least.fingerprint


def test_footage_that_an_older_version_noted_is_known_again(manifest: Path, tmp_path: Path) -> None:
    """Its fingerprint was computed otherwise; what it lists is compared, and nothing is said where it is the same."""
    folder, whole = RunFolder(tmp_path), Manifest.read([manifest])
    record_footage(folder, whole, 0)
    line = json.loads(folder.footage_file.read_text())
    (table,) = folder.footage.iterdir()
    old = {"from_step": 0, "fingerprint": "a" * 64, "num_videos": line["num_videos"]}
    table.rename(folder.footage / f"{'a' * 16}.parquet")
    pq.write_table(
        pq.read_table(folder.footage / f"{'a' * 16}.parquet").drop_columns(["procedure"]),
        folder.footage / f"{'a' * 16}.parquet",
    )
    folder.footage_file.write_text(json.dumps(old) + "\n")
    assert record_footage(folder, whole, 3) is None and len(footage_of(folder)) == 1
    assert "11 -> 9" in str(record_footage(folder, Manifest(whole.table.slice(0, 9)), 4))
