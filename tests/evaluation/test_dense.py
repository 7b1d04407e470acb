"""Scores over whole operations: what a hand finds, scikit-learn on frames, the variants of the literature, intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import sklearn.metrics

from surgrec.core.errors import UserError
from surgrec.evaluation.dense_frames import (
    FrameCounts,
    average,
    count_frames,
    f1_of_averages,
    phase_scores,
    video_accuracy,
)
from surgrec.evaluation.dense_relaxed import CHOLEC80, M2CAI16, count_relaxed_frames, in_order
from surgrec.evaluation.dense_scores import NAMES, DenseHeldOut, dense_difference, dense_score, dense_statistic
from surgrec.evaluation.dense_segments import edit_score, segment_f1, segment_hits, segments_of

# Two videos of three phases; the second has no phase 2, which is predicted in it once.
FIRST = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 0])
SECOND = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])
NAN = np.nan


def both() -> FrameCounts:
    return FrameCounts.joined([count_frames(*FIRST, 3), count_frames(*SECOND, 3)])


def test_phases_of_videos_by_hand() -> None:
    expected = {
        "precision": ([3 / 4, 4 / 5, 1], [1, 1 / 2, 0]),
        "recall": ([3 / 4, 1, 1 / 2], [1 / 2, 1 / 2, NAN]),
        "Jaccard": ([3 / 5, 4 / 5, 1 / 2], [1 / 2, 1 / 3, 0]),
        "F1": ([3 / 4, 8 / 9, 2 / 3], [2 / 3, 1 / 2, 0]),
    }
    for score, rows in expected.items():
        assert np.allclose(phase_scores(both(), score, "undefined"), rows, equal_nan=True), score
        unannotated = np.array(rows)
        unannotated[1, 2] = NAN  # the second video's annotation has no phase 2
        assert np.allclose(phase_scores(both(), score), unannotated, equal_nan=True), score
    assert video_accuracy(both()) == pytest.approx((8 / 10 + 2 / 4) / 2)


def test_averages_by_hand() -> None:
    jaccard = [3 / 5, 4 / 5, 1 / 2], [1 / 2, 1 / 3]
    assert average(both(), "Jaccard") == pytest.approx((np.mean(jaccard[0]) + np.mean(jaccard[1])) / 2)
    by_phase = [(3 / 5 + 1 / 2) / 2, (4 / 5 + 1 / 3) / 2, 1 / 2]
    assert average(both(), "Jaccard", "by phase") == pytest.approx(np.mean(by_phase))
    assert average(both(), "Jaccard", "together") == pytest.approx(np.mean([*jaccard[0], *jaccard[1]]))
    assert average(both(), "Jaccard", "frames") == pytest.approx(np.mean([4 / 7, 5 / 8, 1 / 3]))
    undefined = average(both(), "Jaccard", "by video", "undefined")
    assert undefined == pytest.approx((np.mean(jaccard[0]) + np.mean([*jaccard[1], 0])) / 2)


def test_frames_of_one_video_equal_scikit_learn() -> None:
    draws = np.random.default_rng(0)
    truth, predicted = draws.integers(0, 5, 300), draws.integers(0, 5, 300)
    counts = count_frames(truth, predicted, 6)  # nobody has phase 5
    references = {
        "precision": sklearn.metrics.precision_score,
        "recall": sklearn.metrics.recall_score,
        "Jaccard": sklearn.metrics.jaccard_score,
        "F1": sklearn.metrics.f1_score,
    }
    for score, reference in references.items():
        expected = reference(truth, predicted, labels=range(6), average=None, zero_division=0)
        expected[5] = NAN  # which scikit-learn's Jaccard cannot say itself
        assert np.allclose(phase_scores(counts, score, "undefined")[0], expected, equal_nan=True)
        for averaged in ("by video", "by phase", "together", "frames"):  # one video: all the same
            assert average(counts, score, averaged) == pytest.approx(np.nanmean(expected))


def test_f1_of_averages_is_above_the_average_of_f1() -> None:
    counts = FrameCounts.joined([count_frames(*FIRST, 3)])
    precision, recall = (3 / 4 + 4 / 5 + 1) / 3, (3 / 4 + 1 + 1 / 2) / 3
    assert f1_of_averages(counts) == pytest.approx(2 * precision * recall / (precision + recall))
    assert f1_of_averages(counts) > average(counts, "F1")


def test_unlabelled_frames_count_nowhere() -> None:
    truth, predicted = np.append(FIRST[0], [-1, -1]), np.append(FIRST[1], [0, 2])
    assert video_accuracy(count_frames(truth, predicted, 3)) == video_accuracy(count_frames(*FIRST, 3))
    assert edit_score(truth, predicted, 3) == edit_score(*FIRST, 3)
    with pytest.raises(ValueError, match="labelled"):
        count_frames([-1, -1], [0, 0], 3)
    with pytest.raises(ValueError, match="outside the 3"):
        count_frames([0, 3], [0, 0], 3)


# -- relaxed: 40 frames of phase 0, 40 of 1, 40 of 2 at one a second


def shifted(by: int) -> tuple[np.ndarray, np.ndarray]:
    """Every change of phase is predicted `by` seconds late."""
    truth = np.repeat([0, 1, 2], 40)
    return truth, np.concatenate([np.zeros(by, np.int64), truth])[: len(truth)]


@pytest.mark.parametrize("rule", ["neighbour", in_order(3)])
def test_ten_seconds_are_forgiven_and_eleven_are_not_wholly(rule) -> None:
    def scores(by: int) -> dict[str, float]:
        counts = count_relaxed_frames(*shifted(by), 3, 1.0, rule)
        return {"accuracy": float(video_accuracy(counts))} | {
            score: float(average(counts, score)) for score in ("precision", "recall", "Jaccard", "F1")
        }

    assert scores(10) == pytest.approx(dict.fromkeys(("accuracy", "precision", "recall", "Jaccard", "F1"), 1.0))
    assert scores(11)["accuracy"] == pytest.approx(118 / 120)
    assert video_accuracy(count_frames(*shifted(10), 3)) == pytest.approx(100 / 120)
    twice = [np.repeat(each, 2) for each in shifted(10)]
    assert video_accuracy(count_relaxed_frames(*twice, 3, 2.0, rule)) == 1  # the same at two frames a second


def test_a_frame_forgiven_is_right_for_one_score_or_for_all() -> None:
    truth, predicted = shifted(12)  # of the 12 wrong frames behind each border, 10 are forgiven
    own = count_relaxed_frames(truth, predicted, 3, 1.0)
    assert phase_scores(own, "precision")[0] == pytest.approx([50 / 52, 38 / 40, 1])
    assert phase_scores(own, "recall")[0] == pytest.approx([1, 38 / 40, 38 / 40])
    table = count_relaxed_frames(truth, predicted, 3, 1.0, in_order(3))
    assert phase_scores(table, "precision")[0] == pytest.approx([50 / 52, 1, 1])  # (28 + 10 + 10) / 40, cut at 1
    assert phase_scores(table, "Jaccard")[0] == pytest.approx([50 / 52, 48 / 52, 38 / 40])


def test_tables_go_by_number_and_neighbours_by_the_video() -> None:
    """Phases 4, 3, 5: at the end of 3, 5 is forgiven by Cholec80's table and as its neighbour; at its beginning 4 as its neighbour only."""
    truth = np.repeat([4, 3, 5], 30)
    early, late = truth.copy(), truth.copy()
    early[50:60], late[30:40] = 5, 4
    for predicted, rule, expected in (
        (early, CHOLEC80, 1), (early, in_order(7), 80 / 90), (early, "neighbour", 1),
        (late, CHOLEC80, 80 / 90), (late, "neighbour", 1),
    ):  # fmt: skip
        assert video_accuracy(count_relaxed_frames(truth, predicted, 7, 1.0, rule)) == pytest.approx(expected)


