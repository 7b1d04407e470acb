"""Pictures: the same for the same plan, different between cases, and blind to what only motion should tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from surgrec.synthetic.instruments import DRAW, Canvas, Finish, Pose
from surgrec.synthetic.motion import Motion
from surgrec.synthetic.plan import PHASES, SOURCES, VideoPlan
from surgrec.synthetic.scene import vignette
from surgrec.synthetic.write import make_theatre, render

SMALLEST = {source.domain: index for index, source in enumerate(SOURCES)}  # the last source of each domain
PAIRS = [(domain, look) for domain, phases in PHASES.items() for look in sorted({p.look for p in phases})]
PAIRS = [(d, look) for d, look in PAIRS if sum(p.look == look for p in PHASES[d]) == 2]


def one_phase(domain: str, phase: int, case: int = 0, video: int = 0, seed: int = 0) -> VideoPlan:
    """A five-second video of one phase."""
    return VideoPlan(seed, SMALLEST[domain], case, video, 0, 5.0, phase)


def frames(plans: list[VideoPlan], num_per_plan: int) -> npt.NDArray[np.uint8]:
    """Frames spread over videos of one case, (n, H, W, 3)."""
    theatre = make_theatre(plans[0])
    taken: list[npt.NDArray[np.uint8]] = []
    for plan in plans:
        motion = Motion(plan)
        for seconds in np.linspace(0.4, 4.6, num_per_plan):
            taken.append(theatre.frame(plan, motion.at(float(seconds)), len(taken)))
    return np.stack(taken)


def histogram(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean colour histogram, 4 x 4 x 4 bins."""
    bins = (pictures >> 6).reshape(-1, 3).astype(np.int64) @ np.array([16, 4, 1])
    return np.bincount(bins, minlength=64) / len(bins)


def distance(one: npt.NDArray[np.uint8], two: npt.NDArray[np.uint8]) -> float:
    """Total variation between mean colour histograms, 0 to 1."""
    return float(np.abs(histogram(one) - histogram(two)).sum() / 2)


@pytest.mark.parametrize("domain", PHASES)
def test_frames_depend_on_the_plan_alone(domain: str) -> None:
    plan = replace(one_phase(domain, 1), duration_seconds=0.3)
    first, second = (np.stack(list(render(plan, make_theatre(plan)))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape[1:] == (plan.source.height, plan.source.width, 3)
    assert first.dtype == np.uint8
    another = replace(plan, seed=1)
    other = np.stack(list(render(another, make_theatre(another))))
    assert (first[0] != other[0]).mean() > 0.3


@pytest.mark.parametrize("domain", PHASES)
def test_frames_are_lit_coloured_and_moving(domain: str) -> None:
    shown = frames([one_phase(domain, 1)], 4).astype(np.float64)
    assert 40 < shown.mean() < 200
    assert shown.std() > 25
    assert np.abs(shown[0] - shown[-1]).mean() > 4


@pytest.mark.parametrize(("domain", "look"), PAIRS)
def test_single_frames_do_not_tell_twin_phases_apart(domain: str, look: str) -> None:
    one, two = (index for index, phase in enumerate(PHASES[domain]) if phase.look == look)
    videos = range(100, 108)  # the same hands in both phases
    first = frames([one_phase(domain, one, video=video) for video in videos], 4)
    second = frames([one_phase(domain, two, video=video) for video in videos], 4)
    more = frames([one_phase(domain, one, video=video) for video in range(200, 208)], 4)
    other = frames([one_phase(domain, one, case=1, video=video) for video in videos], 2)
    assert distance(first, second) < 0.2 * distance(first, other)
    # no more than videos of one phase differ
    assert mean_difference(first, second) < 1.2 * mean_difference(first, more)


def mean_difference(one: npt.NDArray[np.uint8], two: npt.NDArray[np.uint8]) -> float:
    """Mean absolute difference between the mean pictures, grey levels."""
    return float(np.abs(one.mean(axis=0) - two.mean(axis=0)).mean())


@pytest.mark.parametrize("kind", DRAW)
def test_an_instrument_is_drawn_where_it_works_and_nowhere_else(kind: str) -> None:
    canvas = Canvas(160, 128)
    canvas.pixels[:] = 100
    finish = Finish.draw(np.random.Generator(np.random.Philox(1)), dark_shaft=False)
    DRAW[kind](canvas, Pose(np.array([1.5, 1.2]), np.array([0.1, 0.1])), finish)
    changed = np.abs(canvas.pixels - 100).max(axis=0) > 1
    assert changed[64:96, 80:130].any()
    assert not changed[:40].any()
    assert not changed[:, :50].any()


def test_all_instruments_of_all_phases_can_be_drawn() -> None:
    assert {kind for phases in PHASES.values() for phase in phases for kind in phase.instruments} == set(DRAW)


@pytest.mark.parametrize("kind", ["circle", "octagon"])
def test_a_vignette_hides_the_corners_only(kind: str) -> None:
    mask = vignette(Canvas(160, 128), kind)
    assert mask[0, 0] == mask[-1, -1] == 0
    assert mask[64, 80] == 1
    assert 0.4 < mask.mean() < 0.95
