"""A benchmark, killed anywhere, damaged or changed, and run again, gives the table of one that was not; nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from surgrec.core.atomic import write_json as running_write_json
from surgrec.core.errors import UserError
from surgrec.evaluation.protocols.finetune import Finetune
from surgrec.evaluation.results import Results
from surgrec.evaluation.running import run as running
from surgrec.evaluation.running.cells import Cells
from surgrec.evaluation.running.entrant import majority
from surgrec.evaluation.running.features import _write as running_write_features
from surgrec.evaluation.running.join import is_complete, join
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.predictions import Predictions
from surgrec.evaluation.running.protocols import FROZEN
from surgrec.evaluation.running.run import run_cells
from surgrec.evaluation.tasks.task import ClipTask
from surgrec.features.baseline import FrozenModel
from surgrec.models.encoder import Encoder
from tests.evaluation.running import tiny
from tests.evaluation.running.tiny import QUICK


def test_a_second_call_computes_nothing(whole: tuple[Plan, Results], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, results = whole
    monkeypatch.setattr(running.Bench, "run", None)
    run_cells(plan, plan.places())
    assert join(plan, {}) == results


class Killed(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize("moment", [0, 1, 4, 9, 10, 15])
def test_killed_anywhere_and_run_again_it_gives_the_same_table(
    whole: tuple[Plan, Results], videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Between two writes of a cell, its predictions and itself, or of features."""
    plan = tiny.plan(tmp_path, videos, protocols=QUICK)
    with monkeypatch.context() as patched:
        count = iter(range(1000))

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def write(*arguments: object) -> object:
                if next(count) == moment:
                    raise Killed
                return real(*arguments)

            return write

        patched.setattr(Predictions, "write", dying(Predictions.write))
        patched.setattr("surgrec.evaluation.running.cells.write_json", dying(running_write_json))
        patched.setattr("surgrec.evaluation.running.features._write", dying(running_write_features))
        with pytest.raises(Killed):
            run_cells(plan, plan.places())
    assert not is_complete(plan)
    run_cells(plan, plan.places())
    assert tiny.numbers_of(join(plan, {})) == tiny.numbers_of(whole[1])


def test_a_gap_is_tried_again_and_goes(videos: list[Path], tmp_path: Path) -> None:
    state = {"is_there": False}

    def load(seed: int) -> object:
        if not state["is_there"]:
            raise UserError("not yet")
        return tiny.model(7)

    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant("late", load),))  # type: ignore[arg-type]
    run_cells(plan, plan.places())
    assert [gap.reason for gap in join(plan, {}).gaps] == ["not yet"]
    state["is_there"] = True
    run_cells(plan, plan.places())
    results = join(plan, {})
    assert results.gaps == () and len(results.cells) == 1


def test_an_encoder_out_of_reach_is_a_gap_and_its_numbers_come_back_with_it(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant(),))
    run_cells(plan, plan.places())
    before = join(plan, {})

    def load(seed: int) -> object:
        raise UserError("the disk is away")

    away = replace(plan, entrants=(tiny.entrant("ours", load),))  # type: ignore[arg-type]
    run_cells(away, away.places())
    assert join(away, {}).cells == () and join(away, {}).gaps[0].reason == "the disk is away"
    monkeypatch.setattr(running.Bench, "run", None)  # nothing is to be computed
    run_cells(plan, plan.places())
    assert join(plan, {}) == before


def test_another_release_of_the_same_name_is_measured_anew(videos: list[Path], tmp_path: Path) -> None:
    plans = [
        tiny.plan(
            tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant("ours", lambda seed, n=n: tiny.model(n)),)
        )
        for n in (1, 2)
    ]
    ids = []
    for plan in plans:
        run_cells(plan, plan.places())
        ids.append(join(plan, {}).encoders[0].weights["id"])
    (place,) = plans[0].places()
    cells = Cells(plans[0].folder / "cells")
    assert ids[0] != ids[1]
    assert cells.read(place, running.Bench(plans[1]).key(place)) is not None
    assert cells.read(place, running.Bench(plans[0]).key(place)) is None


def test_cells_of_other_settings_are_not_joined(videos: list[Path], tmp_path: Path) -> None:
    """Of a cluster whose other job has not come yet, after a changed configuration."""
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant("one"), tiny.entrant("two")))
    run_cells(plan, plan.places())
    changed = replace(plan, num_seeds=3)
    run_cells(changed, changed.of_shard(0, 2))
    assert is_complete(plan) is False and is_complete(changed) is False
    assert [(cell.encoder, cell.num_seeds) for cell in join(changed, {}).cells] == [("one", 3)]


