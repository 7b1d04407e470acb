"""Laws of hierarchical clusters: a tree, what is alike together, and what is rare drawn as often as what is common."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surgrec.config.build import left_out_sentence
from surgrec.core.errors import UserError
from surgrec.corpus.clusters import SCHEMA, Clusters, ClustersError
from surgrec.corpus.kmeans import cluster_paths
from surgrec.data.mixture import Mixture, MixtureOptions
from surgrec.data.sampler import Sampler
from tests.data.conftest import manifest_of

COUNTS = (3000, 600, 120, 24)  # moments of each concept: a long tail
WINDOW_SECONDS = 2.0


def tail(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of four concepts, each around a direction of its own, and which is whose; shuffled."""
    chance = np.random.default_rng(seed)
    concept = chance.permutation(np.repeat(np.arange(4), COUNTS))
    centres = np.linalg.qr(chance.normal(size=(16, 16)))[0][:4]
    return (centres[concept] + 0.12 * chance.normal(size=(len(concept), 16))).astype(np.float32), concept


def test_levels_are_a_tree_and_what_is_alike_is_together() -> None:
    vectors, concept = tail()
    paths = cluster_paths(vectors, (40, 4))
    assert paths.shape == (len(vectors), 2) and len(np.unique(paths[:, 0])) == 4
    for leaf in np.unique(paths[:, 1]):
        assert len(np.unique(paths[paths[:, 1] == leaf, 0])) == 1, "a cluster lies in one cluster of the level above"
    for number in range(4):
        assert len(np.unique(concept[paths[:, 0] == number])) == 1, "the four of the top are the four concepts"
    assert np.array_equal(paths, cluster_paths(vectors, (40, 4)))


