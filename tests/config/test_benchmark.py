"""The options of a benchmark: every file composes, every option is read, a mistake is told in a sentence with status 2."""

from __future__ import annotations

import csv
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from surgrec import benchmark as verb
from surgrec.config import benchmark, benchmark_compose, benchmark_seen, benchmark_training
from surgrec.config.benchmark_compose import FOLDER, all_options, compose_benchmark
from surgrec.config.benchmark_seen import seen_by_run
from surgrec.core.errors import ToldError, UserError
from surgrec.corpus.scan import video_id
from surgrec.evaluation.results import FORMAT, UNKNOWN, Gap, Results
from surgrec.evaluation.running.entrant import VIEWS, Seen
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.tasks.task import ClipTask, Task
from surgrec.hub.archive import pack
from surgrec.hub.card_footage import Footage, SeenVideo
from surgrec.training.folder import RunFolder
from surgrec.training.footage import record_footage
from tests.config.test_schema import watch
from tests.corpus.published_splits import write_leaking_set
from tests.corpus.test_manifest import manifest as manifest_of
from tests.corpus.test_manifest import row
from tests.evaluation.running.tiny import NUM_VIDEOS, clip_task
from tests.evaluation.tasks import archives
from tests.hub.build import written

GIVEN = "tasks.synthesised=tiny"
FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.glob("*/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_composes(file: Path) -> None:
    group, name = file.parent.as_posix(), file.stem
    options = [f"{'+' if group == 'experiment' else ''}{group}={name}"]
    config = compose_benchmark([*options, *([] if group == "experiment" or name == "synthesised" else [GIVEN])])
    assert config.tasks.synthesised is not None


def test_the_quickstart_has_every_protocol_and_every_baseline() -> None:
    config = compose_benchmark(["+experiment=quickstart"])
    assert set(config.protocols.names) == set(benchmark_compose._protocol_keys())
    assert set(config.encoders.baselines) == set(benchmark_compose.BASELINES)
    assert config.encoders.train == config.encoders.views == ["mae", "jepa"] and config.num_seeds >= 3
    assert 0 not in config.tasks.synthesised_seeds  # which the encoders are trained on


def test_every_option_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wiring, providing, the shares and the verb; what none of this reads is a dead option."""
    seen: set[str] = set()
    paths = [f"paths.{name}={tmp_path / name}" for name in ("benchmarks", "features", "runs", "embedded")]
    options = [GIVEN, *paths, "encoders.train=[mae]", "tasks.only=[synthesised_phase]", "tasks.clip_seconds=0.6"]
    options += [f"+tasks.archives.cholec80={tmp_path}", f"+tasks.lists.theirs={tmp_path}"]
    config = watch(compose_benchmark(options), seen)
    monkeypatch.setattr(benchmark, "train", lambda config, variants: None)
    benchmark.provide(config)
    plan = benchmark.build_plan(config)
    assert isinstance(plan, Plan) and len(plan.tasks) == 1
    assert benchmark.part_of(config) == (0, 1)
    assert set(all_options()) - seen == {"processes"}  # which the verb reads
    assert all(f"config.{name}" in inspect.getsource(verb.benchmark) for name in ("submissions", "processes"))


def test_a_gpu_that_is_not_there_is_told_before_any_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = compose_benchmark([f"+tasks.archives.cholec80={tmp_path}", "encoders.device=cuda:1"])
    with pytest.raises(UserError, match="torch sees no GPU"):
        benchmark.build_plan(config)


def test_an_archive_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    paths = [f"paths.embedded={tmp_path / 'embedded'}", "tasks.only=[synthesised_phase]", "tasks.clip_seconds=0.6"]
    config = compose_benchmark([GIVEN, *paths, f"+tasks.archives.cholec80={tmp_path}"])
    benchmark.provide(config)
    plan = benchmark.build_plan(config)
    assert [task.name for task in plan.tasks] == ["synthesised_phase"]
    assert str(tmp_path) not in plan.absent["cholec80"] and "expected" in plan.absent["cholec80"]
    plan = benchmark.build_plan(compose_benchmark([GIVEN, *paths, f"+tasks.archives.cholec80={tmp_path}/./"]))
    assert str(tmp_path) not in plan.absent["cholec80"], "however the folder was written"


def test_lists_of_others_are_replayed_with_their_findings(tmp_path: Path) -> None:
    write_leaking_set(tmp_path / "published", tmp_path / "data")
    options = [f"+tasks.lists.theirs={tmp_path / 'published'}", f"+tasks.lists.gone={tmp_path / 'gone'}"]
    plan = benchmark.build_plan(compose_benchmark([*options, f"tasks.lists_root={tmp_path / 'data'}"]))
    (task,) = plan.tasks
    assert isinstance(task, ClipTask) and task.name == "theirs_replayed" and task.splits[0].origin == "replayed"
    assert "validation_is_test" in {finding.kind for finding in task.findings}
    assert list(plan.absent) == ["gone"] and str(tmp_path) not in plan.absent["gone"]
    assert {tmp_path / "published", tmp_path / "data"} <= set(plan.places_hidden), "whatever a reason says of them"


def test_an_archive_that_breaks_the_reader_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = clip_task([tmp_path / f"{number}.mp4" for number in range(NUM_VIDEOS)])

    def read(name: str, *_: object) -> list[Task]:
        if name == "cholec80":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, f"of {tmp_path}/doe.csv")
        return [task]

    monkeypatch.setattr(benchmark, "read_tasks", read)
    plan = benchmark.build_plan(compose_benchmark([f"+tasks.archives.{name}=/x" for name in ("cholec80", "jigsaws")]))
    assert plan.tasks == (task,)
    assert "UnicodeDecodeError" in plan.absent["cholec80"] and "doe" not in plan.absent["cholec80"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["tasks.clips=3"], "there is no option tasks.clips"),
        (["+encoders.trian=[mae]"], "did you mean encoders.train?"),
        (
            ["+experiment=quick"],
            r"there is no experiment 'quick'; choose one of \+experiment=motion, \+experiment=quickstart",
        ),
        (["protocols.names=[lda]"], "protocols.names has 'lda'; choose of knn"),
        (["protocols.names=[knn,knn]"], "names one twice"),
        (["encoders.random=[mae]"], "encoders.random has 'mae'"),
        (["encoders.train=[salt]"], "encoders.train has 'salt'; choose of mae, jepa"),
        (["+encoders.models.majority=x"], "a name that is taken"),
        (["name=../x"], "the name of a folder"),
        (["shard=3/3"], "shard is '3/3'; give I/N"),
        (["shard=0/2", "processes=2"], "two ways to divide"),
        (["num_seeds=0"], "num_seeds=0 must be above 0"),
        (["+tasks.archives.cholec8=x"], "tasks.archives has 'cholec8'; choose of aixsuture"),
        (["+tasks.lists.Theirs=x"], "the name of a folder"),
        (["features.layout=flat"], "features.layout has 'flat'"),
        (["protocols.attentive.learning_rates=[]"], "at least one rate"),
        (["num_seeds=three"], "num_seeds"),
        (["protocols.knn_neighbours=[0]"], "knn_neighbours"),
        (["protocols.finetune.batch_size=0"], "finetune.batch_size=0 must be above 0"),
        (["protocols.finetune.drop_path=1"], "a share below 1"),
        (["features.precision=float16"], "gradients vanish"),
        (["encoders.train=[mae]", "encoders.random=[mae]", "+encoders.models.mae_random=x"], "a name that is taken"),
        (
            ["encoders.train=[mae]", "encoders.views=[mae]", "+encoders.models.mae_middle_frame=x"],
            "a name that is taken",
        ),
        (["tasks.archives.cholec80=x"], r"added with a plus; write '\+tasks\.archives\.cholec80=x'"),
        (["metric.clips=accuracy"], "there is no option metric; did you mean metrics?"),
        (["metrics.clips=acuracy"], "metrics.clips has 'acuracy'; choose of balanced accuracy"),
        (
            ["metrics.clips='ECE (adaptive bins)'"],
            "metrics.clips has 'ECE",
        ),  # the lower the better: it would rank the worst first
    ],
)
def test_a_mistake_is_told_in_a_sentence(options: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        compose_benchmark([GIVEN, *options])


def test_nothing_to_measure_on_is_told() -> None:
    with pytest.raises(UserError, match="nothing to measure on"):
        compose_benchmark([])


def test_an_unknown_task_is_told(tmp_path: Path) -> None:
    config = compose_benchmark([GIVEN, f"paths.embedded={tmp_path}", "tasks.clip_seconds=0.6", "tasks.only=[phases]"])
    benchmark.provide(config)
    with pytest.raises(UserError, match=r"tasks\.only has 'phases'; choose of synthesised_phase"):
        benchmark.build_plan(config)


def test_names_of_derived_encoders_are_those_that_are_refused() -> None:
    assert {name for name, _ in VIEWS.values()} == set(benchmark_compose.VIEWS)


def test_trainings_side_by_side_all_run_and_a_failed_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each in a process with its share of the cores; what each says has its name before it."""
    said = "import os, sys; print('cores', os.environ['OMP_NUM_THREADS']); sys.exit(%d)"
    commands = {"mae": [sys.executable, "-c", said % 0], "jepa": [sys.executable, "-c", said % 3]}
    monkeypatch.setattr(benchmark_training, "_command", lambda config, variant: commands[variant])
    monkeypatch.setattr(benchmark_training, "usable_cores", lambda: 8)
    config = compose_benchmark([GIVEN, f"paths.runs={tmp_path}", "processes=2"])
    with pytest.raises(ToldError) as told:
        benchmark_training.train(config, ["mae", "jepa"])
    assert told.value.status == 3
    assert {"mae: cores 4", "jepa: cores 4"} <= set(capfd.readouterr().err.splitlines())


def test_what_a_run_has_seen_is_told_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of training copies by those of what they were made of, and of footage that its manifest lists no more."""
    original, lost = "c" * 64, "d" * 64
    file = tmp_path / "m.parquet"
    one = row(1, sha256="a" * 64)
    copy = row(2, sha256="b" * 64, original_sha256=original, video_id=video_id("src", original))
    gone = row(3, sha256=lost, video_id=video_id("src", lost))
    manifest_of(one, copy).write(file)
    config = SimpleNamespace(mix=SimpleNamespace(manifests=[str(file)]), init=None)
    monkeypatch.setattr(benchmark_seen, "read_config", lambda path: config)
    seen = seen_by_run(tmp_path)
    assert seen.is_whole and {letter * 64 for letter in "abc"} <= (seen.files or set())
    record_footage(RunFolder(tmp_path), manifest_of(one, copy, gone), 0)
    assert seen_by_run(tmp_path).contamination(frozenset({"e" * 64, lost})) == "1 of 2 test videos pretrained on"
    file.unlink()  # the record alone
    seen = seen_by_run(tmp_path)
    assert seen.contamination(frozenset({original, lost, "a" * 64})) == "3 of 3 test videos pretrained on"
    assert seen.contamination(frozenset({"e" * 64})) == "none of 1 test videos pretrained on, byte for byte"
    config.init = "videomae:weights.pth"  # which have seen other videos
    begun = seen_by_run(tmp_path)
    assert begun.contamination(frozenset({"e" * 64})) == UNKNOWN
    assert begun.contamination(frozenset({"a" * 64})).startswith("1 of 1")
    next((tmp_path / "footage").glob("*.parquet")).unlink()
    assert seen_by_run(tmp_path) == Seen()


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_a_release_lists_is_told_too(is_whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one that must be fetched, or unpacked."""
    monkeypatch.setenv("SURGREC_CACHE", str(tmp_path / "cache"))
    footage = Footage(seen=(SeenVideo(video_id("src", "a" * 64), "src", 3),), is_whole=is_whole)
    folder = written(tmp_path / "release", footage=footage)
    pack(folder, tmp_path / "release.zip")
    models = {"ours": folder, "fetched": tmp_path / "release.zip", "other": "vit:/nowhere.pth", "gone": "/nowhere.zip"}
    config = compose_benchmark([GIVEN, *(f"+encoders.models.{name}={model}" for name, model in models.items())])
    ours, fetched, other, gone = (entrant.seen() for entrant in benchmark._entrants(config)[:4])
    none = "none of 1 test videos pretrained on, byte for byte"
    for seen in (ours, fetched):
        assert seen.contamination(frozenset({"a" * 64, "b" * 64})) == "1 of 2 test videos pretrained on"
        assert seen.contamination(frozenset({"b" * 64})) == (none if is_whole else UNKNOWN)
    assert other.contamination(frozenset({"b" * 64})) == gone.contamination(frozenset({"b" * 64})) == UNKNOWN


def test_a_release_that_cannot_be_fetched_again_costs_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are there. Views of it ask no second time."""
    asked = []

    def busy(address: object) -> Path:
        asked.append(address)
        raise UserError("another surgrec command is writing it") if len(asked) == 1 else OSError(28, "no space")

    monkeypatch.setattr(benchmark_seen, "fetch", busy)
    models = ["+encoders.models.one=https://a.org/r.zip", "+encoders.models.two=https://b.org/r.zip"]
    entrants = benchmark._entrants(compose_benchmark([GIVEN, *models, "encoders.views=[one,two]"]))
    seen = [entrant.seen() for entrant in entrants if entrant.name.partition("_")[0] in ("one", "two")]
    assert len(seen) == 6 and set(seen) == {Seen()} and len(asked) == 2


def test_a_benchmark_of_which_no_dataset_can_be_read_is_told_and_writes_nothing(tmp_path: Path) -> None:
    options = [f"paths.{name}={tmp_path / name}" for name in ("benchmarks", "features", "embedded")]
    with pytest.raises(UserError, match="no dataset could be read"):
        verb.benchmark(compose_benchmark([*options, f"+tasks.archives.cholec80={tmp_path / 'gone'}"]))
    assert not list(tmp_path.rglob("results.json"))


def test_a_missing_video_is_told_with_the_option_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives.autolaparo(tmp_path)
    (tmp_path / "videos/02.mp4").unlink()
    plan = benchmark.build_plan(compose_benchmark([f"+tasks.archives.autolaparo={tmp_path}"]))
    assert not plan.tasks and "tasks.allow_missing=true goes on without" in capsys.readouterr().err
    for video in sorted((tmp_path / "videos").iterdir()):
        video.rename(video.with_stem(str(int(video.stem) + 50)))  # none of those that the split names is left
    benchmark.build_plan(compose_benchmark([f"+tasks.archives.autolaparo={tmp_path}"]))
    assert "allow_missing" not in capsys.readouterr().err, "there is nothing to go on with"


def test_numbers_of_other_rows_are_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of their file, of which there may be many."""
    task = clip_task([tmp_path / f"{number}.mp4" for number in range(NUM_VIDEOS)])
    monkeypatch.setattr(benchmark, "read_tasks", lambda *_: [task])
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps({"format": 1, "encoders": [], "splits": {"halves/seed0": "0" * 16}, "cells": []}))
    options = [f"paths.{name}={tmp_path / name}" for name in ("benchmarks", "features", "embedded")]
    with pytest.raises(UserError, match=rf"{theirs}: submission\.splits\.halves/.* 0000.*it is of other rows"):
        verb.benchmark(compose_benchmark([*options, "+tasks.archives.cholec80=/x", f"submissions=[{theirs}]"]))
    assert not list((tmp_path / "benchmarks").rglob("*.json"))


