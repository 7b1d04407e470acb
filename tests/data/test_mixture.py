"""Laws of the mixture: shares follow the policy, footage is ordered by name and not by the manifest."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.data.errors import DataError
from surgrec.data.mixture import Mixture, shares_of
from tests.data.conftest import manifest_of

HOURS = {"a": 40.0, "b": 10.0, "c": 0.0, "d": 0.4}


@pytest.mark.parametrize(
    ("policy", "weights"),
    [("natural", [40, 10, 0, 0.4]), ("uniform", [1, 1, 0, 1]), ("temperature", [40**0.3, 10**0.3, 0, 0.4**0.3])],
)
def test_shares_follow_the_policy(policy: str, weights: list[float]) -> None:
    expected = np.array(weights) / np.sum(weights)
    np.testing.assert_allclose(shares_of(HOURS, policy, alpha=0.3), expected, rtol=1e-12)
    np.testing.assert_allclose(shares_of(list(HOURS.values()), policy, alpha=0.3), expected, rtol=1e-12)


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
        ({}, "natural", 0.5, "usable footage"),
        ({"a": 0.0}, "natural", 0.5, "usable footage"),
    ],
)
def test_wrong_mixtures_are_explained(hours: dict[str, float], policy: str, alpha: float, says: str) -> None:
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
