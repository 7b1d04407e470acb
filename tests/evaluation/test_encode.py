"""What is kept of a clip's tokens, checked by hand."""

from __future__ import annotations

import torch

from surgrec.evaluation.encode import with_change


def test_change_is_mean_spread_of_steps_and_movement_of_tokens() -> None:
    # two steps of two places, one number each: 1 and 3, then 5 and 3; their means 2 and 4; places move by 4 and 0
    tokens = torch.tensor([[[1.0], [3.0], [5.0], [3.0]]])
    assert torch.allclose(with_change(tokens, 2), torch.tensor([[3.0, 2**0.5, 2.0]]))


def test_what_stands_still_does_not_change_and_one_step_cannot() -> None:
    still = torch.randn(2, 1, 3, 4).expand(2, 5, 3, 4).flatten(1, 2)
    assert torch.equal(with_change(still, 5)[:, 4:], torch.zeros(2, 8))
    assert torch.equal(with_change(torch.randn(2, 3, 4), 1)[:, 4:], torch.zeros(2, 8))


def test_what_moves_within_a_step_mean_is_seen_all_the_same() -> None:
    """Two tokens that change places leave the means of all steps as they are: why there is more than means."""
    one, other = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    tokens = torch.stack([one, other] * 4).flatten()[None, :, None]
    assert with_change(tokens, 8).tolist() == [[0.5, 0.0, 1.0]]
    shuffled = torch.stack([one, one, other, other] * 2).flatten()[None, :, None]
    assert float(with_change(shuffled, 8)[0, 2]) < 1.0
