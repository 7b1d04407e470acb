"""What the release of a run may and must say of its footage.

In: a run folder with its configuration, and a step. Out: sources, ids seen, test material, fit to be published. It is its own file because
it is where private tables (manifests with paths, verdicts) meet public text: what a person typed is left out here where the name of an
original file stands in it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from surgrec.config.schema import Config
from surgrec.config.seen import videos_seen
from surgrec.core.errors import UserError
from surgrec.corpus.card import shipped_cards
from surgrec.corpus.contamination import plain_name, read_test_set
from surgrec.corpus.downstream import Downstream, downstream_sets
from surgrec.corpus.gate import Standing, standing_of_footage
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.original_names import OriginalNames
from surgrec.corpus.verdict import known_beside
from surgrec.data.mixture import MixtureTable
from surgrec.hub.address import Kind, parse_address
from surgrec.hub.card_footage import Footage, SeenVideo, TrainingSource
from surgrec.hub.card_results import Result
from surgrec.hub.folder import CONFIG_FILE, SEEN_FILE, ReleaseError, verify
from surgrec.training.folder import RunFolder
from surgrec.training.footage import footage_of, footage_until, read_footage

_FREE_TEXT = ("mix.", "probe.")  # settings whose values people make up
_LEFT_OUT = "stated, but left out here because it names a file"


class ReleasedFootage:
    """The footage of the run in `folder`, until `step`, in words for everybody."""

    def __init__(self, folder: RunFolder, config: Config, step: int) -> None:
        self._folder, self._config, self._step = folder, config, step
        self._manifest = Manifest.read([Path(path) for path in config.mix.manifests])
        self._names = OriginalNames(self._manifest)
        self._cards = shipped_cards()

    def footage(self) -> Footage:
        """All but the sources."""
        seen, is_whole = self._seen()
        return Footage(
            fingerprints=footage_until(self._folder, self._step),
            standings=self._folder.standings(),
            is_allowed=self._config.allow_contamination,
            downstream=self._downstream(),
            seen=seen,
            is_whole=is_whole,
        )

    def sources(self, table: MixtureTable, drawn: Mapping[str, int]) -> tuple[TrainingSource, ...]:
        """Hours and shares as configured, clips as drawn, licences as the manifests say."""
        licences = self._licences()
        return tuple(
            TrainingSource(self._public[name], float(hours), float(share), drawn.get(name, 0), licences.get(name))
            for name, hours, share in zip(table.sources, table.hours, table.shares, strict=True)
        )

    def distance(self, lines: Iterable[str]) -> tuple[str, ...]:
        """Lines `key old -> new`, without the values that name a file."""
        return tuple(
            f"{line.partition(' ')[0]} (changed; the value is local)"
            if line.startswith(_FREE_TEXT) and self._names.are_in(line.partition(" ")[2])
            else line
            for line in lines
        )

    def refuse_names(self, results: Iterable[Result]) -> None:
        """Raise `UserError` for results that name a file."""
        for number, one in enumerate(results):
            if any(self._names.are_in(text) for text in (one.task, one.data, one.metric, one.note)):
                raise UserError(
                    f"entry {number} of the results names a file of the corpus, which no card may; word it otherwise"
                )

    @cached_property
    def _public(self) -> dict[str, str]:
        """Source to the name by which it is published: its own, unless that is the name of a file and not of a published source."""
        trained = [str(name) for each in self._trained for name in each.sources]
        names = sorted({*self._manifest.sources.tolist(), *trained})
        published = {plain_name(name) for name in self._cards}
        return {
            name: f"source-{number}" if self._names.are_in(name) and plain_name(name) not in published else name
            for number, name in enumerate(names, 1)
        }

    def _public_id(self, video_id: str, source: str) -> str:
        """Ids begin with the name of their source, which may not be published; what tells one video from another comes after it."""
        rest = video_id.removeprefix(f"{source}_")
        return video_id if self._public[source] == source or rest == video_id else f"{self._public[source]}_{rest}"

    @cached_property
    def _trained(self) -> list[Manifest]:
        """What was trained on, as the run noted it; with what only the manifests tell, of the videos that they still list."""
        listed = dict(zip(self._manifest.ids, range(len(self._manifest)), strict=True))
        original, lasting = (self._manifest.table[name] for name in ("original_sha256", "duration_seconds"))
        found = []
        for stretch in footage_of(self._folder):
            if stretch.from_step < max(self._step, 1):
                table = read_footage(self._folder, stretch).table
                rows = pa.array([listed.get(name) for name in table["video_id"].to_pylist()], pa.int64())
                table = table.append_column("original_sha256", original.take(rows))
                found.append(Manifest(table.append_column("duration_seconds", lasting.take(rows).fill_null(0.0))))
        return found

    def _licences(self) -> dict[str, str]:
        """Of each source, where every one of its videos has one."""
        found: dict[str, set[str | None]] = {}
        licences = self._manifest.table["licence"].to_pylist()
        for source, licence in zip(self._manifest.sources.tolist(), licences, strict=True):
            found.setdefault(source, set()).add(licence)
        texts = {source: ", ".join(sorted(map(str, names))) for source, names in found.items() if None not in names}
        return {source: _LEFT_OUT if self._names.are_in(text) else text for source, text in texts.items()}

    def _downstream(self) -> tuple[Downstream, ...]:
        if not self._trained:
            return downstream_sets(sorted(set(self._public)), None, self._cards)
        return downstream_sets(
            sorted({str(name) for each in self._trained for name in each.sources}), self._standing(), self._cards
        )

    def _standing(self) -> Standing:
        """By all audits until now. Held-out manifests that are gone add nothing: what was known of them in training is told apart."""
        mix = self._config.mix
        tests = [read_test_set(Path(path), mix.held_out_splits) for path in mix.held_out if Path(path).is_file()]
        return standing_of_footage(self._trained, tests, known_beside([Path(path) for path in mix.manifests]))

    def _seen(self) -> tuple[tuple[SeenVideo, ...] | None, bool]:
        """What the run has seen, and before it the release that it began with, where that lists it; and whether that is all."""
        own = videos_seen(self._folder, self._step)
        if own is None:
            return None, False
        before, is_whole = seen_before(self._config.init)
        known = {one.video_id for one in before}
        rows = [
            SeenVideo(self._public_id(name, source), self._public[source], first)
            for name, (source, first) in own.items()
        ]
        return (*before, *(row for row in rows if row.video_id not in known)), is_whole


def seen_before(init: str | None) -> tuple[list[SeenVideo], bool]:
    """What the release that `init` names lists, and whether that is all. Nothing where that very release is not there any more."""
    if init is None:
        return [], True
    family, _, text = init.partition(":")
    if family != "surgrec":
        return [], False
    try:
        address = parse_address(text)
        file = address.path / SEEN_FILE
        if address.kind is not Kind.folder or not file.is_file():
            return [], False
        verify(address.path, address.checksum)
    except ReleaseError:  # it is gone since, or another one is there: the card says that its videos are not listed
        return [], False
    with file.open(encoding="utf-8", newline="") as rows:
        seen = [SeenVideo(row["video_id"], row["source"], 0) for row in csv.DictReader(rows)]
    return seen, json.loads((address.path / CONFIG_FILE).read_text()).get("seen_is_whole") is True


def results_of_probe(folder: RunFolder, step: int) -> tuple[Result, ...]:
    """The last score of the run's own probe until `step`, where it had one."""
    if not folder.metrics_file.is_file():
        return ()
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines() if '"probe_knn"' in line]
    scored = [line for line in lines if line["step"] <= step and line.get("probe_knn") is not None]
    if not scored:
        return ()
    last = scored[-1]
    note = (
        f"k-NN on frozen features during training, after step {last['step']}, folds by case, {last['probe_windows']:.0f} windows; "
        f"chance {last['probe_chance']:.4g}"
    )
    return (
        Result(
            "labels of windows", "labelled windows of the run", "balanced accuracy", float(last["probe_knn"]), note=note
        ),
    )
