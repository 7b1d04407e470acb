"""The probe in the middle of a run: the same on any number of ranks, and without any trace in what is trained."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from surgrec.config.build import build_run
from surgrec.config.compose import compose_config
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import SCHEMA, Manifest
from surgrec.evaluation import online
from surgrec.evaluation.labels import LabelledWindow
from surgrec.evaluation.online import OnlineProbe, ProbeError
from surgrec.training.loop import pretrain
from surgrec.training.runtime import Runtime
from tests.training.test_update import run_of
from tests.training.tiny import BLIND, Warm, assert_same_weights, metrics_of, overrides

PROBE = {"probe_knn", "probe_chance", "probe_windows"}


@pytest.fixture(scope="module")
def labels(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels in every video of the tests' corpus, each of which is a case."""
    file = tmp_path_factory.mktemp("labels") / "labels.csv"
    lines = [
        f"{name},{time},{label}"
        for name in Manifest.read([footage]).video_ids
        for time, label in ((0, "a"), (1.5, "b"))
    ]
    file.write_text("\n".join(("video_id,time_seconds,step", *lines)) + "\n")
    return file


def write_manifest(file: Path, footage: Path, changes: dict[str, Callable[[int, str], str]]) -> None:
    """A copy of a manifest with other values in some columns, made from the row's number and the value."""
    rows = Manifest.read([footage]).table.to_pylist()
    changed = [
        row | {name: change(number, row[name]) for name, change in changes.items()} for number, row in enumerate(rows)
    ]
    Manifest(pa.Table.from_pylist(changed, schema=SCHEMA)).write(file)


def probe_options(footage: Path, labels: Path, every: int) -> list[str]:
    names = {"every": every, "manifest": footage, "labels": labels, "column": "step", "windows": 10}
    # a window of half a second: there are three in each label of each video
    return ["data.frame_interval_seconds=0.125", *(f"probe.{name}={value}" for name, value in names.items())]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mae", "jepa"])
def test_the_probe_is_logged_at_its_steps_and_changes_nothing(
    variant: str, warm: Warm, footage: Path, labels: Path, tmp_path: Path
) -> None:
    options = probe_options(footage, labels, every=4)
    said = warm.run(overrides(variant, footage, tmp_path, "probed", *options, "trainer.steps=6"))
    warm.run(overrides(variant, footage, tmp_path, "plain", options[0], "trainer.steps=6"))
    mine, plain = metrics_of(tmp_path / "probed"), metrics_of(tmp_path / "plain")
    assert [line["step"] for line in mine if line.keys() >= PROBE] == [4, 6]
    for line in mine:
        if line.keys() >= PROBE:
            assert 0 <= line["probe_knn"] <= 1 and line["probe_chance"] == 0.5 and line["probe_windows"] == 10
    assert [{key: value for key, value in line.items() if key not in PROBE} for line in mine] == plain
    assert_same_weights(tmp_path / "probed", tmp_path / "plain")
    assert said.count("probe 0.") + said.count("probe 1.") == 2 and "chance 0.500" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "strategy"),
    [
        ("mae", "fsdp"),
        ("jepa", "ddp"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("mae", "ddp"), ("jepa", "fsdp"))),
    ],
)
def test_two_processes_probe_as_one(
    variant: str, strategy: str, warm: Warm, footage: Path, labels: Path, tmp_path: Path
) -> None:
    options = [*probe_options(footage, labels, every=1), "trainer.steps=1"]
    warm.run(overrides(variant, footage, tmp_path, "one", *options))
    world = [f"runtime={strategy}", "runtime.accelerator=cpu"]
    warm.run_world(2, overrides(variant, footage, tmp_path, "two", *options, *world))
    one, two = (metrics_of(tmp_path / name)[0] for name in ("one", "two"))
    assert {name: one[name] for name in PROBE} == {name: two[name] for name in PROBE}


@pytest.mark.slow
def test_a_window_that_cannot_be_read_is_left_out_and_not_counted(
    warm: Warm, footage: Path, labels: Path, tmp_path: Path
) -> None:
    write_manifest(tmp_path / "m.parquet", footage, {"path": lambda row, path: path if row else "gone.mp4"})
    options = probe_options(tmp_path / "m.parquet", labels, every=1)
    options = [each.replace("probe.windows=10", "probe.windows=100") for each in options]
    warm.run(overrides("mae", footage, tmp_path, "left", *options, "trainer.steps=1"))
    assert metrics_of(tmp_path / "left")[0]["probe_windows"] == 30  # of 36


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("probe.labels=nowhere.csv", "probe.labels=nowhere.csv is not there"),
        ("probe.manifest=null", "probe.manifest=None must be given with probe.every"),
        ("probe.every=0", "probe.every=0 must be at least 1"),
        ("probe.column=phase", "lacks the column phase; it has video_id, time_seconds, step"),
    ],
)
def test_a_probe_that_cannot_be_is_told(
    option: str, sentence: str, runtime: Runtime, footage: Path, labels: Path, tmp_path: Path
) -> None:
    options = overrides("mae", footage, tmp_path, "none", *probe_options(footage, labels, every=1), option)
    with pytest.raises(UserError, match=re.escape(sentence)):
        build_run(compose_config(options), runtime)
    assert not (tmp_path / "none").exists()


