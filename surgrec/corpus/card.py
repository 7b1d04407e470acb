"""The card of a source: the facts about a collection of videos that no file of it tells.

In: YAML files. Out: typed `Card`s. It is its own file because people write cards by hand: every key is checked, a misspelt
one is answered with the nearest that exists, and a card that contradicts itself or another is refused.

`name` and `domain` are enough for a card. One that lists `sources` is documented: each fact that it knows must then have a
source, and each pattern must fit the layout that it describes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from surgrec.corpus.card_values import advice, read_record
from surgrec.corpus.facts import (
    UNKNOWN,
    Access,
    Amounts,
    CardError,
    Example,
    GroupKind,
    Media,
    Overlap,
    PersonalData,
    Published,
    Source,
    Text,
    Texts,
    Unknown,
)
from surgrec.corpus.manifest import DOMAINS

__all__ = ["CARDS", "UNKNOWN", "Card", "CardError", "Unknown", "find_card", "load_card", "load_cards", "shipped_cards"]

_INSTALLED = Path(__file__).parent.parent / "_corpora"  # inside a wheel
CARDS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parent.parent.parent / "corpora"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RESOLUTION = re.compile(r"[1-9]\d*x[1-9]\d*")
_ARXIV = re.compile(r"\d{4}\.\d{4,5}")
_DOI = re.compile(r"10\.\d{4,}/\S+")

# What `sources` may speak of. `layout` covers the patterns and examples, which only write it down for the computer.
_SOURCED: tuple[str, ...] = (
    "procedures", "access", "licence", "media", "published", "fps", "resolution", "layout", "group", "split",
    "official_splits", "labels", "benchmarks", "personal_data",
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """Facts about one source; see corpora/README.md for what each key means. `UNKNOWN`: nobody has found out.

    `procedure`: what every video shows; `procedures`: what the source shows, of which each video shows some.
    `group_pattern`: a regular expression searched in each video's path below the root; its first group (or the one named
    `group`, or the whole match) tells which videos belong together: a patient, a case, a lesion (`group`). None: the videos
    of one folder belong together, and a video directly in the root stands alone.
    `file_pattern`: shell patterns of the paths to take, `*` crossing folders; empty: every file with a video's suffix.
    `split`: official splits, each with shell patterns of its paths. Raises `CardError` for what cannot be true.
    """

    name: str
    domain: str
    procedure: Text = UNKNOWN
    licence: Text = UNKNOWN
    group_pattern: str | None = None
    file_pattern: tuple[str, ...] = ()
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)
    citation: Text = UNKNOWN
    home: Text = UNKNOWN
    notes: str | None = None
    title: Text = UNKNOWN
    procedures: Texts = UNKNOWN
    specialty: Text = UNKNOWN
    access: Access | Unknown = UNKNOWN
    media: Media | Unknown = UNKNOWN
    published: Published = field(default_factory=Published)
    fps: Amounts = UNKNOWN
    resolution: Texts = UNKNOWN
    layout: Text = UNKNOWN
    group: GroupKind | Unknown = UNKNOWN
    official_splits: Text = UNKNOWN
    labels: Texts = UNKNOWN
    benchmarks: tuple[str, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    personal_data: PersonalData = field(default_factory=PersonalData)
    doi: Text = UNKNOWN
    arxiv: Text = UNKNOWN
    examples: tuple[Example, ...] = ()
    sources: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        _check_names(self)
        _check_procedures(self)
        _check_patterns(self)
        _check_forms(self)
        _check_overlaps(self)
        _check_examples(self)
        _check_sources(self)

    @property
    def is_documented(self) -> bool:
        """Whether the card says where its facts come from, as every card of a published source does."""
        return bool(self.sources)

    def takes(self, path: str) -> bool | None:
        """Whether `path` fits a file pattern; None where the card has none and leaves it to the suffix."""
        return any(fnmatchcase(path, pattern) for pattern in self.file_pattern) if self.file_pattern else None

    def group_of(self, path: str) -> str | None:
        """What the videos of a patient or case share in their `path` (relative, with slashes); None where nothing, or only the
        empty text, matches: that would put strangers into one group."""
        if self.group_pattern is None:
            return path.rpartition("/")[0] or path
        match = re.search(self.group_pattern, path)
        if match is None:
            return None
        named = match.groupdict().get("group")
        return (named if named is not None else match[1 if match.re.groups else 0]) or None

    def split_of(self, path: str) -> str | None:
        """The official split that `path` belongs to, the first that matches; None where the source has none for it."""
        for name, patterns in self.split.items():
            if any(fnmatchcase(path, pattern) for pattern in patterns):
                return name
        return None


# -- reading


def load_card(path: Path) -> Card:
    """Read a card. Raises `CardError` for a missing file, wrong YAML, a misspelt key or a value that cannot be true."""
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_LOADER)
    except FileNotFoundError:
        raise CardError(f"there is no card at {path}; see corpora/README.md for how to write one") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise CardError(f"the card {path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise CardError(f"the card {path} must be a list of `key: value` lines, with at least name and domain")
    try:
        if content.get("procedure") is not None and content.get("procedures") is not None:
            raise CardError("has procedure and procedures; write what every video shows, or the list, not both")
        card: Card = read_record(Card, content, "")
    except CardError as error:
        raise CardError(f"the card {path}: {error}") from None
    return card


def load_cards(folder: Path) -> dict[str, Card]:
    """The cards of a folder by name, in the order of names. Raises `CardError` for a name that two of them have."""
    paths = sorted(Path(folder).glob("*.yaml"))
    if not paths:
        raise CardError(f"there are no cards (*.yaml) in {folder}")
    return _by_name((path, load_card(path)) for path in paths)


def shipped_cards() -> dict[str, Card]:
    """The cards of published sources that come with this package, by name. The examples beside them are left out."""
    return dict(_read_shipped())


def find_card(name_or_path: str) -> Card:
    """The card at a path, or the shipped card of that name. Raises `CardError` where there is neither."""
    path = Path(name_or_path)
    if path.suffix.lower() in (".yaml", ".yml") or len(path.parts) > 1 or path.is_file():
        return load_card(path)
    return card_of(name_or_path, shipped_cards())


def card_of(name: str, cards: Mapping[str, Card]) -> Card:
    """The card `name`, or a `CardError` that names the nearest."""
    if name in cards:
        return cards[name]
    near = get_close_matches(name.lower(), cards, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "`surgrec corpora list` shows those that there are"
    raise CardError(f"there is no card of the name {name!r}; {hint}")


def contradictions(cards: Mapping[str, Card]) -> list[str]:
    """What the cards say of each other that cannot be: an overlap with a source that has no card, or told two ways."""
    found = []
    for card in cards.values():
        for overlap in card.overlaps:
            other = cards.get(overlap.source)
            if other is None:
                found.append(f"{card.name} overlaps with {overlap.source}, which has no card")
                continue
            told = [entry.how for entry in other.overlaps if entry.source == card.name]
            if told and told != [overlap.how]:
                found.append(f"{card.name} says {overlap.how} of {other.name}, which says {told[0]}")
    return found


@cache
def _read_shipped() -> dict[str, Card]:
    paths = sorted(path for path in CARDS.glob("*.yaml") if not path.name.startswith("example_"))
    return _by_name((path, load_card(path)) for path in paths)


def _by_name(cards: Iterable[tuple[Path, Card]]) -> dict[str, Card]:
    found: dict[str, tuple[Path, Card]] = {}
    for path, card in cards:
        if card.name.lower() in found:
            raise CardError(f"the cards {found[card.name.lower()][0]} and {path} have the same name, {card.name}")
        found[card.name.lower()] = (path, card)
    return {card.name: card for _, (_, card) in sorted(found.items())}


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same result, many times faster


# -- what cannot be true


def _check_names(card: Card) -> None:
    if not _NAME.fullmatch(card.name):
        raise CardError(f"the source name {card.name!r} must consist of letters, digits, dot, dash and underscore")
    if card.domain not in DOMAINS:
        raise CardError(f"the domain of source {card.name} is {card.domain!r}; choose one of {', '.join(DOMAINS)}")


def _check_procedures(card: Card) -> None:
    """One procedure is also the list of it, and a list of one also the procedure."""
    if isinstance(card.procedures, Unknown):
        if isinstance(card.procedure, str):
            object.__setattr__(card, "procedures", (card.procedure,))
        return
    if len(set(card.procedures)) < len(card.procedures):
        raise CardError(f"procedures names one twice: {', '.join(card.procedures)}")
    if isinstance(card.procedure, str) and card.procedure not in card.procedures:
        raise CardError(f"the procedure {card.procedure!r} is not among procedures: {', '.join(card.procedures)}")
    if len(card.procedures) == 1:
        object.__setattr__(card, "procedure", card.procedures[0])


def _check_patterns(card: Card) -> None:
    if card.group_pattern is not None:
        _check_group_pattern(card)
    named = [("file_pattern", pattern) for pattern in card.file_pattern]
    named += [(f"split.{name}", pattern) for name, patterns in card.split.items() for pattern in patterns]
    for key, pattern in named:
        if not pattern or re.search(r"^\.{0,2}/|/$|//|/\.{1,2}/|\\", pattern):
            raise CardError(
                f"{key} {pattern!r} fits no path: paths are relative to the root, with single slashes, and name files"
            )
    owner: dict[str, str] = {}
    for name, patterns in card.split.items():
        for pattern in patterns:
            if owner.setdefault(pattern, name) != name:
                raise CardError(f"the pattern {pattern!r} is in the splits {owner[pattern]} and {name}")


def _check_group_pattern(card: Card) -> None:
    assert card.group_pattern is not None
    try:
        matches_nothing = re.search(card.group_pattern, "") is not None
    except re.error as error:
        raise CardError(f"the group_pattern of source {card.name} is no regular expression: {error}") from None
    if matches_nothing:
        raise CardError(
            f"group_pattern {card.group_pattern!r} also matches nothing, which puts every video in one group"
        )
    if card.is_documented and card.group is UNKNOWN:
        raise CardError("group_pattern reads a group that the card calls unknown; say what it is in group")


def _check_forms(card: Card) -> None:
    if not isinstance(card.fps, Unknown) and not all(0 < rate < float("inf") for rate in card.fps):
        raise CardError(f"fps must be above 0, not {', '.join(map(str, card.fps))}")
    if not isinstance(card.resolution, Unknown):
        for size in card.resolution:
            if not _RESOLUTION.fullmatch(size):
                raise CardError(f"resolution {size!r} must read WIDTHxHEIGHT, for instance 1920x1080")
    if isinstance(card.arxiv, str) and not _ARXIV.fullmatch(card.arxiv):
        raise CardError(f"arxiv {card.arxiv!r} must be a number such as '1602.03012', in quotes")
    if isinstance(card.doi, str) and not _DOI.fullmatch(card.doi):
        raise CardError(
            f"doi {card.doi!r} must be one such as 10.1038/s41597-021-00882-2, without an address before it"
        )


def _check_overlaps(card: Card) -> None:
    told = [overlap.source for overlap in card.overlaps]
    if card.name in told:
        raise CardError(f"the source {card.name} overlaps with itself")
    if twice := sorted({source for source in told if told.count(source) > 1}):
        raise CardError(f"overlaps names {', '.join(twice)} twice")


def _check_examples(card: Card) -> None:
    if card.is_documented and card.layout is UNKNOWN and (card.examples or card.file_pattern or card.group_pattern):
        raise CardError(
            "the layout is unknown, but file_pattern, group_pattern or examples tell it; describe it in layout"
        )
    for example in card.examples:
        if card.takes(example.path) is False:
            raise CardError(f"file_pattern does not take the example {example.path}")
        if (found := card.group_of(example.path)) != example.group:
            raise CardError(f"the group of the example {example.path} is read as {found!r}, not {example.group!r}")
        if (found := card.split_of(example.path)) != example.split:
            raise CardError(f"the split of the example {example.path} is read as {found!r}, not {example.split!r}")


def _check_sources(card: Card) -> None:
    """Every fact that a documented card knows has a source, and no source speaks of a fact that the card does not know."""
    known = known_facts(card)
    cited: set[str] = set()
    for source in card.sources:
        for fact in source.facts:
            key, _, part = fact.partition(".")
            if key not in _SOURCED:
                raise CardError(f"sources speaks of {fact!r}; {advice(fact, _SOURCED)}")
            if not any(entry == fact or (not part and entry.partition(".")[0] == key) for entry in known):
                raise CardError(f"sources has a source of {fact}, which the card does not know")
            cited |= {entry for entry in known if entry == fact or (not part and entry.partition(".")[0] == key)}
    if card.is_documented and (uncited := [fact for fact in known if fact not in cited]):
        raise CardError(f"no source is given for {', '.join(uncited)}; add it to sources, or write unknown")


def known_facts(card: Card) -> list[str]:
    """The facts that the card knows and must have a source for; counts and findings one by one, as `published.hours`."""
    known = []
    for key in _SOURCED:
        value = getattr(card, key)
        if isinstance(value, (Published, PersonalData)):
            parts = [entry.name for entry in fields(value) if getattr(value, entry.name) is not UNKNOWN]
            known += [f"{key}.{part}" for part in parts]
        elif value is not None and value is not UNKNOWN and len(value):
            known.append(key)
    return known
