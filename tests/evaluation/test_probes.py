"""Probes equal scikit-learn's, and never see a test row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.evaluation.attentive import AttentiveSettings, fit_attentive_probe
from surgrec.evaluation.probes import L2_GRID, Standardiser, fit_linear, fit_linear_probe, knn_predict
from surgrec.evaluation.splits import Split, split_by_group

NUM_CLASSES = 3


def blobs(num_rows: int, width: int = 6, noise: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (n, D) around a centre per class, at very unequal scales, and labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, num_rows)
    centres = np.random.default_rng(99).normal(size=(NUM_CLASSES, width))
    features = (centres[labels] + noise * rng.normal(size=(num_rows, width))) * 10.0 ** np.arange(-2, width - 2)
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_linear_probe_equals_scikit_learn(l2: float) -> None:
    features, labels = blobs(200)
    probe = fit_linear(features, labels, NUM_CLASSES, l2)
    inputs = StandardScaler().fit_transform(features.double().numpy())
    reference = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-10, max_iter=5000).fit(inputs, labels.numpy())
    assert np.allclose(probe.logits(features).softmax(1).numpy(), reference.predict_proba(inputs), atol=1e-5)
    assert np.allclose(probe.weight.numpy(), reference.coef_, atol=1e-4)


def test_linear_probe_does_not_depend_on_where_it_starts_or_on_feature_scale() -> None:
    features, labels = blobs(150)
    cold = fit_linear(features, labels, NUM_CLASSES, 1e-3)
    warm = fit_linear(features, labels, NUM_CLASSES, 1e-3, start=fit_linear(features, labels, NUM_CLASSES, 1.0))
    scaled = fit_linear(features * 1000 + 5, labels, NUM_CLASSES, 1e-3)
    assert torch.allclose(cold.weight, warm.weight, atol=1e-4)
    assert torch.allclose(cold.weight, scaled.weight, atol=1e-3)


def test_at_the_minimum_the_gradient_vanishes() -> None:
    features, labels = blobs(120)
    l2 = 1e-2
    probe = fit_linear(features, labels, NUM_CLASSES, l2)
    residual = probe.logits(features).softmax(1) - torch.nn.functional.one_hot(labels, NUM_CLASSES)
    gradient = residual.T @ probe.standardiser(features) / len(labels) + l2 * probe.weight
    assert gradient.abs().max() < 1e-5 and residual.mean(0).abs().max() < 1e-5


def test_knn_equals_scikit_learn() -> None:
    features, labels = blobs(300)
    inputs = Standardiser.fit(features)(features)
    predicted = knn_predict(inputs[:200], labels[:200], inputs[200:], NUM_CLASSES, k=15, temperature=0.1)
    reference = KNeighborsClassifier(15, metric="cosine", weights=lambda distance: np.exp(-distance / 0.1))
    reference.fit(inputs[:200].numpy(), labels[:200].numpy())
    assert np.array_equal(predicted.numpy(), reference.predict(inputs[200:].numpy()))


def test_knn_with_one_neighbour_finds_itself() -> None:
    features, labels = blobs(50)
    assert torch.equal(knn_predict(features, labels, features, NUM_CLASSES, k=1), labels)
    assert knn_predict(features[:5], labels[:5], features, NUM_CLASSES, k=20).shape == (50,)


def test_standardiser_turns_constants_into_zeros() -> None:
    features = torch.tensor([[1.0, 1e6, 0.0], [1.0, 1e6, 2.0]])
    standardise = Standardiser.fit(features)
    assert torch.equal(standardise(features), torch.tensor([[0, 0, -1], [0, 0, 1]], dtype=torch.float64))
    assert torch.isfinite(standardise(torch.tensor([[7.0, 7.0, 7.0]]))).all()


def split_of(num_rows: int) -> Split:
    return split_by_group([str(row // 10) for row in range(num_rows)], seed=0)


def test_test_rows_change_nothing() -> None:
    features, labels = blobs(200)
    split = split_of(200)
    clean = fit_linear_probe(features, labels, split, NUM_CLASSES, l2_grid=(1e-1, 1e-3))
    features[split.test], labels[split.test] = torch.nan, 0
    spoiled = fit_linear_probe(features, labels, split, NUM_CLASSES, l2_grid=(1e-1, 1e-3))
    assert torch.equal(clean.weight, spoiled.weight) and clean.l2 == spoiled.l2


def test_l2_is_chosen_by_validation_rows() -> None:
    features, labels = blobs(100, noise=0.3)
    split = split_of(100)
    assert fit_linear_probe(features, labels, split, NUM_CLASSES, l2_grid=(1e6, 1e-3)).l2 == 1e-3
    labels[split.validation] = 0
    # nothing can be learned: all tie, strongest wins
    labels[split.train] = torch.arange(len(split.train)) % NUM_CLASSES
    features = torch.zeros_like(features)
    assert fit_linear_probe(features, labels, split, NUM_CLASSES).l2 == max(L2_GRID)


def test_the_grid_ends_after_two_values_in_a_row_that_are_no_better() -> None:
    features, labels = blobs(100, noise=0.3)
    scores = iter([0.5, 0.4, 0.6, 0.6, 0.1, 0.9])  # one worse value is passed over; a tie counts as no better
    grid = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4)
    probe = fit_linear_probe(features, labels, split_of(100), NUM_CLASSES, grid, metric=lambda counts: next(scores))
    assert probe.l2 == 0.1 and list(scores) == [0.9]


def test_one_class_is_the_users_to_mend() -> None:
    features, labels = blobs(60)
    with pytest.raises(UserError, match="at least two classes"):
        fit_linear_probe(features, torch.zeros_like(labels), split_of(60), NUM_CLASSES)


SETTINGS = AttentiveSettings(num_heads=2, num_steps=300, batch_size=32, learning_rates=(3e-3,))


def needles(num_rows: int, num_tokens: int = 12, width: int = 16) -> tuple[Tensor, Tensor]:
    """Tokens (n, N, D) of loud noise, of which one per row, marked in one feature, shows the class: averaging drowns it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(NUM_CLASSES, (num_rows,), generator=generator)
    tokens = torch.randn(num_rows, num_tokens, width, generator=generator)
    place = torch.randint(num_tokens, (num_rows,), generator=generator)
    rows = torch.arange(num_rows)
    tokens[..., 0] = 0
    tokens[rows, place] = 0
    tokens[rows, place, 0] = 4
    tokens[rows, place, 1 + labels] = 2
    return tokens, labels


