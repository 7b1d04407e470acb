"""Protocols on frozen features: chosen on validation rows alone, the same search for all, and test rows never looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.evaluation.attentive import AttentiveSettings
from surgrec.evaluation.metrics import accuracy, balanced_accuracy
from surgrec.evaluation.probes import fit_linear, knn_predict, knn_votes
from surgrec.evaluation.protocols.answer import choose
from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.protocols.held_out import FrozenProtocol, held_out
from surgrec.evaluation.protocols.knn import KNN
from surgrec.evaluation.protocols.linear import Linear
from surgrec.evaluation.protocols.trivial import Majority, StratifiedRandom
from surgrec.evaluation.splits import Split, folds_by_group, split_by_group
from tests.evaluation.protocols.build import GROUPS, LABELS, NUM_CLASSES, features

FEW_STEPS = AttentiveSettings(num_heads=2, num_steps=20, batch_size=32, learning_rates=(1e-2, 3e-3))
FITTED: list[FrozenProtocol] = [KNN(ks=(1, 5, 20)), Linear(l2_grid=(1.0, 1e-2)), Attentive(FEW_STEPS)]
ALL = [*FITTED, Majority(), StratifiedRandom()]


def name_of(protocol: FrozenProtocol) -> str:
    return protocol.name


@pytest.mark.parametrize("protocol", ALL, ids=name_of)
def test_labels_of_test_rows_and_features_of_others_change_nothing(protocol: FrozenProtocol) -> None:
    """The test rows' labels are not read; nor are a test row's features by the predictions of another."""
    split = split_by_group(GROUPS, seed=1)
    clean = held_out(features(1.0), LABELS, GROUPS, [split], protocol, NUM_CLASSES)
    labels, spoiled = LABELS.copy(), features(1.0)
    labels[split.test] = (labels[split.test] + 1) % NUM_CLASSES
    spoiled[split.test[5:]] += 100.0
    other = held_out(spoiled, labels, GROUPS, [split], protocol, NUM_CLASSES)
    assert np.array_equal(clean.predictions[:5], other.predictions[:5])
    assert clean.searches[0].chosen == other.searches[0].chosen and clean.searches[0].scores == other.searches[0].scores


@pytest.mark.parametrize("protocol", ALL, ids=name_of)
def test_probabilities_belong_to_predictions(protocol: FrozenProtocol) -> None:
    folds = folds_by_group(GROUPS, 0, 3)
    result = held_out(features(2.0), LABELS, GROUPS, folds, protocol, NUM_CLASSES + 1)
    assert result.probabilities is not None and result.probabilities.shape == (len(LABELS), NUM_CLASSES + 1)
    np.testing.assert_allclose(result.probabilities.sum(1), 1.0)
    assert (result.probabilities >= 0).all() and (result.predictions < NUM_CLASSES).all()
    if protocol.name != "stratified random":
        assert np.array_equal(result.probabilities.argmax(1), result.predictions)
    assert [search.protocol for search in result.searches] == [protocol.name] * 3


@pytest.mark.parametrize("protocol", FITTED, ids=name_of)
def test_a_signal_is_found_and_noise_is_not(protocol: FrozenProtocol) -> None:
    folds = folds_by_group(GROUPS, 0, 3)
    good = held_out(features(3.0), LABELS, GROUPS, folds, protocol, NUM_CLASSES)
    noise = held_out(features(0.0), LABELS, GROUPS, folds, protocol, NUM_CLASSES)
    assert good.score(balanced_accuracy).estimate > 0.75 > 0.45 > noise.score(balanced_accuracy).estimate


@pytest.mark.parametrize("protocol", FITTED, ids=name_of)
def test_every_encoder_gets_the_same_search(protocol: FrozenProtocol) -> None:
    """Easy or hopeless features: the whole grid is fitted, as often, and the best score is what was chosen, the first of equals."""
    split = split_by_group(GROUPS, seed=1)
    searches = [
        held_out(features(signal), LABELS, GROUPS, [split], protocol, NUM_CLASSES).searches[0] for signal in (0.0, 9.0)
    ]
    assert searches[0].grid == searches[1].grid and searches[0].num_fits == searches[1].num_fits
    for search in searches:
        assert len(search.scores) == len(search.grid) <= search.num_fits
        assert search.chosen == search.grid[search.scores.index(max(search.scores))]
        assert search.to_dict()["chosen"] == dict(search.chosen)


def test_train_and_validation_rows_are_the_last_fit_of_convex_protocols() -> None:
    split = split_by_group(GROUPS, seed=1)
    values, labels = features(1.0), torch.from_numpy(LABELS)
    seen = np.concatenate([split.train, split.validation])
    linear = held_out(values, LABELS, GROUPS, [split], Linear(l2_grid=(1e-2,)), NUM_CLASSES)
    expected = fit_linear(values[seen], labels[seen], NUM_CLASSES, 1e-2).logits(values[split.test]).softmax(1)
    np.testing.assert_allclose(linear.probabilities, expected, atol=1e-5)


def test_the_best_of_a_grid_is_the_first_of_equals_and_no_number_loses() -> None:
    grid = tuple({"place": place} for place in range(4))
    scores = [math.nan, 0.5, 0.7, 0.7]
    fitted, place, seen = choose(grid, lambda values: int(values["place"]), lambda fitted: scores[fitted])
    assert (fitted, place) == (2, 2) and math.isnan(seen[0]) and seen[1:] == (0.5, 0.7, 0.7)
    with pytest.raises(UserError, match="no fit of the grid"):
        choose(grid, lambda values: 0, lambda _: math.nan)


def test_majority_is_constant_and_its_probabilities_are_the_shares_of_classes() -> None:
    split = split_by_group(GROUPS, seed=1)
    result = held_out(features(5.0), LABELS, GROUPS, [split], Majority(), NUM_CLASSES)
    seen = LABELS[np.concatenate([split.train, split.validation])]
    assert set(result.predictions) == {np.bincount(seen).argmax()}
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities[0], np.bincount(seen, minlength=NUM_CLASSES) / len(seen))
    assert result.searches[0].num_fits == 0


def test_stratified_random_draws_by_the_shares_and_anew_for_another_seed() -> None:
    rows = np.arange(30_000)
    labels = torch.from_numpy(np.where(rows < 10_000, np.where(rows < 2_000, 1, 3), 0))  # shares 0.2 and 0.8
    split = Split(rows[:5_000], rows[5_000:10_000], rows[10_000:])
    answers = [StratifiedRandom()(torch.empty(0), labels, split, 5, seed) for seed in (0, 0, 1)]
    shares = torch.bincount(answers[0].predictions, minlength=5) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0, 0.2, 0, 0.8, 0]), atol=0.015, rtol=0)  # 5 deviations
    assert torch.equal(answers[0].predictions, answers[1].predictions)
    assert not torch.equal(answers[0].predictions, answers[2].predictions)


def test_votes_say_what_their_winner_is() -> None:
    values, labels = features(1.0), torch.from_numpy(LABELS)
    votes = knn_votes(values[:150], labels[:150], values[150:], NUM_CLASSES, k=5)
    assert (votes >= 0).all() and torch.equal(
        votes.argmax(1), knn_predict(values[:150], labels[:150], values[150:], NUM_CLASSES, k=5)
    )


def test_a_case_on_two_sides_is_refused_unless_that_is_asked_for() -> None:
    rows = np.arange(len(LABELS))
    leaky = Split(rows[0::3], rows[1::3], rows[2::3])
    with pytest.raises(UserError, match=r"20 cases of the split have rows in train and in validation"):
        held_out(features(1.0), LABELS, GROUPS, [leaky], Majority(), NUM_CLASSES)
    test_only = Split(rows[:120], rows[132:], rows[120:135])
    with pytest.raises(UserError, match=r"1 case of the split have rows in validation and in test"):
        held_out(features(1.0), LABELS, GROUPS, [test_only], Majority(), NUM_CLASSES)
    replayed = held_out(features(1.0), LABELS, GROUPS, [leaky], Majority(), NUM_CLASSES, may_share_groups=True)
    assert len(replayed.labels) == len(leaky.test) and replayed.score(accuracy).estimate > 0.3


def test_what_cannot_be_fitted_is_a_sentence() -> None:
    split = split_by_group(GROUPS, seed=1)
    broken = features(1.0)
    broken[3] = torch.nan
    with pytest.raises(UserError, match="not finite"):
        held_out(broken, LABELS, GROUPS, [split], Majority(), NUM_CLASSES)
    with pytest.raises(UserError, match="at least two classes"):
        held_out(features(1.0), np.zeros(len(LABELS)), GROUPS, [split], Linear(), NUM_CLASSES)
