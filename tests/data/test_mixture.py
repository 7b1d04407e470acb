"""Laws of the mixture: shares follow the policy, footage is ordered by name and not by the manifest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.data.errors import DataError
from surgrec.data.mixture import Mixture, Rehearsal
from surgrec.data.sampler import Sampler
from surgrec.data.shares import among_siblings, exponent_of
from tests.data.conftest import manifest_of

HOURS = (40.0, 10.0, 0.0, 0.4)


def shares_of(hours: Sequence[float], policy: str, alpha: float = 0.5) -> np.ndarray:
    values = np.array(hours, dtype=np.float64)
    return among_siblings(values, exponent_of(policy, alpha), np.ones_like(values))


@pytest.mark.parametrize(
    ("policy", "weights"),
    [("natural", [40, 10, 0, 0.4]), ("uniform", [1, 1, 0, 1]), ("temperature", [40**0.3, 10**0.3, 0, 0.4**0.3])],
)
def test_shares_follow_the_policy(policy: str, weights: list[float]) -> None:
    expected = np.array(weights) / np.sum(weights)
    np.testing.assert_allclose(shares_of(HOURS, policy, alpha=0.3), expected, rtol=1e-12)


def test_temperature_runs_from_uniform_to_natural() -> None:
    np.testing.assert_allclose(shares_of(HOURS, "temperature", 0.0), shares_of(HOURS, "uniform"))
    np.testing.assert_allclose(shares_of(HOURS, "temperature", 1.0), shares_of(HOURS, "natural"))
    np.testing.assert_allclose(shares_of(HOURS, "temperature"), shares_of(HOURS, "temperature", 0.5))


@pytest.mark.parametrize(
    ("hours", "policy", "alpha", "says"),
    [
        (HOURS, "balanced", 0.5, "natural, uniform, temperature"),
        (HOURS, "temperature", -1.0, "mix.alpha"),
        (HOURS, "temperature", float("nan"), "mix.alpha"),
        ((), "natural", 0.5, "usable footage"),
        ((0.0,), "natural", 0.5, "usable footage"),
    ],
)
def test_wrong_mixtures_are_explained(hours: Sequence[float], policy: str, alpha: float, says: str) -> None:
    with pytest.raises(UserError, match=says):
        shares_of(hours, policy, alpha)


def test_table_counts_usable_hours_and_videos() -> None:
    manifest = manifest_of(
        [
            {"video_id": "b_1", "source": "b", "usable": [(0, 1800), (3600, 5400)]},
            {"video_id": "a_2", "source": "a", "usable": [(10, 3610)]},
            {"video_id": "a_1", "source": "a", "usable": []},
            {"video_id": "c_1", "source": "c", "usable": [(5, 5)]},
            {"video_id": "a_0", "source": "a", "usable": [(0, 3600)]},
        ]
    )
    mixture = Mixture(manifest, "natural")
    assert mixture.table.sources == ("a", "b", "c")
    np.testing.assert_allclose(mixture.table.hours, [2, 1, 0])
    np.testing.assert_allclose(mixture.table.shares, [2 / 3, 1 / 3, 0])
    assert mixture.table.num_videos.tolist() == [2, 1, 0]
    footage = mixture.footage
    assert manifest.video_ids[footage.rows].tolist() == ["a_0", "a_2", "b_1"]
    assert footage.first_video.tolist() == [0, 2, 3, 3]
    assert footage.first_interval.tolist() == [0, 1, 2, 4]
    assert footage.start_seconds.tolist() == [0, 10, 0, 3600]
    np.testing.assert_allclose(footage.video_seconds, [3600, 3600, 3600])


def test_a_manifest_without_usable_footage_is_explained() -> None:
    manifest = manifest_of([{"video_id": "a", "source": "a", "usable": []}])
    with pytest.raises(DataError, match="usable footage"):
        Mixture(manifest, "natural")


# -- rehearsal

REHEARSED = {
    "surgery_a": ("laparoscopy", 4.0),
    "surgery_b": ("cataract", 1.0),
    "web": ("other", 100.0),
    "film": ("other", 25.0),
}


def rehearsal_manifest(domains: dict[str, tuple[str, float]] = REHEARSED) -> Manifest:
    return manifest_of([
        {"video_id": name, "source": name, "domain": domain, "usable": [(0.0, 3600 * hours)]}
        for name, (domain, hours) in domains.items()
    ])  # fmt: skip


@pytest.mark.parametrize("policy", ["natural", "uniform", "temperature"])
@pytest.mark.parametrize("share", [0.0, 0.37, 0.9])
def test_rehearsal_has_its_share_and_the_policy_holds_within_either_part(policy: str, share: float) -> None:
    table = Mixture(rehearsal_manifest(), policy, 0.5, Rehearsal(share)).table
    assert table.rehearsed == ("film", "web") and table.sources == ("film", "surgery_a", "surgery_b", "web")
    assert table.shares[[0, 3]] == pytest.approx(share * shares_of([25.0, 100.0], policy))
    assert table.shares[[1, 2]] == pytest.approx((1 - share) * shares_of([4.0, 1.0], policy))


def test_named_sources_are_rehearsed_in_place_of_a_domain() -> None:
    table = Mixture(rehearsal_manifest(), "uniform", 0.5, Rehearsal(0.5, ("surgery_b", "film"))).table
    assert table.rehearsed == ("film", "surgery_b") and table.shares.tolist() == [0.25] * 4


@pytest.mark.parametrize("first", [0, 10**9])
def test_drawn_rehearsal_is_its_share_over_any_window(first: int) -> None:
    mixture = Mixture(rehearsal_manifest(), "temperature", 0.5, Rehearsal(0.37))
    drawn = Sampler(mixture, 3, 4.0).draw(np.arange(first, first + 20_000)).source_index
    count = np.isin(drawn, [0, 3]).sum()
    assert abs(count - 0.37 * 20_000) < 4 * (20_000 * 0.37 * 0.63) ** 0.5  # four deviations of the binomial


def test_without_rehearsal_general_video_is_never_drawn() -> None:
    mixture = Mixture(rehearsal_manifest(), "temperature", 0.5, Rehearsal(0.0))
    assert set(Sampler(mixture, 3, 4.0).draw(np.arange(5000)).source_index.tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("domains", "rehearsal", "says"),
    [
        (
            {"a": ("cataract", 1.0)},
            Rehearsal(0.3),
            "needs usable footage of general video: index some with --domain other",
        ),
        ({"a": ("other", 1.0)}, Rehearsal(0.3), "every source with usable footage is rehearsal"),
        (
            REHEARSED,
            Rehearsal(0.3, ("tv",)),
            "names tv, which no manifest has; there are film, surgery_a, surgery_b, web",
        ),
    ],
)
def test_rehearsal_that_cannot_be_is_told(
    domains: dict[str, tuple[str, float]], rehearsal: Rehearsal, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        Mixture(rehearsal_manifest(domains), "temperature", 0.5, rehearsal)