def test_the_file_of_an_id_can_be_looked_up(tmp_path: Path) -> None:
    videos = [tmp_path / f"{number}.mp4" for number in range(NUM_VIDEOS)]
    task = clip_task(videos)
    plan = Plan("x", tmp_path / "x", tmp_path, (task,), (), ())
    verb.list_videos(plan)
    with (plan.folder / "videos.csv").open(newline="") as file:
        files = dict(csv.reader(file))
    assert {files[clip.video_id] for clip in task.clips} == set(map(str, videos))


def test_gaps_of_one_reason_are_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gaps = [Gap(task, "ours", "*", "there is no release") for task in ("cholec80_phase", "cholec80_clips")]
    gaps += [Gap("jigsaws", "*", "*", "no videos"), Gap("grasp_clips", "ours", "k-NN", "no memory")]
    verb.tell(Results(FORMAT, "x", "2026-01-01", {}, (), (), (), gaps=tuple(gaps)), tmp_path)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  gap")]
    assert told == [
        "  gap: 2 tasks, ours: there is no release",
        "  gap: jigsaws: no videos",
        "  gap: grasp_clips, ours, k-NN: no memory",
    ]


@pytest.mark.slow
def test_the_command_ends_with_status_2_and_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "surgrec.benchmark", "tasks.synthesised=enormous"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=None)
    assert done.returncode == 2 and "unknown scale 'enormous'" in done.stderr and "Traceback" not in done.stderr
