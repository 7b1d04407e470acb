"""Every encoder meets every protocol of its tasks, once; what fails is an explained gap and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.evaluation.report import write_report
from surgrec.evaluation.results import MAJORITY, Results
from surgrec.evaluation.running import run as running
from surgrec.evaluation.running.cells import Cells
from surgrec.evaluation.running.entrant import viewed
from surgrec.evaluation.running.features import Features
from surgrec.evaluation.running.join import is_complete, join
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.protocols import KEYS
from surgrec.evaluation.running.run import run_cells
from surgrec.evaluation.tasks.task import Recording
from surgrec.features.baseline import FrozenModel
from tests.evaluation.running import tiny
from tests.evaluation.running.tiny import QUICK


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