def test_the_table_of_m2cai16_is_that_of_cholec80_after_the_placing_of_trocars() -> None:
    def later(phases: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
        return {phase + 1: tuple(other + 1 for other in others) for phase, others in phases.items()}

    assert M2CAI16.beginning == {1: (0,)} | later(CHOLEC80.beginning)
    assert M2CAI16.end == {0: (1,)} | later(CHOLEC80.end)


def test_short_segments_are_all_border() -> None:
    truth = np.array([0] * 20 + [1] * 4 + [2] * 20)
    predicted = np.array([0] * 22 + [2] * 22)
    assert video_accuracy(count_relaxed_frames(truth, predicted, 3, 1.0)) == 1


# -- segments


def test_segments() -> None:
    phases, starts, stops = segments_of([3, 3, 1, 3])
    assert (phases.tolist(), starts.tolist(), stops.tolist()) == ([3, 1, 3], [0, 2, 3], [2, 3, 4])


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([0, 0, 1, 1, 2], [0, 1, 1, 1, 2], 1),  # the order is right, whenever it changes
        ([0, 0, 1, 1, 2], [0, 1, 0, 1, 2], 3 / 5),  # two segments too many of five
        ([0, 0, 1, 1, 2], [1, 1, 1, 1, 1], 1 / 3),
        ([0, 0], [1, 1], 0),
    ],
)
def test_edit_score_by_hand(truth, predicted, expected) -> None:
    assert edit_score(truth, predicted, 3) == pytest.approx(expected)
    assert edit_score(predicted, truth, 3) == pytest.approx(expected)