def test_predictions_of_another_cell_are_not_taken_for_its_own(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call with other settings dies between its predictions and its cell; then the first settings come back."""
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant(),))
    run_cells(plan, plan.places())
    before, (place,) = join(plan, {}), plan.places()
    other = replace(plan, num_seeds=3)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("surgrec.evaluation.running.cells.write_json", die)
        with pytest.raises(Killed):
            run_cells(other, other.places())
    cells = Cells(plan.folder / "cells")
    assert cells.read(place, running.Bench(plan).key(place)) is None and not is_complete(plan)
    run_cells(plan, plan.places())
    assert tiny.numbers_of(join(plan, {})) == tiny.numbers_of(before)
    kept = cells.predictions(place)
    assert kept is not None and len(kept.predictions) == 2


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_cell_without_its_predictions_is_run_again(damage: str, videos: list[Path], tmp_path: Path) -> None:
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant("one"), tiny.entrant("two")))
    run_cells(plan, plan.places())
    before = tiny.numbers_of(join(plan, {}))
    assert len(before.comparisons) == 1
    file = min((plan.folder / "cells").rglob("knn.npz"))
    content = file.read_bytes()
    file.unlink() if damage == "gone" else file.write_bytes(content[: 0 if damage == "empty" else len(content) // 2])
    assert not is_complete(plan)
    run_cells(plan, plan.places())
    assert tiny.numbers_of(join(plan, {})) == before


def test_what_decides_a_cell_is_in_its_key_and_nothing_else(videos: list[Path], tmp_path: Path) -> None:
    plan = tiny.plan(tmp_path, videos, entrants=(tiny.entrant(), majority()))
    places = {(place.task, place.protocol): place for place in plan.places()}

    def keys(changed: Plan) -> dict[tuple[str, str], str]:
        bench = running.Bench(changed)
        return {at: bench.key(place) for at, place in places.items()}

    def changed_by(**changes: object) -> set[tuple[str, str]]:
        after = keys(replace(plan, **changes))  # type: ignore[arg-type]
        return {at for at in before if before[at] != after[at]}

    before = keys(plan)
    everything, looks = set(places), {at for at in places if at[1] != "none"}
    frozen = {("halves", key) for key in FROZEN if key != "linear_change"}  # which has a layout of its own
    halves, moments = plan.tasks
    assert isinstance(halves, ClipTask)
    assert changed_by(layout="pooled") == frozen  # fine-tuning and operations do not read it
    assert changed_by(precision="bfloat16") == looks
    assert changed_by(batch_size=2, name="other", folder=tmp_path / "x", features=tmp_path / "y") == set()
    assert changed_by(num_seeds=3) == everything

    settings = replace(tiny.SETTINGS, temporal=replace(tiny.SETTINGS.temporal, channels=4))
    assert changed_by(settings=settings) == {("moments", "temporal"), ("moments", "temporal_causal")}
    grouped = replace(halves, clips=tuple(replace(clip, group=f"{clip.group}x") for clip in halves.clips))
    assert changed_by(tasks=(grouped, moments)) == {at for at in everything if at[0] == "halves"}

    moved = [tmp_path / "moved" / video.name for video in videos]
    moved[0].parent.mkdir()
    for old, new in zip(videos, moved, strict=True):
        new.write_bytes(old.read_bytes())
    assert changed_by(tasks=(tiny.clip_task(moved), tiny.dense_task(moved))) == set()
    tiny.write_video(moved[0], 99)  # under the same name
    assert changed_by(tasks=(tiny.clip_task(moved), tiny.dense_task(moved))) == looks

    def heads(seed: int) -> FrozenModel:
        """The same weights, and other attention."""
        own = tiny.model(7)
        assert isinstance(own.encoder, Encoder)
        encoder = Encoder(**(own.encoder.architecture | {"num_heads": 4}))
        encoder.load_state_dict(own.encoder.state_dict())
        return replace(own, encoder=encoder)

    assert changed_by(entrants=(tiny.entrant("ours", heads), majority())) == looks


def test_another_version_of_a_library_is_measured_anew(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant(),))
    (place,) = plan.places()
    before = running.Bench(plan).key(place)
    monkeypatch.setattr("surgrec.features.architecture.version", lambda name: "99.1+cpu")
    assert running.Bench(plan).key(place) != before


def test_a_fine_tuning_that_was_stopped_goes_on(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped when the first fit is to be scored: it is not fitted again."""
    plan = tiny.plan(tmp_path / "one", videos, protocols=("finetune",), entrants=(tiny.entrant(),), num_seeds=1)
    whole = tiny.plan(tmp_path / "two", videos, protocols=("finetune",), entrants=(tiny.entrant(),), num_seeds=1)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Finetune, "logits", die)
        with pytest.raises(Killed):
            run_cells(plan, plan.places())
    assert len(list((plan.folder / "unfinished").rglob("*.pt"))) == 1
    run_cells(whole, whole.places())
    monkeypatch.setattr("surgrec.evaluation.protocols.finetune.functional.cross_entropy", die)  # no step is made
    run_cells(plan, plan.places())
    assert list((plan.folder / "unfinished").iterdir()) == []
    assert tiny.numbers_of(join(plan, {})).cells == tiny.numbers_of(join(whole, {})).cells


def test_a_damaged_cell_is_run_again(whole: tuple[Plan, Results], tmp_path: Path, videos: list[Path]) -> None:
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant(),))
    run_cells(plan, plan.places())
    before = tiny.numbers_of(join(plan, {}))
    (file,) = (plan.folder / "cells").rglob("knn.json")
    file.write_text(file.read_text()[:100])
    run_cells(plan, plan.places())
    assert tiny.numbers_of(join(plan, {})) == before