def test_it_is_told_before_the_first_step(warm: Warm, footage: Path, labels: Path, tmp_path: Path) -> None:
    """Also what only the last look finds out: that none of its videos is there."""
    elsewhere = tmp_path / "elsewhere.parquet"
    write_manifest(elsewhere, footage, {"root": lambda row, root: str(tmp_path)})
    options = [*probe_options(footage, labels, every=1), f"probe.manifest={elsewhere}"]
    said = warm.run(overrides("mae", footage, tmp_path, "none", *options), status=2)
    sentence = "0 of its 5 videos are there, with windows of 0 labels in 0 cases"
    assert sentence in said and "Traceback" not in said and not (tmp_path / "none").exists()


# -- a probe that fails is no end


def test_videos_that_go_away_during_the_run_are_told_and_it_goes_on(
    warm: Warm, footage: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(footage.parent, tmp_path / "copy")
    write_manifest(
        tmp_path / "m.parquet",
        footage,
        {"root": lambda row, root: str(tmp_path / "copy" / Path(root).relative_to(footage.parent))},
    )
    options = [*probe_options(tmp_path / "m.parquet", labels, every=1), "trainer.steps=3"]
    with run_of("mae", footage, tmp_path, *options) as run:
        probe = run.probe
        assert isinstance(probe, OnlineProbe) and probe().keys() == PROBE
        shutil.rmtree(tmp_path / "copy")
        pretrain(run)
    assert [line["step"] for line in metrics_of(tmp_path / "run") if not line.keys() & PROBE] == [1, 2, 3]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert [line.partition(";")[0] for line in warnings] == [
        f"warning: step {step}: the probe failed: of 10 windows 0 could be read and encoded, "
        "with windows of 0 labels in 0 cases"
        for step in (1, 2, 3)
    ]
    assert all(line.endswith("; the run goes on without these numbers") for line in warnings)


@pytest.mark.parametrize("place", ["video", "encoder", "score"])
def test_whatever_fails_in_a_probe_is_its_own_error(
    place: str, footage: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(first: object, *rest: object, **named: object) -> None:
        raise OSError(f"no device for {first}\nand more") if place == "video" else RuntimeError("out of memory")

    name = {"video": "open_video", "encoder": "whole_clip_tokens", "score": "held_out_predictions"}[place]
    with run_of("jepa", footage, tmp_path, *probe_options(footage, labels, every=1), "trainer.steps=1") as run:
        assert run.probe is not None
        before = run.probe()
        with monkeypatch.context() as patch:
            patch.setattr(online, name, fail)
            with pytest.raises(ProbeError) as caught:
                run.probe()
            if place == "encoder":  # under one model in parts, ranks go together or not at all
                patch.setattr(type(run.runtime), "is_sharded", True)
                with pytest.raises(RuntimeError, match=r"^out of memory$"):
                    run.probe()
        assert run.probe() == before
    reason = (
        r"video (\w+): OSError: no device for video \1; and \d+ more"
        if place == "video"
        else "RuntimeError: out of memory"
    )
    assert re.fullmatch(f"the probe failed: {reason}", str(caught.value))


@pytest.mark.slow
def test_what_one_rank_cannot_read_is_told_once_and_both_go_on(
    warm: Warm, footage: Path, labels: Path, tmp_path: Path
) -> None:
    options = [*probe_options(footage, labels, every=1), "trainer.steps=2", "runtime=ddp", "runtime.accelerator=cpu"]
    said = warm.run_world(2, overrides("mae", footage, tmp_path, "blind", *options), BLIND)
    assert said.count("warning:") == said.count("the probe failed: the disk is gone; the run goes on") == 2
    assert [line["step"] for line in metrics_of(tmp_path / "blind") if not line.keys() & PROBE] == [1, 2]


def test_windows_of_too_few_cases_are_told_before_the_first_step(footage: Path) -> None:
    """As they may be drawn where `probe.windows` is small."""
    manifest = Manifest.read([footage])
    windows = [LabelledWindow(row, 0.0, label, f"case{row}") for row in (0, 1) for label in ("a", "b")]
    probe = OnlineProbe(None, manifest, windows, None, None)  # type: ignore[arg-type]  # none is asked
    with pytest.raises(
        UserError, match=r"2 of its 2 videos are there, .* 2 labels in 2 cases; .* raise probe\.windows"
    ):
        probe.check()
    more = LabelledWindow(2, 0.0, "a", "case2")
    OnlineProbe(None, manifest, [*windows, more], None, None).check()  # type: ignore[arg-type]
