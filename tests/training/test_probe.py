"""The probe in the middle of a run: the same on any number of ranks, and without any trace in what is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.corpus.manifest import Manifest
from tests.training.tiny import VARIANTS, Warm, assert_same_weights, metrics_of, overrides

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


def probe_options(footage: Path, labels: Path, every: int) -> list[str]:
    names = {"every": every, "manifest": footage, "labels": labels, "column": "step", "windows": 10}
    # a window of half a second: there are three in each label of each video
    return ["data.frame_interval_seconds=0.125", *(f"probe.{name}={value}" for name, value in names.items())]


@pytest.mark.parametrize("variant", VARIANTS)
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


def test_a_window_that_cannot_be_read_is_left_out_and_not_counted(
    warm: Warm, footage: Path, labels: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    manifest = Manifest.read([footage])
    index = manifest.table.column_names.index("path")
    paths = manifest.column("path").tolist()
    paths[0] = "gone.mp4"
    moved = manifest.table.set_column(index, manifest.table.schema.field("path"), [paths])
    Manifest(moved).write(tmp_path / "copy" / "m.parquet")
    options = probe_options(tmp_path / "copy" / "m.parquet", labels, every=1)
    options = [each.replace("probe.windows=10", "probe.windows=100") for each in options]
    warm.run(overrides("mae", footage, tmp_path, "left", *options, "trainer.steps=1"))
    assert metrics_of(tmp_path / "left")[0]["probe_windows"] == 30  # of 36


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("probe.labels=nowhere.csv", "probe.labels=nowhere.csv is not there"),
        ("probe.manifest=null", "probe.manifest=None must be given with probe.every"),
        ("probe.every=0", "probe.every=0 must be at least 1"),
    ],
)
def test_a_probe_that_cannot_be_is_told_before_the_first_step(
    option: str, sentence: str, warm: Warm, footage: Path, labels: Path, tmp_path: Path
) -> None:
    options = [*probe_options(footage, labels, every=1), option]
    said = warm.run(overrides("mae", footage, tmp_path, "none", *options), status=2)
    assert sentence in said and "Traceback" not in said and not (tmp_path / "none").exists()
