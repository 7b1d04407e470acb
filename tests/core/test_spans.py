"""Laws of phases: they lie one after another, in steps and in positions, and every sample belongs to one."""

from __future__ import annotations

import pytest

from surgrec.core.spans import Spans

LENGTHS = [(3, 8), (2, 4), (4, 6)]


def test_positions_go_on_through_all_phases() -> None:
    spans = Spans(LENGTHS)
    batches = [batch for count, batch in LENGTHS for _ in range(count)]
    assert spans.num_steps == len(batches) == 9
    assert [spans.positions_before(step) for step in range(10)] == [sum(batches[:step]) for step in range(10)]


def test_a_step_and_its_samples_belong_to_the_same_phase() -> None:
    spans = Spans(LENGTHS)
    assert [spans.number_at(step) for step in range(9)] == [0] * 3 + [1] * 2 + [2] * 4
    for step in range(9):
        positions = range(spans.positions_before(step), spans.positions_before(step + 1))
        assert {spans.number_of_position(position) for position in positions} == {spans.number_at(step)}


@pytest.mark.parametrize("lengths", [[(5, 2)], LENGTHS])
def test_beyond_the_end_is_the_last_phase(lengths: list[tuple[int, int]]) -> None:
    spans = Spans(lengths)
    assert spans.number_at(spans.num_steps) == spans.number_at(10**9) == len(lengths) - 1
    assert spans.number_of_position(10**9) == len(lengths) - 1
