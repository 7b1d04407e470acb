"""Laws of every policy: what is drawn has the configured shares over windows of any length, draws are strangers, caps hold exactly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2

from surgrec.core.errors import UserError
from surgrec.corpus.clusters import Clusters
from surgrec.corpus.manifest import Manifest
from surgrec.data.errors import DataError
from surgrec.data.mixture import Course, Mixture, MixtureOptions, Rehearsal, Weighting
from surgrec.data.sampler import Sampler
from tests.data.conftest import manifest_of

CLIP_SECONDS = 3.0
LONGEST = 100_000
WINDOWS = [(0, 1_000), (5_000, 10_000), (0, LONGEST)]
ALIKE = 1e-4  # how unlikely a chance deviation may be; seeds are fixed, so a test that passes goes on passing
TREE = ("domain", "procedure", "source")
PLACES = {  # source: domain, procedure, hours, videos
    "chole": ("laparoscopy", "cholecystectomy", 80.0, 9),
    "chole_web": ("laparoscopy", "cholecystectomy", 20.0, 5),
    "bypass": ("laparoscopy", "bypass", 30.0, 3),
    "phaco": ("cataract", "phaco", 10.0, 7),
    "robot": ("robotic", None, 1.0, 2),
}


def manifest() -> Manifest:
    videos = []
    for source, (domain, procedure, hours, number) in PLACES.items():
        parts = np.arange(1, number + 1) / (number * (number + 1) / 2)
        for index, part in enumerate(parts.tolist()):
            seconds = 3600 * hours * part
            usable = [(1.0, 1 + seconds / 4), (seconds / 2, seconds / 2 + 3 * seconds / 4)]
            row = {
                "video_id": f"{source}_{index}",
                "source": source,
                "domain": domain,
                "procedure": procedure,
                "usable": usable,
                "duration_seconds": 1 + 5 * seconds / 4,
            }
            videos.append(row)
    return manifest_of(videos)


def clusters() -> Clusters:
    """Every video's footage in four windows, in leaves of two levels: three at the top, of one, two and three leaves."""
    rows = manifest().table.to_pylist()
    leaves = [(0, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)]
    ids, start, paths = [], [], []
    for number, row in enumerate(rows):
        edges = np.linspace(0.0, 1.3 * row["usable"][1]["end_seconds"], 5)
        for index in range(4):
            ids.append(row["video_id"])
            start.append((edges[index], edges[index + 1]))
            paths.append(leaves[(number * (number + 1) // 2 + index) % len(leaves)])
    times = np.array(start)
    return Clusters.of(pa.array(ids), times[:, 0], times[:, 1], np.array(paths), "clusters.parquet")


COURSE = Course((0,), LONGEST, (CLIP_SECONDS,), (0.0,))
TWO_STAGES = Course((0, 60_000), LONGEST, (CLIP_SECONDS, CLIP_SECONDS), (0.2, 0.9))
MIXTURES = {
    "natural": lambda: Mixture(manifest(), "natural"),
    "uniform": lambda: Mixture(manifest(), "uniform"),
    "temperature": lambda: Mixture(manifest(), "temperature", 0.5),
    "hierarchical": lambda: Mixture(
        manifest(), "temperature", 0.5, options=MixtureOptions(TREE, Weighting({"domain": 0.0, "video": 0.5}))
    ),
    "weights": lambda: Mixture(
        manifest(), "uniform", options=MixtureOptions(weighting=Weighting(weights={"source": {"chole": 3.0, "robot": 0.2}}))
    ),
    "rehearsal": lambda: Mixture(manifest(), "temperature", 0.5, Rehearsal(0.3, ("phaco",))),
    "clusters": lambda: Mixture(manifest(), "clusters", options=MixtureOptions(clusters=clusters())),
    "caps": lambda: Mixture(manifest(), "uniform", options=MixtureOptions(max_passes=2.0), course=COURSE),
    "caps and rehearsal": lambda: Mixture(
        manifest(), "uniform", 0.5, Rehearsal(0.1, ("phaco",)), MixtureOptions(max_passes=1.5), COURSE
    ),
    "schedule": lambda: Mixture(
        manifest(), "temperature", 0.0, None, MixtureOptions(end_alpha=1.0, end=Weighting()), TWO_STAGES
    ),
    "schedule and caps": lambda: Mixture(
        manifest(), "temperature", 0.0, None, MixtureOptions(end_alpha=1.0, end=Weighting(), max_passes=2.0), TWO_STAGES
    ),
}  # fmt: skip


def stratum_of(mixture: Mixture, sampler: Sampler, positions: np.ndarray) -> np.ndarray:
    return sampler._stratum(positions // sampler.clips_per_open)[1]


def assert_drawn_by(counts: np.ndarray, shares: np.ndarray) -> None:
    """Chi-square of counts against shares; a capped run varies less than independent draws, so nothing is asked from below."""
    assert counts[shares == 0].sum() == 0
    counts, shares = counts[shares > 0], shares[shares > 0] / shares.sum()
    expected = counts.sum() * shares
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(ALIKE, max(1, len(counts) - 1)), (counts, expected)


@pytest.mark.parametrize("first, size", WINDOWS)
@pytest.mark.parametrize("name", MIXTURES)
def test_any_window_has_the_shares(name: str, first: int, size: int) -> None:
    mixture = MIXTURES[name]()
    sampler = Sampler(mixture, 3, CLIP_SECONDS)
    edges = [*(mixture.course.first if mixture.course else [0]), LONGEST]
    for stage, (begin, end) in enumerate(pairwise(edges)):
        positions = np.arange(max(first, begin), min(first + size, end))
        if len(positions) < 1_000:
            continue
        shares = mixture.strata.shares[stage]
        drawn = np.bincount(stratum_of(mixture, sampler, positions), minlength=len(shares))
        assert_drawn_by(drawn, shares)
        of_source = np.bincount(mixture.strata.source_index, weights=shares)
        assert_drawn_by(np.bincount(sampler.draw(positions).source_index, minlength=len(of_source)), of_source)


@pytest.mark.parametrize("name", [*MIXTURES])
def test_videos_are_drawn_by_their_weights_and_in_their_usable_footage(name: str) -> None:
    mixture, rows = MIXTURES[name](), manifest().table.to_pylist()
    positions = np.arange(60_000, LONGEST)
    draws = Sampler(mixture, 3, CLIP_SECONDS).draw(positions)
    expected = np.zeros(len(rows))
    for stratum, share in enumerate(mixture.strata.shares[-1]):
        videos = np.arange(*mixture.draws.first_video[stratum : stratum + 2])
        weights = mixture.draws.weights(stratum)
        np.add.at(expected, mixture.draws.rows(videos), share * weights / max(weights.sum(), 1e-9))
    assert_drawn_by(np.bincount(draws.rows, minlength=len(rows)), expected)
    intervals = np.array([[[span["start_seconds"], span["end_seconds"]] for span in row["usable"]] for row in rows])[
        draws.rows
    ]
    start = draws.start_seconds[:, None]
    is_inside = (start >= intervals[..., 0] - 1e-6) & (start + CLIP_SECONDS <= intervals[..., 1] + 1e-6)
    assert is_inside.any(axis=1).all()


@pytest.mark.parametrize("name", MIXTURES)
def test_neighbours_are_strangers(name: str) -> None:
    """Neither sources nor videos nor starts of one position tell anything of the next ones'."""
    mixture = MIXTURES[name]()
    draws = Sampler(mixture, 5, CLIP_SECONDS).draw(np.arange(20_000))
    bound = 4.5 / np.sqrt(20_000)
    for lag in (1, 2, 7, 64):
        for values in (draws.source_index.astype(float), draws.rows.astype(float), draws.start_seconds):
            values = values - values.mean()
            assert abs((values[lag:] * values[:-lag]).mean() / values.var()) < bound
    is_same = draws.rows[1:] == draws.rows[:-1]
    expected = ((np.bincount(draws.rows) / len(draws.rows)) ** 2).sum()
    assert abs(is_same.mean() - expected) < 4.5 * np.sqrt(expected / len(is_same))


@pytest.mark.parametrize("name", MIXTURES)
def test_a_draw_is_a_function_of_its_position(name: str) -> None:
    whole_sampler = Sampler(MIXTURES[name](), 5, CLIP_SECONDS)
    whole = whole_sampler.draw(np.arange(LONGEST))
    some = np.random.default_rng(0).integers(0, LONGEST, 500)
    for part, where in (
        (Sampler(MIXTURES[name](), 5, CLIP_SECONDS).draw(some), some),
        (whole_sampler.draw([int(some[0])]), some[:1]),
    ):
        np.testing.assert_array_equal(part.rows, whole.rows[where])
        np.testing.assert_array_equal(part.start_seconds, whole.start_seconds[where])
        np.testing.assert_array_equal(part.source_index, whole.source_index[where])
    np.testing.assert_array_equal(whole_sampler.sources(some), whole.source_index[some])


# -- caps


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("passes", [0.8, 2.0, 5.0])
@pytest.mark.parametrize("clips_per_open", [1, 3])
def test_no_cap_is_passed_in_a_whole_run(seed: int, passes: float, clips_per_open: int) -> None:
    number = 90_000
    course = Course((0,), number // clips_per_open, (CLIP_SECONDS * clips_per_open,), (0.0,))
    mixture = Mixture(manifest(), "uniform", options=MixtureOptions(max_passes=passes), course=course)
    draws = Sampler(mixture, seed, CLIP_SECONDS, clips_per_open).draw(np.arange(number))
    seconds = CLIP_SECONDS * np.bincount(draws.source_index, minlength=5)
    caps = passes * 3600 * mixture.table.hours
    assert (seconds <= caps).all()
    assert (seconds[caps < number * CLIP_SECONDS / 5] > 0.99 * caps[caps < number * CLIP_SECONDS / 5]).all()
    of_video = CLIP_SECONDS * np.bincount(draws.rows, minlength=len(manifest()))
    footage = mixture.footage
    one_draw = CLIP_SECONDS * clips_per_open
    assert (of_video[footage.rows] <= passes * footage.video_seconds + one_draw + 1e-6).all()


@pytest.mark.parametrize("seed", range(3))
def test_caps_hold_over_the_stages_of_a_schedule_and_phases_of_other_clips(seed: int) -> None:
    course = Course((0, 20_000, 50_000, 80_000), LONGEST, (3.0, 3.0, 3.0, 12.0), (0.0, 0.5, 1.0, 1.0))
    options = MixtureOptions(weighting=Weighting({"video": 0.0}), end_alpha=1.0, end=Weighting(), max_passes=2.5)
    mixture = Mixture(manifest(), "temperature", 0.0, None, options, course)
    draws = Sampler(mixture, seed, CLIP_SECONDS).draw(np.arange(LONGEST))
    cost = np.where(np.arange(LONGEST) < 80_000, 3.0, 12.0)
    seconds = np.bincount(draws.source_index, weights=cost, minlength=5)
    assert (seconds <= 2.5 * 3600 * mixture.table.hours).all()
    assert seconds[mixture.table.sources.index("robot")] > 0.98 * 2.5 * 3600
    for stage in range(4):
        first, stop = [*course.first, LONGEST][stage : stage + 2]
        drawn = np.bincount(draws.source_index[first:stop], minlength=5)
        np.testing.assert_array_equal(drawn, mixture.strata.counts[stage])


def test_in_phases_of_other_clips_each_video_keeps_its_cap_to_within_a_draw_of_each() -> None:
    videos = [{"video_id": f"a_{number:03d}", "usable": [(0.0, 30.0 + number % 7)]} for number in range(200)]
    course = Course((0, 1_000, 3_000), 4_000, (2.0, 2.0, 8.0), (0.0, 0.5, 1.0))
    hours = sum(video["usable"][0][1] for video in videos) / 3600
    asked = (3_000 * 2 + 1_000 * 8) / 3600
    options = MixtureOptions(max_passes=1.02 * asked / hours)
    mixture = Mixture(manifest_of(videos), "natural", options=options, course=course)
    rows = Sampler(mixture, 3, 1.5).draw(np.arange(4_000)).rows
    seconds = np.bincount(rows, weights=np.where(np.arange(4_000) < 3_000, 2.0, 8.0), minlength=200)
    footage = mixture.footage
    share = footage.video_seconds / footage.video_seconds.sum()
    assert (np.abs(seconds[footage.rows] - asked * 3600 * share) <= 2.0 + 8.0).all()


def test_a_schedule_that_leads_away_from_the_large_source_holds_its_cap_where_it_can() -> None:
    """The last quarter draws from two small sources alone, nearly all that their caps allow: nothing may have been taken before."""
    videos = [
        {"video_id": f"{name}_0", "source": name, "usable": [(0.0, hours * 3600.0)]}
        for name, hours in (("large", 100.0), ("middle", 2.0), ("small", 1.0))
    ]
    stages = tuple(range(0, 4_000, 100))
    progress = tuple(min(1.0, number / 29) for number in range(40))
    course = Course(stages, 4_000, (80.0,) * 40, progress)  # 88.9 hours, a quarter of them at the end
    end = Weighting(weights={"source": {"large": 0.0}})
    for passes, is_possible in ((9.0, True), (8.2, True), (7.9, False)):
        options = MixtureOptions(max_passes=passes, end=end)
        if not is_possible:
            with pytest.raises(
                UserError, match=r"footage of middle, small, and from 7\d% to 100% of the run.*change mix\.schedule"
            ):
                Mixture(manifest_of(videos), "temperature", 0.5, None, options, course)
            continue
        mixture = Mixture(manifest_of(videos), "temperature", 0.5, None, options, course)
        assert (mixture.strata.counts.sum(axis=1) == 100).all()
        assert (80.0 * mixture.strata.counts.sum(axis=0) <= (1 + 1e-9) * passes * 3600 * mixture.table.hours).all()
        np.testing.assert_allclose(mixture.hours_drawn(course), 80.0 * mixture.strata.counts.sum(axis=0) / 3600)


def test_a_small_rehearsal_under_a_cap_is_not_rounded_away() -> None:
    course = Course(tuple(range(0, 6_400, 100)), 6_400, (CLIP_SECONDS,) * 64, tuple(np.linspace(0, 1, 64).tolist()))
    options = MixtureOptions(end_alpha=1.0, end=Weighting(), max_passes=3.0)
    mixture = Mixture(manifest(), "temperature", 0.0, Rehearsal(0.002, ("phaco",)), options, course)
    assert mixture.strata.counts.sum(axis=0)[mixture.table.sources.index("phaco")] == round(0.002 * 6_400)


def test_a_cap_that_cannot_be_says_what_can() -> None:
    options = MixtureOptions(max_passes=0.5)
    with pytest.raises(
        UserError, match=r"mix.max_passes=0.5 allows 70.50 hours .* draws 83.33: it takes 0.6 passes at least"
    ):
        Mixture(manifest(), "natural", options=options, course=COURSE)


def test_beyond_its_end_a_run_goes_on_as_it_ended() -> None:
    mixture = MIXTURES["schedule and caps"]()
    beyond = Sampler(mixture, 3, CLIP_SECONDS).sources(np.arange(LONGEST, LONGEST + 40_000))
    np.testing.assert_array_equal(np.bincount(beyond, minlength=5), mixture.strata.counts[1])


# -- several clips of one opened video


@pytest.mark.parametrize("name", ["temperature", "hierarchical", "clusters"])
@pytest.mark.parametrize("clips_per_open", [2, 5])
def test_clips_of_one_opening_share_the_video_and_nothing_else(name: str, clips_per_open: int) -> None:
    mixture = MIXTURES[name]()
    draws = Sampler(mixture, 3, CLIP_SECONDS, clips_per_open).draw(np.arange(20_000 * clips_per_open))
    rows = draws.rows.reshape(-1, clips_per_open)
    assert (rows == rows[:, :1]).all()
    counts = np.bincount(draws.source_index[::clips_per_open], minlength=5)
    assert_drawn_by(counts, np.bincount(mixture.strata.source_index, weights=mixture.strata.shares[0]))
    starts = draws.start_seconds.reshape(-1, clips_per_open)
    assert (np.diff(np.sort(starts, axis=1), axis=1) > 0).mean() > 0.999
    if name == "clusters":  # a leaf is a part of the video
        return
    one, other = starts[rows[:, 0] == np.bincount(rows[:, 0]).argmax(), :2].T  # of one video
    assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / np.sqrt(len(one))


# -- videos that failed


@pytest.mark.parametrize("name", ["temperature", "clusters", "caps"])
def test_what_failed_is_replaced_within_its_source_and_fairly(name: str) -> None:
    mixture = MIXTURES[name]()
    sampler, positions = Sampler(mixture, 3, CLIP_SECONDS), np.arange(20_000)
    ids = manifest().video_ids.tolist()
    excluded = {ids.index(name) for name in ("chole_8", "chole_3", "robot_1", "phaco_0")}
    first, second = sampler.draw(positions), sampler.draw(positions, 1, excluded)
    np.testing.assert_array_equal(first.source_index, second.source_index)
    assert not set(second.rows.tolist()) & excluded
    names = np.array(ids)[second.rows]
    sources = np.array([name.rsplit("_", 1)[0] for name in names])
    np.testing.assert_array_equal(sources, np.array(mixture.table.sources)[second.source_index])
    again = sampler.draw(positions[::7], 1, excluded)
    np.testing.assert_array_equal(again.rows, second.rows[::7])
    if name == "temperature":
        counts = np.bincount(second.rows[sources == "chole"], minlength=len(ids))[
            [ids.index(f"chole_{n}") for n in range(9)]
        ]
        assert_drawn_by(counts, np.array([1, 2, 3, 0, 5, 6, 7, 8, 0]) / 32)


def test_a_stratum_without_another_video_takes_one_of_its_source() -> None:
    """A leaf of a cluster may show one video only."""
    mixture = MIXTURES["clusters"]()
    sampler, ids = Sampler(mixture, 3, CLIP_SECONDS), manifest().video_ids.tolist()
    excluded = {ids.index(f"chole_{number}") for number in range(8)}
    rows = sampler.draw(np.arange(3000), 1, excluded)
    chole = rows.source_index == mixture.table.sources.index("chole")
    assert set(rows.rows[chole].tolist()) == {ids.index("chole_8")}


def test_what_has_no_share_is_drawn_for_no_failure_either() -> None:
    videos = [
        {"video_id": f"{procedure}_{number}", "source": "web", "procedure": procedure, "usable": [(0.0, 60.0)]}
        for procedure, number in (("p", 0), ("p", 1), ("q", 0), ("q", 1))
    ]
    options = MixtureOptions(("procedure",), Weighting(weights={"procedure": {"q": 0.0}}))
    sampler = Sampler(Mixture(manifest_of(videos), "uniform", options=options), 3, CLIP_SECONDS)
    assert set(sampler.draw(np.arange(500), 1, {0}).rows.tolist()) == {1}
    with pytest.raises(DataError, match="source 'web' has no video left"):
        sampler.draw(np.arange(500), 2, {0, 1})


# -- names and numbers that cannot be


@pytest.mark.parametrize(
    ("policy", "options", "says"),
    [
        ("temperature", MixtureOptions(("domain", "sorce")), "mix.levels names 'sorce', which is none; did you mean source"),
        ("temperature", MixtureOptions(("source", "domain")), "must go down, each once: domain, procedure, source"),
        ("uniform", MixtureOptions(weighting=Weighting(weights={"source": {"chol": 1.0}})), "mix.weights.source names chol, .*mean chole"),
        ("uniform", MixtureOptions(weighting=Weighting(weights={"domain": {"robotic": 1.0}})), "mix.weights.domain does nothing"),
        ("uniform", MixtureOptions(weighting=Weighting(weights={"source": {"chole": -1.0}})), "mix.weights.source.chole=-1.0 must be"),
        ("uniform", MixtureOptions(weighting=Weighting(weights={"source": dict.fromkeys(PLACES, 0.0)})), "mix.weights leaves no source"),
        ("uniform", MixtureOptions(end=Weighting(weights={"source": dict.fromkeys(PLACES, 0.0)})), "mix.schedule.weights leaves no source"),
        ("temperature", MixtureOptions(weighting=Weighting({"procedure": 1.0})), "mix.alphas.procedure is of no level"),
        ("temperature", MixtureOptions(weighting=Weighting({"source": -1.0})), "set mix.alphas.source to one"),
        ("temperature", MixtureOptions(weighting=Weighting({"video": -1.0})), "set mix.alphas.video to one"),
        ("clusters", MixtureOptions(), "mix.clusters=FILE belong together"),
        ("natural", MixtureOptions(clusters=clusters()), "mix.clusters=FILE belong together"),
        ("clusters", MixtureOptions(("domain",), clusters=clusters()), "mix.levels=.* does nothing under mix.policy=clusters"),
    ],
)  # fmt: skip
def test_wrong_options_are_named(policy: str, options: MixtureOptions, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Mixture(manifest(), policy, options=options, course=TWO_STAGES)


def test_a_part_without_weights_is_named() -> None:
    options = MixtureOptions(weighting=Weighting(weights={"source": {"phaco": 0.0}}))
    with pytest.raises(UserError, match="leaves no rehearsed source with a weight above 0"):
        Mixture(manifest(), "uniform", 0.5, Rehearsal(0.5, ("phaco",)), options)