def test_edit_score_without_background() -> None:
    assert edit_score([0, 1, 0, 2], [1, 1, 2, 2], 3, background=0) == 1


def test_segment_hits_by_hand() -> None:
    """True 0: 0-10, 1: 10-20. Predicted 0: 0-4 and 6-10, 1: 4-6 and 10-20."""
    truth = [0] * 10 + [1] * 10
    predicted = [0] * 4 + [1] * 2 + [0] * 4 + [1] * 10
    hits = segment_hits(truth, predicted, 2, overlaps=(0.25, 0.5))
    assert hits.tolist() == [[2, 2, 0], [1, 3, 1]]  # 4 of 10 is a hit at 0.25, once; at 0.5 only the last is
    assert segment_f1(hits) == pytest.approx([2 / 3, 1 / 3])
    assert segment_f1(segment_hits(truth, truth, 2)) == pytest.approx([1, 1, 1])


# -- intervals


def operations(seed: int, num_videos: int = 12, flicker: float = 0.2) -> DenseHeldOut:
    draws, truths, predictions = np.random.default_rng(0), [], []
    noise = np.random.default_rng(100 + seed)
    for _ in range(num_videos):
        truth = np.repeat(np.arange(4), draws.integers(10, 40, 4))
        predictions.append(np.where(noise.uniform(size=len(truth)) < flicker, noise.integers(0, 4, len(truth)), truth))
        truths.append(truth)
    groups = np.array([f"case-{video // 2}" for video in range(num_videos)])
    return DenseHeldOut(tuple(truths), tuple(predictions), groups, 4, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_score_has_an_interval_over_cases_and_seeds(name) -> None:
    results = [operations(seed) for seed in range(3)]
    interval = dense_score(results, name)
    assert 0 <= interval.low < interval.estimate < interval.high <= 1
    assert interval.num_groups == 6
    better = [operations(seed, flicker=0.02) for seed in range(3)]
    assert dense_difference(better, results, name).low > 0


def test_a_statistic_of_videos_takes_all_videos_of_a_group() -> None:
    result = operations(0)
    weights = np.zeros((1, 6))
    weights[0, 2] = 1
    kept = DenseHeldOut(result.truths[4:6], result.predictions[4:6], result.groups[4:6], 4, 1.0)
    for name in NAMES:
        value = dense_statistic([result], name).value(weights)
        assert value[0, 0] == pytest.approx(dense_statistic([kept], name).estimate())


def test_wrong_names_and_other_videos_are_refused() -> None:
    with pytest.raises(UserError, match="choose of accuracy"):
        dense_statistic([operations(0)], "recal")
    with pytest.raises(ValueError, match="same videos"):
        dense_score([operations(0), operations(0, num_videos=11)], "edit")
