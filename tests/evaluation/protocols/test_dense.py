"""Heads over whole operations: padding and the future change nothing, test labels are not read, memory helps where it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from surgrec.core.errors import UserError
from surgrec.evaluation.protocols.dense import DenseProtocol, DenseRecording, dense_held_out
from surgrec.evaluation.protocols.dense_trivial import DenseMajority
from surgrec.evaluation.protocols.frame_linear import FrameLinear
from surgrec.evaluation.protocols.linear import Linear
from surgrec.evaluation.protocols.temporal import Temporal, TemporalSettings, padded, predict
from surgrec.evaluation.protocols.temporal_head import TemporalHead, temporal_loss
from surgrec.evaluation.splits import Split

NUM_CLASSES, WIDTH = 3, 5
SMALL = TemporalSettings(
    num_stages=2, num_layers=3, channels=16, dropout=0.1, num_epochs=8, batch_size=3, learning_rates=(1e-2, 2e-2)
)
LINEAR = FrameLinear(Linear(l2_grid=(1e-1, 1e-3), name="linear head per frame"))
PROTOCOLS: list[DenseProtocol] = [
    DenseMajority(),
    LINEAR,
    Temporal(settings=SMALL),
    Temporal(is_causal=True, settings=SMALL),
]
SPLIT = Split(np.arange(6), np.arange(6, 8), np.arange(8, 11))


def name_of(protocol: DenseProtocol) -> str:
    return protocol.name


def operation(number: int, noise: float = 1.5) -> DenseRecording:
    """Three phases in turn, of lengths of its own; features say the phase in noise, the first moments have no label."""
    random = np.random.default_rng(number)
    labels = np.repeat(np.arange(NUM_CLASSES), random.integers(12, 24, NUM_CLASSES))
    features = noise * random.normal(size=(len(labels), WIDTH))
    features[np.arange(len(labels)), labels] += 1.0
    return DenseRecording(
        torch.from_numpy(features).float(), np.where(np.arange(len(labels)) < 3, -1, labels), f"v{number}"
    )


RECORDINGS = [operation(number) for number in range(11)]


@pytest.fixture(scope="module", params=PROTOCOLS, ids=name_of)
def protocol(request: pytest.FixtureRequest) -> DenseProtocol:
    return request.param


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_prediction_does_not_depend_on_the_others_in_its_batch(is_causal: bool) -> None:
    torch.manual_seed(0)
    head = TemporalHead(WIDTH, NUM_CLASSES, num_stages=3, num_layers=6, channels=8, is_causal=is_causal).eval()
    videos = [(torch.randn(length, WIDTH), torch.zeros(length, dtype=torch.int64)) for length in (7, 40, 1, 23)]
    features, labels, is_real = padded(videos)
    assert features.shape == (4, 40, WIDTH) and is_real.sum(1).tolist() == [7, 40, 1, 23]
    assert (labels[~is_real] == -1).all() and (features[~is_real] == 0).all()
    with torch.no_grad():
        together = head(torch.where(is_real[..., None], features, 50.0), is_real)  # whatever the padding holds
    for index, (alone, (_, own)) in enumerate(zip(predict(head, [v for v, _ in videos]), videos, strict=True)):
        torch.testing.assert_close(together[-1, index, : len(own)], alone, atol=1e-5, rtol=1e-5)
    assert (together[:, ~is_real] == 0).all()


def test_the_causal_head_does_not_see_the_future_and_the_other_does() -> None:
    torch.manual_seed(0)
    features = torch.randn(50, WIDTH)
    changed = features.clone()
    changed[30:] += 10.0
    for is_causal in (True, False):
        head = TemporalHead(WIDTH, NUM_CLASSES, num_layers=5, channels=8, is_causal=is_causal).eval()
        (before,), (after,) = predict(head, [features]), predict(head, [changed])
        moved = (before - after).abs().amax(1) > 1e-6
        assert moved[30:].all() and moved[:30].any() != is_causal
        if is_causal:  # nor does the length of what follows
            torch.testing.assert_close(predict(head, [features[:30]])[0], before[:30], atol=1e-6, rtol=1e-6)


def test_how_far_a_moment_sees() -> None:
    """Layers of dilation 1, 2, 4 reach 7 moments to either side, or 14 back, once a stage."""
    for is_causal, reach in ((False, {*range(13, 28)}), (True, {*range(20, 35)})):
        torch.manual_seed(0)
        head = TemporalHead(WIDTH, NUM_CLASSES, num_stages=1, num_layers=3, channels=32, is_causal=is_causal).eval()
        features = torch.randn(48, WIDTH)
        changed = features.clone()
        changed[20] += 5.0
        moved = (predict(head, [features])[0] - predict(head, [changed])[0]).abs().amax(1) > 1e-7
        assert set(moved.nonzero()[:, 0].tolist()) == reach


def test_the_loss_is_cross_entropy_and_truncated_steps() -> None:
    """Worked by hand for two stages of one recording of three moments, the last two labelled, and one of padding."""
    logits = torch.tensor([[[[0.0, 0.0], [1.0, -1.0], [9.0, -9.0], [7.0, 7.0]]]] * 2)
    labels, is_real = torch.tensor([[-1, 0, 1, -1]]), torch.tensor([[True, True, True, False]])
    log_p = functional.log_softmax(logits[0, 0, :3], -1)
    cross = -(log_p[1, 0] + log_p[2, 1]) / 2
    steps = (log_p[1:] - log_p[:-1]).square().clamp(max=16.0)
    assert steps.max() == 16.0
    expected = 2 * (cross + 0.15 * steps.mean())
    torch.testing.assert_close(temporal_loss(logits, labels, is_real), expected)


def test_only_the_later_moment_of_a_pair_is_smoothed() -> None:
    logits = torch.randn(1, 1, 2, 3, requires_grad=True)
    labels, is_real = torch.tensor([[0, -1]]), torch.ones(1, 2, dtype=torch.bool)
    with_steps = torch.autograd.grad(temporal_loss(logits, labels, is_real), logits)[0]
    without = torch.autograd.grad(temporal_loss(logits, labels, is_real, smoothing=0.0), logits)[0]
    torch.testing.assert_close(with_steps[0, 0, 0], without[0, 0, 0])
    assert not torch.allclose(with_steps[0, 0, 1], without[0, 0, 1])


def test_whole_recordings_come_back_with_their_search(protocol: DenseProtocol) -> None:
    result = dense_held_out(RECORDINGS, [SPLIT], protocol, NUM_CLASSES)
    assert list(result.rows) == [8, 9, 10] and list(result.groups) == ["v8", "v9", "v10"]
    for row, labels, predictions, probabilities in zip(
        result.rows, result.labels, result.predictions, result.probabilities, strict=True
    ):
        assert np.array_equal(labels, RECORDINGS[row].labels) and predictions.shape == labels.shape
        np.testing.assert_allclose(probabilities.sum(1), 1.0)
        assert np.array_equal(probabilities.argmax(1), predictions)
    (search,) = result.searches
    assert search.protocol == protocol.name and len(search.scores) == len(search.grid)
    if search.grid:
        assert search.chosen == search.grid[search.scores.index(max(search.scores))]
    again = dense_held_out(RECORDINGS, [SPLIT], protocol, NUM_CLASSES)
    assert all(np.array_equal(a, b) for a, b in zip(result.probabilities, again.probabilities, strict=True))

    spoiled = [
        DenseRecording(each.features, (each.labels + 1) % NUM_CLASSES, each.group) if number >= 8 else each
        for number, each in enumerate(RECORDINGS)
    ]
    blind = dense_held_out(spoiled, [SPLIT], protocol, NUM_CLASSES)
    assert all(np.array_equal(a, b) for a, b in zip(result.predictions, blind.predictions, strict=True))


def test_majority_is_the_commonest_class_of_labelled_moments() -> None:
    result = dense_held_out(RECORDINGS, [SPLIT], DenseMajority(), NUM_CLASSES)
    seen = np.concatenate([RECORDINGS[row].labels for row in range(8)])
    counts = np.bincount(seen[seen >= 0])
    assert {int(each) for own in result.predictions for each in own} == {int(counts.argmax())}
    np.testing.assert_allclose(result.probabilities[0][0], counts / counts.sum())


def test_memory_helps_where_moments_are_noisy() -> None:
    scores = []
    for each in (LINEAR, Temporal(settings=SMALL)):
        result = dense_held_out(RECORDINGS, [SPLIT], each, NUM_CLASSES)
        right = np.concatenate([(p == t)[t >= 0] for p, t in zip(result.predictions, result.labels, strict=True)])
        scores.append(right.mean())
    assert scores[1] > scores[0] + 0.1


def test_what_cannot_be_used_is_a_sentence() -> None:
    broken = [*RECORDINGS]
    broken[2] = DenseRecording(torch.full_like(RECORDINGS[2].features, torch.nan), RECORDINGS[2].labels, "v2")
    with pytest.raises(UserError, match="recording 2 hold values that are not finite"):
        dense_held_out(broken, [SPLIT], LINEAR, NUM_CLASSES)
    bare = [DenseRecording(each.features, np.full_like(each.labels, -1), each.group) for each in RECORDINGS]
    with pytest.raises(UserError, match="no moment of the train recordings has a label"):
        dense_held_out(bare, [SPLIT], LINEAR, NUM_CLASSES)
    twice = [DenseRecording(each.features, each.labels, "one") for each in RECORDINGS]
    with pytest.raises(UserError, match="1 case "):
        dense_held_out(twice, [SPLIT], LINEAR, NUM_CLASSES)
    with pytest.raises(ValueError, match="labels from -1 to 2, not in 2"):
        dense_held_out(RECORDINGS, [SPLIT], LINEAR, 2)