def test_moved_centres_leave_the_tail_more_clusters_than_density_does(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, concept = tail(1)

    def leaves_of_the_tail() -> int:
        return len(np.unique(cluster_paths(vectors, (60,))[concept >= 2, 0]))

    spread = leaves_of_the_tail()
    monkeypatch.setattr("surgrec.corpus.kmeans.ROUNDS", 0)
    assert spread >= leaves_of_the_tail()


def test_draws_are_balanced_over_a_long_tail(tmp_path: Path) -> None:
    """Each concept has a quarter of the draws, though one has 125 times the footage of another."""
    vectors, concept = tail()
    videos, number = [], len(vectors) // 48
    for video in range(number):
        seconds = 48 * WINDOW_SECONDS
        videos.append(
            {
                "video_id": f"v{video:03d}",
                "source": f"s{video % 3}",
                "usable": [(0.0, 0.55 * seconds), (0.6 * seconds, seconds)],
            }
        )
    moments = np.arange(48 * number)
    start = WINDOW_SECONDS * (moments % 48)
    ids = pa.array([f"v{moment // 48:03d}" for moment in moments])
    paths = cluster_paths(vectors, (40, 4))[: len(moments)]
    Clusters.of(ids, start, start + WINDOW_SECONDS, paths, "x").write(tmp_path / "clusters.parquet")
    clusters = Clusters.read(tmp_path / "clusters.parquet")
    drawn = {}
    for policy, options in (("natural", None), ("clusters", MixtureOptions(clusters=clusters))):
        mixture = Mixture(manifest_of(videos), policy, options=options)
        draws = Sampler(mixture, 0, 1.0).draw(np.arange(20_000))
        ids_drawn = np.array([video["video_id"] for video in videos])[draws.rows]
        moment = 48 * np.char.lstrip(ids_drawn, "v").astype(int) + (draws.start_seconds // WINDOW_SECONDS).astype(int)
        drawn[policy] = np.bincount(concept[moment], minlength=4) / 20_000
        end = draws.start_seconds
        assert ((end <= 0.55 * 96 - 1.0 + 1e-6) | (end >= 0.6 * 96 - 1e-6)).all(), "in the usable intervals"
    assert drawn["natural"][0] > 0.75 and drawn["natural"][3] < 0.02
    np.testing.assert_allclose(drawn["clusters"], 0.25, atol=0.02)


@pytest.mark.parametrize("sizes", [(12, 10, 4), (5, 3), (3,)])
def test_few_different_vectors_make_as_many_clusters_as_there_are(sizes: tuple[int, ...]) -> None:
    which = np.tile(np.arange(3), 40)
    paths = cluster_paths(np.eye(8, dtype=np.float32)[which], sizes)
    assert len(np.unique(paths, axis=0)) == 3
    assert len(np.unique(np.stack([which, paths[:, -1]], axis=1), axis=0)) == 3
    assert len(np.unique(cluster_paths(np.ones((200, 4), np.float32), (12, 6, 2)), axis=0)) == 1


def cut(moments: list[tuple[float, float, int]], *usable: tuple[float, float]) -> list[tuple[int, float, float]]:
    """Leaf, start and end of what is cut of one video."""
    start, end, leaf = (np.array(column) for column in zip(*moments, strict=True))
    clusters = Clusters.of(pa.array(["v"] * len(moments)), start, end, leaf[:, None], "x.parquet")
    begin, stop = np.array(usable).T
    leaves, _, spans = clusters.cut(pa.chunked_array([["v"]]), np.zeros(len(usable), np.int64), begin, stop)
    found = zip(clusters.paths[leaves, 0].tolist(), spans[:, 0].tolist(), spans[:, 1].tolist(), strict=True)
    return sorted(found, key=lambda one: one[1])


def test_what_begins_in_a_moment_shows_that_moment() -> None:
    """Where moments overlap, a clip from a second on shows what the moment that begins there shows."""
    assert cut([(0, 16, 7), (4, 20, 8), (8, 24, 7)], (0.0, 60.0)) == [(7, 0, 4), (8, 4, 8), (7, 8, 24)]
    assert cut([(0, 16, 7), (4, 20, 7)], (2.0, 3.0), (10.0, 30.0)) == [(7, 2, 3), (7, 10, 20)]
    assert cut([(0, 10, 0), (2, 3, 1), (4, 6, 2)], (0.0, 60.0)) == [(0, 0, 2), (1, 2, 3), (2, 4, 6)], "none is in two"


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_no_second_is_in_two_leaves(overlap: float) -> None:
    chance = np.random.default_rng(0)
    start = np.sort(chance.uniform(0, 100, 60))
    end = start + chance.uniform(0.1, 4, 60) * (1 + 4 * overlap)
    spans = cut(list(zip(start, end, chance.integers(0, 4, 60).tolist(), strict=True)), (3.0, 40.0), (50.0, 90.0))
    assert all(stop <= begin for (_, _, stop), (_, begin, _) in pairwise(spans)) and len(spans) > 20


def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    def written(start: list[float], end: list[float], paths: list[list[int]]) -> Path:
        columns = [["v"] * len(paths), start, end, paths]
        pq.write_table(pa.table(columns, schema=SCHEMA), tmp_path / "c.parquet")
        return tmp_path / "c.parquet"

    assert len(Clusters.read(written([0.0, 2.0], [2.0, 4.0], [[0, 1], [1, 0]])).leaves) == 2
    for start, end, paths in (
        ([0.0, 2.0], [2.0, 4.0], [[0], [1, 2, 3]]),
        ([0.0, 2.0], [2.0, 4.0], [[0], [-1]]),
        ([0.0, 2.0], [2.0, 1.0], [[0], [1]]),
        ([0.0, float("nan")], [2.0, 4.0], [[0], [1]]),
        ([0.0, 2.0], [2.0, float("inf")], [[0], [1]]),
    ):
        with pytest.raises(ClustersError, match="contradicts itself"):
            Clusters.read(written(start, end, paths))


def test_hours_that_lie_in_no_moment_are_told() -> None:
    clusters = Clusters.of(pa.array(["v"]), np.array([10.0]), np.array([20.0]), np.array([[0]]), "x.parquet")
    videos = [{"video_id": name, "source": "s", "usable": [(0.0, 100.0)]} for name in ("v", "w")]
    mixture = Mixture(manifest_of(videos), "clusters", options=MixtureOptions(clusters=clusters))
    assert mixture.num_unclustered == 1 and mixture.hours_unclustered == pytest.approx(190 / 3600)
    assert "95% of the usable hours, among them the whole of 1 of 2 videos, left out" in left_out_sentence(
        SimpleNamespace(manifest=range(2), mixture=mixture)  # type: ignore[arg-type]
    )


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    vectors, _ = tail()
    with pytest.raises(UserError, match="must fall from level to level"):
        cluster_paths(vectors, (10, 10))
    with pytest.raises(UserError, match="cannot be made of 3 moments"):
        cluster_paths(vectors[:3], (4,))
    with pytest.raises(ClustersError, match="there are no clusters at"):
        Clusters.read(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(ClustersError, match="is no file of clusters"):
        Clusters.read(tmp_path / "bad.parquet")
    foreign = Clusters.of(pa.array(["elsewhere"]), np.array([0.0]), np.array([2.0]), np.array([[0]]), "other.parquet")
    videos = [{"video_id": "v", "source": "s", "usable": [(0.0, 9.0)]}]
    with pytest.raises(UserError, match=r"mix.clusters=other.parquet knows none"):
        Mixture(manifest_of(videos), "clusters", options=MixtureOptions(clusters=foreign))
