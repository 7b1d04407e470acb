"""A benchmark, killed anywhere or divided, gives the same table; what fails is an explained gap and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from surgrec.core.atomic import write_json as running_write_json
from surgrec.core.errors import UserError
from surgrec.evaluation.comparisons import compare_statistics
from surgrec.evaluation.metrics import accuracy
from surgrec.evaluation.protocols.finetune import Finetune
from surgrec.evaluation.report import write_report
from surgrec.evaluation.results import MAJORITY, UNKNOWN, Gap, Results
from surgrec.evaluation.results_json import read_results, write_results
from surgrec.evaluation.running import run as running
from surgrec.evaluation.running.cells import Cells
from surgrec.evaluation.running.entrant import majority, viewed
from surgrec.evaluation.running.features import Features
from surgrec.evaluation.running.features import _write as running_write_features
from surgrec.evaluation.running.join import _ranks, is_complete, join
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.predictions import Predictions
from surgrec.evaluation.running.protocols import FROZEN, KEYS
from surgrec.evaluation.running.run import run_cells
from surgrec.evaluation.statistics import counts_statistic
from surgrec.evaluation.tasks.task import ClipTask, Recording
from surgrec.features.baseline import FrozenModel
from surgrec.models.encoder import Encoder
from tests.evaluation.running import tiny

QUICK = ("knn", "linear", "few_shot_10", "frame_linear")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tiny.write_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, videos: list[Path]) -> tuple[Plan, Results]:
    """The quick protocols, run without a break."""
    plan = tiny.plan(tmp_path_factory.mktemp("whole"), videos, protocols=QUICK)
    run_cells(plan, plan.places())
    return plan, join(plan, {})


def test_every_encoder_is_measured_by_every_protocol_of_its_tasks(whole: tuple[Plan, Results]) -> None:
    plan, results = whole
    assert results.gaps == ()
    found = {(cell.task, cell.encoder, cell.protocol) for cell in results.cells}
    for encoder in ("ours", "drawn", "ours_middle_frame", "ours_shuffled_frames"):
        for protocol in ("k-NN", "linear probe"):
            assert ("halves", encoder, protocol) in found
        # what is shown less of a clip is compared with what sees all, on all labels
        assert (("halves", encoder, "linear probe, 10 % of cases") in found) == (encoder in ("ours", "drawn"))
    assert ("moments", "ours", "linear head per frame") in found
    assert {cell.encoder for cell in results.cells} == {entrant.name for entrant in plan.entrants}
    assert all(len(score.seeds) == 2 for cell in results.cells for score in cell.scores)


def test_what_is_plain_to_see_is_found_and_the_floor_is_the_floor(whole: tuple[Plan, Results]) -> None:
    _, results = whole
    score = {(cell.task, cell.encoder, cell.protocol): cell.scores[0] for cell in results.cells}
    assert score["halves", "ours", "linear probe"].estimate == 1.0
    assert score["halves", MAJORITY, "looks at nothing"].estimate == 0.5
    alarms = {cell.encoder: cell.alarm for cell in results.cells if cell.protocol == "looks at nothing"}
    assert alarms[MAJORITY] is None


def test_results_are_read_as_written_and_make_a_report(whole: tuple[Plan, Results], tmp_path: Path) -> None:
    _, results = whole
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results
    page, text = write_report(results, tmp_path)
    assert page.stat().st_size > 1000 and "linear probe" in text.read_text()


def test_the_metric_that_is_compared_and_shown_first_can_be_chosen_and_costs_no_fit(
    whole: tuple[Plan, Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, results = whole
    monkeypatch.setattr(running.Bench, "run", None)
    other = join(replace(plan, main_metrics=("macro-F1", "edit")), {})
    for found, clips, dense in ((results, "balanced accuracy", "accuracy"), (other, "macro-F1", "edit")):
        main = {"halves": clips, "moments": dense}
        assert all(cell.scores[0].metric == main[cell.task] for cell in found.cells)
        assert found.comparisons and all(one.metric == main[one.task] for one in found.comparisons)
        assert {rank.metric for rank in found.ranks} == {clips, dense}
    assert [set(cell.scores) for cell in other.cells] == [set(cell.scores) for cell in results.cells]


def test_of_a_task_with_several_splits_the_first_is_ranked(videos: list[Path], tmp_path: Path) -> None:
    """The second, on which it is the other way round, is of the same patients and no second task."""
    task = tiny.clip_task(videos)
    other = replace(task.splits[0], name="other")
    plan = replace(tiny.plan(tmp_path, videos), tasks=(replace(task, splits=(task.splits[0], other)),))
    right, wrong = np.zeros((2, 12, 2, 2), dtype=np.int64)
    right[:, 0, 0], wrong[:, 0, 1] = range(5, 17), range(5, 17)
    good, bad = (counts_statistic(each, accuracy) for each in (right, wrong))
    columns = {("halves", "seed0", "knn"): {"a": good, "b": bad}, ("halves", "other", "knn"): {"a": bad, "b": good}}
    ranks = _ranks(plan, columns, {column: compare_statistics(each) for column, each in columns.items()})
    assert [(rank.encoder, rank.mean_rank, rank.probability_best) for rank in ranks] == [("a", 1, 1), ("b", 2, 0)]


def test_tasks_that_are_tested_on_the_same_videos_are_named(whole: tuple[Plan, Results], videos: list[Path]) -> None:
    plan, results = whole
    assert all(task.sharing == () for task in results.tasks)  # one of each form
    again = join(replace(plan, tasks=(*plan.tasks, tiny.clip_task(videos, "again"))), {})
    assert [task.sharing for task in again.tasks] == [("again",), (), ("halves",)]


def test_contamination_is_said_by_content(whole: tuple[Plan, Results]) -> None:
    _, results = whole
    said = {encoder.name: encoder.contamination["halves"] for encoder in results.encoders}
    assert said["ours"] == "1 of 4 test videos pretrained on" and said["drawn"] == "not pretrained"


def test_contamination_is_not_known_where_files_cannot_be_compared(
    whole: tuple[Plan, Results], videos: list[Path], tmp_path: Path
) -> None:
    """A folder of pictures is no file, and a video that is gone cannot be read."""
    plan = tiny.plan(tmp_path, videos, protocols=())
    halves = plan.tasks[0]
    assert isinstance(halves, ClipTask)
    (tmp_path / "pictures").mkdir()
    for place in (tmp_path / "pictures", tmp_path / "gone.mp4"):
        other = replace(halves, clips=(*halves.clips[:-1], replace(halves.clips[-1], video=place)))
        results = join(replace(plan, tasks=(other,)), {})
        assert results.encoders[0].contamination["halves"] == UNKNOWN


def test_a_second_call_computes_nothing(whole: tuple[Plan, Results], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, results = whole
    monkeypatch.setattr(running.Bench, "run", None)
    run_cells(plan, plan.places())
    assert join(plan, {}) == results


def test_no_model_is_loaded_twice(videos: list[Path], tmp_path: Path) -> None:
    """Nor any to see that work is left to do."""
    loaded: list[tuple[str, int]] = []

    def loader(name: str) -> Callable[[int], FrozenModel]:
        def load(seed: int) -> FrozenModel:
            loaded.append((name, seed))
            return tiny.model(seed)

        return load

    one, two = tiny.entrant("one", loader("one")), tiny.entrant("two", loader("two"))
    drawn = replace(tiny.entrant("drawn", loader("drawn")), is_drawn=True)
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(one, drawn, two, viewed(two, "middle frame")))
    assert not is_complete(plan) and loaded == []
    bench = running.Bench(plan)
    run_cells(plan, plan.places(), bench)
    assert is_complete(plan, bench) and join(plan, {}, bench).gaps == ()
    assert sorted(loaded) == [("drawn", 0), ("drawn", 1), ("one", 0), ("two", 0)]


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


def test_shards_are_disjoint_and_together_the_whole(
    whole: tuple[Plan, Results], videos: list[Path], tmp_path: Path
) -> None:
    plan = tiny.plan(tmp_path, videos, protocols=QUICK)
    for number in (1, 2, 3, 6, 8, 20):
        parts = [plan.of_shard(part, number) for part in range(number)]
        assert sorted(str(place) for part in parts for place in part) == sorted(map(str, plan.places()))
    run_cells(plan, plan.of_shard(1, 2))
    assert not is_complete(plan)
    assert any("not run yet" in gap.reason for gap in join(plan, {}).gaps)
    run_cells(plan, plan.of_shard(0, 2))
    assert is_complete(plan) and tiny.numbers_of(join(plan, {})) == tiny.numbers_of(whole[1])


def test_what_fails_leaves_the_others_and_an_explained_gap(
    whole: tuple[Plan, Results], videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A video that is gone, an encoder that cannot be had, a bug: each is a gap; the numbers of the rest are what they were."""
    good = tiny.plan(tmp_path, videos, protocols=QUICK)
    torn = tiny.clip_task(videos, "torn")
    torn = replace(torn, clips=(replace(torn.clips[0], video=tmp_path / "patient_x.mp4"), *torn.clips[1:]))

    def missing(seed: int) -> object:
        raise UserError(f"there is no release at {tmp_path}/secret/place; export one")

    def broken(seed: int) -> object:
        raise ZeroDivisionError("of patient_y")

    plan = replace(
        good,
        tasks=(torn, *good.tasks),
        entrants=(*good.entrants, tiny.entrant("absent", missing), tiny.entrant("broken", broken)),  # type: ignore[arg-type]
        absent={"cholec80": "its archive could not be read: no videos"},
    )
    run_cells(plan, plan.places())
    results = join(plan, {})
    assert is_complete(plan)
    reasons = {(gap.task, gap.encoder): gap.reason for gap in results.gaps}
    assert reasons["cholec80", "*"].startswith("its archive could not be read")
    assert "not where the task says" in reasons["torn", "ours"]
    assert reasons["halves", "absent"] == "there is no release at (a path); export one"
    assert reasons["halves", "broken"].startswith("ZeroDivisionError")
    assert not any("patient" in gap.reason or "secret" in gap.reason for gap in results.gaps)
    kept = [cell for cell in tiny.numbers_of(results).cells if cell.task != "torn"]
    assert kept == list(tiny.numbers_of(whole[1]).cells)
    write_report(results, tmp_path)
    assert "ZeroDivisionError" in capsys.readouterr().err  # the traceback is for the console


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


