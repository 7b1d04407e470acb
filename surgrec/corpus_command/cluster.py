"""`surgrec corpus cluster`: cluster frozen features, for a mixture that draws clusters alike.

In: a store that `surgrec extract` wrote. Out: the clusters of every moment, as Parquet. It is its own file because it alone of the
command's verbs reads features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.core.wording import counted


def add_verb(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The flags of `surgrec corpus cluster`."""
    parser = commands.add_parser(
        "cluster",
        help="cluster frozen features, for a mixture that draws clusters alike",
        description="Hierarchical k-means on what `surgrec extract` wrote. A run draws from it with mix=clusters mix.clusters=FILE; see "
        "docs/sampling.md.",
        epilog="example: surgrec corpus cluster --features features --clusters 1000 100 10 --out clusters.parquet",
    )
    parser.set_defaults(command=_run)
    parser.add_argument(
        "--features", type=Path, required=True, metavar="DIR", help="store that `surgrec extract` wrote"
    )
    parser.add_argument(
        "--clusters",
        type=int,
        nargs="+",
        required=True,
        metavar="K",
        help="how many clusters each level has, the lowest and largest first",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the clusters go (Parquet)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the beginnings of k-means")


def _run(options: argparse.Namespace) -> None:
    import numpy as np
    import pyarrow as pa

    from surgrec.core.console import progress
    from surgrec.corpus.clusters import Clusters
    from surgrec.corpus.kmeans import cluster_paths
    from surgrec.features.store import open_store

    store = open_store(options.features)
    names = sorted(store.video_ids())
    ids: list[str] = []
    times, vectors = [], []
    with progress("reading features", len(names)) as advance:
        for name in names:
            windows = store.read(name)
            is_valid = windows.is_valid.astype(bool)
            features = windows.features[is_valid].astype(np.float32)
            vectors.append(features.reshape(len(features), -1, features.shape[-1]).mean(axis=1))
            times.append(np.stack([windows.start_seconds, windows.end_seconds], axis=1)[is_valid])
            ids += [name] * len(features)
            advance()
    if not ids:
        raise UserError(f"{options.features} holds features of no moment; `surgrec extract` adds some")
    spans = np.concatenate(times)
    paths = cluster_paths(np.concatenate(vectors), options.clusters, options.seed, lambda line: print(line, flush=True))
    found = Clusters.of(pa.array(ids), spans[:, 0], spans[:, 1], paths, options.out.name)
    found.write(options.out)
    sizes = np.bincount(paths[:, 0])
    print(
        f"{counted(len(ids), 'moment')} of {counted(len(names), 'video')} in {counted(len(found.paths), 'cluster')} of the lowest level; "
        f"those of the top level hold {sizes.min()} to {sizes.max()} each\n"
        f"next: surgrec preview ... mix=clusters mix.clusters={options.out}"
    )
