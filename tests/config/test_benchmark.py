"""The options of a benchmark: every file composes, every option is read, a mistake is told in a sentence with status 2."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec import benchmark as verb
from surgrec.config import benchmark, benchmark_compose
from surgrec.config.benchmark_compose import FOLDER, all_options, compose_benchmark
from surgrec.core.errors import UserError
from surgrec.evaluation.running.plan import Plan
from tests.config.test_schema import watch

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
    options.append(f"+tasks.archives.cholec80={tmp_path}")
    config = watch(compose_benchmark(options), seen)
    monkeypatch.setattr(benchmark, "_train", lambda config, variant: None)
    benchmark.provide(config)
    plan = benchmark.build_plan(config)
    assert isinstance(plan, Plan) and len(plan.tasks) == 1
    assert benchmark.part_of(config) == (0, 1)
    assert set(all_options()) - seen == {"submissions", "processes"}  # which the verb reads
    assert "config.submissions" in inspect.getsource(verb.write) and "config.processes" in inspect.getsource(
        verb.benchmark
    )


def test_an_archive_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    paths = [f"paths.embedded={tmp_path / 'embedded'}", "tasks.only=[synthesised_phase]", "tasks.clip_seconds=0.6"]
    config = compose_benchmark([GIVEN, *paths, f"+tasks.archives.cholec80={tmp_path}"])
    benchmark.provide(config)
    plan = benchmark.build_plan(config)
    assert [task.name for task in plan.tasks] == ["synthesised_phase"]
    assert str(tmp_path) not in plan.absent["cholec80"] and "expected" in plan.absent["cholec80"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["tasks.clips=3"], "there is no option tasks.clips"),
        (["+encoders.trian=[mae]"], "did you mean encoders.train?"),
        (["+experiment=quick"], r"there is no experiment 'quick'; choose one of \+experiment=quickstart"),
        (["protocols.names=[lda]"], "protocols.names has 'lda'; choose of knn"),
        (["protocols.names=[knn,knn]"], "names one twice"),
        (["encoders.random=[mae]"], "encoders.random has 'mae'"),
        (["encoders.train=[salt]"], "encoders.train has 'salt'; choose of mae, jepa"),
        (["+encoders.models.majority=x"], "a name that is taken"),
        (["name=../x"], "the name of a folder"),
        (["shard=3/3"], "shard is '3/3'; give I/N"),
        (["shard=0/2", "processes=2"], "two ways to divide"),
        (["num_seeds=0"], "num_seeds=0 must be above 0"),
        (["features.layout=flat"], "features.layout has 'flat'"),
        (["protocols.attentive.learning_rates=[]"], "at least one rate"),
        (["num_seeds=three"], "num_seeds"),
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


@pytest.mark.slow
def test_the_command_ends_with_status_2_and_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "surgrec.benchmark", "tasks.synthesised=enormous"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=None)
    assert done.returncode == 2 and "unknown scale 'enormous'" in done.stderr and "Traceback" not in done.stderr
