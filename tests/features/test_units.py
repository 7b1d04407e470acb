"""What shares a batch follows from the list of videos alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surgrec.features.units import batches_of, make_units, part_of

COUNTS = st.lists(st.integers(1, 70), min_size=1, max_size=20)


@given(COUNTS, st.integers(1, 5))
def test_every_window_is_in_one_batch_and_almost_all_batches_are_full(counts: list[int], batch_size: int) -> None:
    units = make_units(counts, batch_size)
    assert sorted(item.video for unit in units for item in unit.items) == list(range(len(counts)))
    for unit in units:
        batches = list(batches_of(unit, [0] * len(unit.items), batch_size))
        windows = [slot for batch in batches for slot in batch]
        assert windows == [(place, k) for place, item in enumerate(unit.items) for k in range(item.num_windows)]
        assert all(len(batch) == batch_size for batch in batches[:-1])
    assert sum(unit.num_windows < 8 * batch_size for unit in units) <= 1, "only what is left over"


@given(COUNTS, st.data())
def test_what_is_done_is_left_out_and_changes_no_batch(counts: list[int], data: st.DataObject) -> None:
    for unit in make_units(counts, 4):
        done = [data.draw(st.integers(0, item.num_windows)) for item in unit.items]
        every = list(batches_of(unit, [0] * len(done), 4))
        needed = list(batches_of(unit, done, 4))
        assert needed == [batch for batch in every if any(window >= done[place] for place, window in batch)]


@given(COUNTS, st.integers(1, 6))
def test_parts_share_the_units_evenly(counts: list[int], num_parts: int) -> None:
    units = make_units(counts, 2)
    parts = [part_of(units, part, num_parts) for part in range(num_parts)]
    assert sorted((unit for part in parts for unit in part), key=units.index) == units
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    again = [part_of(units, 0 + num_parts * number, num_parts * 3) for number in range(3)]
    assert sorted((u for part in again for u in part), key=units.index) == sorted(parts[0], key=units.index)
