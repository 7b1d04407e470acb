"""The plan of the embedded corpus: sources of very unequal size, phases that only motion tells apart, labels at any time."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.synthetic.motion import Motion, stroke_position
from surgrec.synthetic.plan import PHASES, PUBLIC_SCALES, SOURCES, event_at, make_plan, segment_at


def twins(domain: str) -> list[tuple[str, str]]:
    """Pairs of phases that share what is in the picture."""
    return [
        (one.name, two.name)
        for one, two in combinations(PHASES[domain], 2)
        if (one.look, one.instruments) == (two.look, two.instruments)
    ]


@pytest.mark.parametrize("scale", PUBLIC_SCALES)
def test_sources_are_many_and_very_unequal(scale: str) -> None:
    plans = make_plan(scale, seed=0)
    seconds: dict[str, float] = defaultdict(float)
    cases: dict[str, set[int]] = defaultdict(set)
    for plan in plans:
        seconds[plan.source.name] += plan.duration_seconds
        cases[plan.source.name].add(plan.case)
    shares = np.array(list(seconds.values())) / sum(seconds.values())
    assert len(shares) >= 12
    assert shares.min() <= 0.02
    assert shares.max() >= 0.35
    assert min(map(len, cases.values())) >= 3
    assert {plan.source.domain for plan in plans} == {"endoscopy", "laparoscopy", "cataract", "robotic"}
    assert len({plan.source.container for plan in plans}) >= 3
    assert len({(plan.source.width, plan.source.height) for plan in plans}) >= 5


def test_large_is_thousands_of_videos() -> None:
    assert len(make_plan("large", seed=0)) >= 2000


def test_unknown_scale_is_a_user_error() -> None:
    with pytest.raises(UserError, match="quickstart"):
        make_plan("huge", seed=0)


def test_plan_depends_on_the_seed_alone() -> None:
    one, two, other = (make_plan("quickstart", seed) for seed in (3, 3, 4))
    assert one == two
    assert [plan.events for plan in one] == [plan.events for plan in two]
    assert [plan.duration_seconds for plan in one] != [plan.duration_seconds for plan in other]


@pytest.mark.parametrize("domain", PHASES)
def test_two_pairs_of_phases_differ_in_motion_only(domain: str) -> None:
    assert len(PHASES[domain]) in (4, 5)
    assert len(twins(domain)) >= 2
    rhythms = [(phase.look, phase.rhythm) for phase in PHASES[domain]]
    assert len(set(rhythms)) == len(rhythms)


def test_every_phase_is_seen_in_several_cases() -> None:
    seen: dict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    for plan in make_plan("quickstart", seed=0):
        for segment in plan.segments:
            seen[plan.source.domain, segment.phase.name].add((plan.source.name, plan.case))
    for domain, phases in PHASES.items():
        for phase in phases:
            assert len(seen[domain, phase.name]) >= 3, (domain, phase.name)


def test_every_event_occurs() -> None:
    events = Counter(event.kind for plan in make_plan("quickstart", seed=0) for event in plan.events)
    assert set(events) == {"black", "out_of_body", "smoke", "bleeding"}


def test_times_ascend_and_some_sources_have_a_variable_rate() -> None:
    is_variable = {}
    for plan in make_plan("quickstart", seed=0):
        gaps = np.diff(plan.ticks)
        assert plan.ticks[0] == 0
        assert (gaps > 0).all()
        is_variable[plan.source.name] = gaps.max() - gaps.min() > 1
    assert {name for name, variable in is_variable.items() if variable} == {
        source.name for source in SOURCES if source.is_variable_rate
    }
    assert any(is_variable.values())


def test_segments_cover_the_video() -> None:
    for plan in make_plan("quickstart", seed=1)[::7]:
        indices = [segment_at(plan, float(seconds)) for seconds in plan.times_seconds]
        assert indices[0] == 0
        assert indices[-1] == len(plan.segments) - 1
        assert (np.diff(indices) >= 0).all()
        assert all(event_at(plan, float(seconds)) for seconds in plan.times_seconds)


@pytest.mark.parametrize("rise", [0.18, 0.5, 0.82])
def test_stroke_position_has_one_distribution_whatever_the_rhythm(rise: float) -> None:
    cycles = (np.arange(2000) + 0.5) / 2000
    positions = np.sort([stroke_position(float(c), rise) for c in cycles])
    expected = np.sort(-np.cos(np.pi * cycles))
    np.testing.assert_allclose(positions, expected, atol=0.01)


def test_slow_out_is_the_reverse_of_quick_out() -> None:
    forward = [stroke_position(c, 0.82) for c in np.linspace(0, 1, 50)]
    backward = [stroke_position(-c, 0.18) for c in np.linspace(0, 1, 50)]
    np.testing.assert_allclose(forward, backward, atol=1e-9)


def test_the_camera_goes_forward_in_insertion_and_back_in_withdrawal() -> None:
    seen = set()
    for plan in make_plan("quickstart", seed=0):
        motion = Motion(plan)
        for segment in plan.segments:
            direction = segment.phase.rhythm.travel
            start = segment.start_seconds
            moved = motion.at(start + 0.5).travel - motion.at(start + 0.1).travel
            assert np.sign(round(moved, 9)) == direction
            seen.add(direction)
    assert seen == {-1.0, 0.0, 1.0}
