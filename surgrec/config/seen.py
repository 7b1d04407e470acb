"""Which checkpoints and releases have seen a video.

In: run folders and video ids. Out: for each run, after which update its weights had seen one of them. It is its own file because the
answer is computed, not logged: which video a step draws is a pure function of configuration, footage and position, so the run's own
sampler is asked again; `failures.jsonl` tells where a video could not be read and another one took its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.config.compose import read_config
from surgrec.config.footage import build_mixture
from surgrec.config.phases import spans_of
from surgrec.config.schema import Config
from surgrec.core.console import Advance, progress
from surgrec.core.errors import UserError
from surgrec.core.spans import Spans
from surgrec.data.mixture import Mixture
from surgrec.data.sampler import Sampler
from surgrec.hub.address import without_checksum
from surgrec.hub.archive import sums_in
from surgrec.hub.folder import SUMS_FILE, ReleaseError
from surgrec.training.folder import RunFolder
from surgrec.training.footage import Stretch, clusters_copy, footage_of, read_footage

_AT_ONCE = 1 << 18  # positions that are drawn together


@dataclass(frozen=True)
class MadeRelease:
    """A release that `surgrec export` made of a run: of which step, where to, and the SHA-256 of its list of checksums."""

    step: int
    path: str
    sums: str


@dataclass(frozen=True)
class RunSeen:
    """A run, asked for some videos.

    `first_seen`: after so many updates its weights had seen each of those that it drew. `begun_from`: what its weights began from, with
    `has_seen_at_begin` where that is a release which had seen one of them. `pictures`: a folder of pictures that may show them.
    `unknown`: why nothing can be told of it, where nothing can.
    """

    folder: Path
    unknown: str | None = None
    listed: frozenset[str] = frozenset()
    first_seen: dict[str, int] = field(default_factory=dict)
    checkpoints: tuple[int, ...] = ()
    releases: tuple[MadeRelease, ...] = ()
    begun_from: str | None = None
    has_seen_at_begin: bool = False
    pictures: Path | None = None

    def has_seen(self, step: int) -> bool:
        """Whether the weights after `step` updates have seen any of the videos."""
        return self.has_seen_at_begin or any(first <= step for first in self.first_seen.values())


def runs_that_saw(folder: Path, names: Set[str], hashes: Set[str] = frozenset()) -> list[RunSeen]:
    """All runs below `folder`, each asked for the videos `names`, or with bytes of these SHA-256 `hashes`.

    A run that began from a release of another has seen what that had.
    """
    runs = [_ask(file.parent, names, hashes) for file in sorted(folder.rglob("config.yaml")) if is_run(file.parent)]
    while True:
        seen = {
            (key, release)
            for run in runs
            for release in run.releases
            if run.has_seen(release.step)
            for key in _keys(release)
        }
        known = {key for key, _ in seen}
        news = [run for run in runs if not run.has_seen_at_begin and known & set(_keys_of_begin(run))]
        if not news:
            return runs
        runs = [_tainted(run) if run in news else run for run in runs]


def is_run(folder: Path) -> bool:
    """Whether it is a run folder, not some other that holds a `config.yaml`."""
    run = RunFolder(folder)
    return run.checkpoints.is_dir() or run.metrics_file.is_file() or run.footage_file.is_file()


def _ask(folder: Path, names: Set[str], hashes: Set[str]) -> RunSeen:
    try:
        return ask_run(folder, names, hashes)
    except UserError as error:
        return RunSeen(folder, unknown=str(error))


def ask_run(folder: Path, names: Set[str], hashes: Set[str] = frozenset()) -> RunSeen:
    """Ask one run for these videos, by id or bytes. Raises `UserError` where its configuration or what it drew from cannot be read."""
    run, config = RunFolder(folder), read_config(folder / "config.yaml")
    checkpoints = tuple(sorted(int(path.name[5:]) for path in run.checkpoints.glob("step_*")))
    releases = releases_of(run)
    stretches = footage_of(run)
    last = max([*checkpoints, *(release.step for release in releases), 0])
    listed: set[str] = set()
    first_seen: dict[str, int] = {}
    wanted, replaced = (names, hashes), _replacements(run)
    stops = [*(stretch.from_step for stretch in stretches[1:]), last]
    for stretch, stop in zip(stretches, stops, strict=False):
        found, drawn = _draws_of(run, config, stretch, min(stop, last), wanted, replaced)
        listed |= found
        first_seen |= {name: step for name, step in drawn.items() if name not in first_seen}
    return RunSeen(
        folder,
        unknown=None if stretches else "it is of a version that did not record its footage, or has not begun",
        listed=frozenset(listed),
        first_seen=first_seen,
        checkpoints=checkpoints,
        releases=releases,
        begun_from=config.init,
        pictures=run.previews if first_seen and run.previews.is_dir() else None,
    )


def videos_seen(run: RunFolder, step: int) -> dict[str, tuple[str, int]] | None:
    """All videos that the weights after `step` updates have seen: id to source, and after which update they first had.

    In the order in which they were seen; None where the run is of a version that did not record its footage.
    """
    stretches, config, replaced = footage_of(run), read_config(run.config_file), _replacements(run)
    if not stretches:
        return None
    seen: dict[str, tuple[str, int]] = {}
    stops = [*(stretch.from_step for stretch in stretches[1:]), step]
    total = spans_of(config).positions_before(step) // config.data.repeats
    with progress("asking which videos were drawn", total) as advance:
        for stretch, stop in zip(stretches, stops, strict=True):
            manifest = read_footage(run, stretch)
            sources = dict(zip(manifest.video_ids.tolist(), manifest.sources.tolist(), strict=True))
            wanted = (sources.keys(), frozenset[str]())
            _, drawn = _draws_of(run, config, stretch, min(stop, step), wanted, replaced, advance)
            seen |= {name: (sources[name], first) for name, first in drawn.items() if name not in seen}
    return dict(sorted(seen.items(), key=lambda one: (one[1][1], one[0])))


def releases_of(run: RunFolder) -> tuple[MadeRelease, ...]:
    """What `surgrec export` noted in the run folder."""
    if not run.releases_file.is_file():
        return ()
    return tuple(MadeRelease(**json.loads(line)) for line in run.releases_file.read_text().splitlines())


def note_release(run: RunFolder, step: int, release: Path) -> None:
    """Note in the run folder that `release` was made of the checkpoint of `step`; once for the same release in the same place."""
    made = MadeRelease(step, str(release.resolve()), _sums_of(release) or "")
    if made not in releases_of(run):
        run.add_release(vars(made))


# -- what was drawn


def _draws_of(
    run: RunFolder,
    config: Config,
    stretch: Stretch,
    stop_step: int,
    wanted: tuple[Set[str], Set[str]],
    replaced: dict[int, str],
    advance: Advance = lambda count=1, note="": None,
) -> tuple[set[str], dict[str, int]]:
    """Of one stretch: which of the `wanted` (ids, hashes) it lists, and after which update each was seen first."""
    manifest, spans, repeats = read_footage(run, stretch), spans_of(config), config.data.repeats
    ids = manifest.video_ids
    is_wanted = np.isin(ids, sorted(wanted[0])) | np.isin(manifest.column("sha256").astype(str), sorted(wanted[1]))
    listed = {str(name) for name in ids[is_wanted]}
    if not listed or stop_step <= stretch.from_step:
        return listed, {}
    if stretch.clusters is not None:  # as they were, not as the file that the configuration names is now
        config = replace(config, mix=replace(config.mix, clusters=str(clusters_copy(run, stretch.clusters))))
    mixture = build_mixture(config, manifest)
    # which video is drawn has nothing to do with a clip's length
    sampler = Sampler(mixture, config.seed, 0.0, config.data.clips_per_open)
    drawable = _drawable(mixture)
    sought = {str(name) for name in ids[drawable[is_wanted[drawable]]]}
    first, stop = (spans.positions_before(step) // repeats for step in (stretch.from_step, stop_step))
    positions: dict[str, int] = {}
    for position, name in sorted(replaced.items()):
        if name in listed and first <= position < stop:
            positions.setdefault(name, position)
    failed = np.array(sorted(replaced), dtype=np.int64)
    for chunk in _chunks(first, stop) if sought else ():
        rows = sampler.draw(chunk).rows
        is_seen = is_wanted[rows] & ~np.isin(chunk, failed)
        of_chunk, drawn_at = np.unique(rows[is_seen], return_index=True)  # the first draw of each
        for row, position in zip(of_chunk.tolist(), chunk[is_seen][drawn_at].tolist(), strict=True):
            name = str(ids[row])
            positions[name] = min(position, positions.get(name, position))
        advance(len(chunk))
        if sought <= positions.keys() and max(positions.values()) <= chunk[-1]:
            break
    return listed, {name: _update_of(spans, position * repeats) for name, position in positions.items()}


def _drawable(mixture: Mixture) -> npt.NDArray[np.int64]:
    """Manifest rows that are drawn at all: with usable footage, of a stratum with a share."""
    footage, is_drawn = mixture.footage, (mixture.strata.shares > 0).any(axis=0)
    has_weight = np.diff(mixture.draws.videos["sum"]) > 0
    return np.unique(footage.rows[np.repeat(is_drawn, np.diff(footage.first_video)) & has_weight])


def _chunks(first: int, stop: int) -> Iterator[np.ndarray]:
    """Positions first .. stop - 1: few at first, since most videos are drawn early."""
    size = 1 << 12
    while first < stop:
        yield np.arange(first, min(first + size, stop), dtype=np.int64)
        first, size = first + size, min(2 * size, _AT_ONCE)


def _update_of(spans: Spans, sample: int) -> int:
    """The number of the update, from 1, that learns from the sample at this position."""
    span = spans.phases[spans.number_of_position(sample)]
    return span.first_step + (sample - span.first_position) // span.batch + 1


def _replacements(run: RunFolder) -> dict[int, str]:
    """Clip position to the video that was read there, where the one drawn could not be."""
    if not run.failures_file.is_file():
        return {}
    *whole, _torn = run.failures_file.read_text().split("\n")  # a torn line is of a step that no checkpoint has
    return {line["position"]: line["replaced_by"] for line in map(json.loads, whole)}


# -- runs that begin from releases


def _keys(release: MadeRelease) -> list[str]:
    """By what a release is known: where it was written, and what it holds."""
    return [release.path, *([release.sums] if release.sums else [])]


def _keys_of_begin(run: RunSeen) -> list[str]:
    family, _, address = (run.begun_from or "").partition(":")
    if family != "surgrec":
        return []
    place, checksum = without_checksum(address)
    sums = [_sums_of(Path(place)), checksum.lower() if checksum else None]
    return [str(Path(place).expanduser().resolve()), *(each for each in sums if each)]


def _sums_of(release: Path) -> str | None:
    """The checksum of a release, a folder or an archive, where there is one."""
    try:
        content = sums_in(release) if release.suffix == ".zip" else (release / SUMS_FILE).read_bytes()
    except (OSError, ReleaseError):
        return None
    return hashlib.sha256(content).hexdigest()


def _tainted(run: RunSeen) -> RunSeen:
    return RunSeen(**(vars(run) | {"has_seen_at_begin": True}))