def test_moments_that_cannot_be_read_are_scored_too(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All encoders are compared on the same moments, whatever each could read; and it is said."""
    real = Features.of_recording

    def torn(self: Features, model: FrozenModel, recording: Recording) -> tuple[torch.Tensor, np.ndarray]:
        features, is_valid = real(self, model, recording)
        is_valid[3] = False
        return torch.where(torch.from_numpy(is_valid)[:, None], features, torch.nan), is_valid

    monkeypatch.setattr(Features, "of_recording", torn)
    plan = tiny.plan(tmp_path, videos, protocols=("frame_linear",), entrants=(tiny.entrant(),))
    run_cells(plan, plan.places())
    (place,) = plan.places()
    kept = Cells(plan.folder / "cells").predictions(place)
    assert kept is not None and (kept.labels >= 0).all()
    assert join(plan, {}).cells[0].note == "12 moments could not be read: the features before stand for them"


def test_a_protocol_is_kept_to_some_tasks_of_either_form(videos: list[Path], tmp_path: Path) -> None:
    limited = {"knn": ["moments"], "temporal": ["halves"]}
    plan = tiny.plan(tmp_path, videos, limited=limited, entrants=(tiny.entrant(),))
    assert {place.protocol for place in plan.places()} == set(KEYS) - {"knn", "temporal"}


def test_a_damaged_cell_is_run_again(whole: tuple[Plan, Results], tmp_path: Path, videos: list[Path]) -> None:
    plan = tiny.plan(tmp_path, videos, protocols=("knn",), entrants=(tiny.entrant(),))
    run_cells(plan, plan.places())
    before = tiny.numbers_of(join(plan, {}))
    (file,) = (plan.folder / "cells").rglob("knn.json")
    file.write_text(file.read_text()[:100])
    run_cells(plan, plan.places())
    assert tiny.numbers_of(join(plan, {})) == before


@pytest.mark.slow
def test_protocols_that_draw_and_train_run_too(videos: list[Path], tmp_path: Path) -> None:
    plan = tiny.plan(tmp_path, videos)
    run_cells(plan, plan.places())
    results = join(plan, {})
    assert results.gaps == ()
    protocols = {cell.protocol for cell in results.cells}
    assert {"attentive probe", "full fine-tuning", "temporal head, offline", "temporal head, causal"} <= protocols
    assert {rank.protocol for rank in results.ranks} >= {"k-NN", "attentive probe"}
    assert not any("no gradient reached" in (cell.note or "") for cell in results.cells)
    assert results.comparisons and all(each.p_corrected >= each.p for each in results.comparisons)
    write_report(results, tmp_path)


def test_gaps_of_one_reason_are_one_line(videos: list[Path], tmp_path: Path) -> None:
    def load(seed: int) -> object:
        raise UserError("gone")

    plan = tiny.plan(tmp_path, videos, protocols=QUICK, entrants=(tiny.entrant("ours", load),))  # type: ignore[arg-type]
    run_cells(plan, plan.places())
    assert join(plan, {}).gaps == (
        Gap("halves", "ours", "*", "gone"),
        Gap("moments", "ours", "linear head per frame", "gone"),
    )
