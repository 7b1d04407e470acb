"""Which checkpoints stay; those that a rollback needs are in test_watch.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.config.compose import compose_config
from surgrec.core.errors import UserError
from surgrec.training.checkpoint_facts import CheckpointFacts
from surgrec.training.checkpoint_listing import Retention, newest, steps_in, to_retire
from surgrec.training.progress import Progress, Pulse


def written(folder: Path, probes: dict[int, float | None], safe_until: int | None = None) -> None:
    """Checkpoints of these steps with these numbers of the probe, trusted up to a step (None: all)."""
    for step, probe in probes.items():
        path = folder / f"step_{step:08d}"
        path.mkdir()
        pulse = Pulse(step if safe_until is None else min(step, safe_until))
        CheckpointFacts(Progress(step, pulse=pulse, probe=probe), files={}).write(path)


def left(folder: Path, retention: Retention, step: int, safe_until: int | None = None) -> list[int]:
    """The steps that stay after a save of `step`."""
    gone = to_retire(folder, Progress(step, pulse=Pulse(step if safe_until is None else safe_until)), retention)
    return [int(path.name[5:]) for path in steps_in(folder) if path not in gone]


STEPS = range(10, 101, 10)


@pytest.mark.parametrize(
    ("retention", "stay"),
    [
        (Retention(1), [100]),
        (Retention(3), [80, 90, 100]),
        (Retention(20), list(STEPS)),
        (Retention(1, every=30), [30, 60, 90, 100]),
        (Retention(2, every=1000), [90, 100]),
        (Retention(1, best=1), [40, 100]),
        (Retention(1, best=3), [20, 40, 70, 100]),
        (Retention(2, every=50, best=2), [40, 50, 70, 90, 100]),
    ],
)
def test_the_newest_every_so_many_steps_and_the_best_stay(
    retention: Retention, stay: list[int], tmp_path: Path
) -> None:
    probes = dict.fromkeys(STEPS, 0.1) | {20: 0.5, 40: 0.9, 70: 0.6, 60: None}
    written(tmp_path, probes)
    assert left(tmp_path, retention, 100) == stay


def test_of_equally_good_ones_the_newer_stays_and_what_was_not_probed_is_never_best(tmp_path: Path) -> None:
    written(tmp_path, {10: 0.5, 20: 0.5, 30: None, 40: None, 50: None})
    assert left(tmp_path, Retention(1, best=1), 50) == [20, 50]
    assert left(tmp_path, Retention(1, best=5), 50) == [10, 20, 50]


def test_rules_add_up_with_what_a_rollback_needs(tmp_path: Path) -> None:
    written(tmp_path, dict.fromkeys(STEPS), safe_until=40)
    assert left(tmp_path, Retention(1, every=30), 100, safe_until=40) == [30, 40, 50, 60, 90, 100]


def test_step_0_is_kept_by_no_interval_and_later_steps_than_the_runs_stay(tmp_path: Path) -> None:
    written(tmp_path, dict.fromkeys([0, 10, 20, 500]))
    assert left(tmp_path, Retention(1, every=10), 20) == [10, 20, 500]


def test_what_cannot_be_read_is_neither_counted_nor_deleted(tmp_path: Path) -> None:
    written(tmp_path, dict.fromkeys([10, 20, 30]))
    (tmp_path / "step_00000030" / "checkpoint.json").write_text("{")
    (tmp_path / "step_of_somebody_else").mkdir()
    assert left(tmp_path, Retention(1), 40) == [20, 30]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    written(tmp_path, dict.fromkeys([99_999_999, 100_000_000]))
    assert left(tmp_path, Retention(1), 100_000_000) == [100_000_000]
    newest_one = newest(tmp_path)
    assert newest_one is not None and newest_one.name == "step_100000000"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("trainer.keep_every=0", "trainer.keep_every=0 must be at least 1, or null"),
        ("trainer.keep_best=-1", "trainer.keep_best=-1 must be a number of at least 0"),
        ("trainer.keep_best=2", "trainer.keep_best=2 does nothing without a probe; give probe.every"),
        ("trainer.keep_checkpoints=0", "trainer.keep_checkpoints=0 must be at least 1"),
    ],
)
def test_a_retention_that_cannot_be_is_told(option: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        compose_config(["+variant=mae", option])