def test_attentive_probe_finds_the_one_token_that_matters() -> None:
    tokens, labels = needles(600)
    split = split_of(600)
    probe = fit_attentive_probe(tokens, labels, split, NUM_CLASSES, seed=0, settings=SETTINGS)
    attentive = (probe.predict(tokens[split.test]) == labels[split.test]).float().mean()
    pooled = fit_linear_probe(tokens.mean(1), labels, split, NUM_CLASSES).predict(tokens.mean(1)[split.test])
    assert attentive > 0.9 > 0.8 > (pooled == labels[split.test]).float().mean()


def test_attentive_probe_depends_on_its_seed_alone() -> None:
    tokens, labels = needles(90)
    split = split_of(90)
    few = AttentiveSettings(num_heads=2, num_steps=5, batch_size=16, learning_rates=(1e-3,))
    torch.manual_seed(1)
    first = fit_attentive_probe(tokens, labels, split, NUM_CLASSES, seed=0, settings=few)
    state = torch.get_rng_state()
    torch.rand(7)
    tokens[split.test] = torch.nan
    second = fit_attentive_probe(tokens, labels, split, NUM_CLASSES, seed=0, settings=few)
    other = fit_attentive_probe(tokens, labels, split, NUM_CLASSES, seed=1, settings=few)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator was left alone
