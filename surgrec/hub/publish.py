"""Giving a release away: to the Hugging Face hub, to a folder, or as one file.

In: a release folder and where it is to go. Out: a plan, and once it is carried out, the release there. It is its own file because what is
published cannot be taken back: the release is verified and loaded first, what is there already is looked at, and nothing but this very
release is ever replaced without being told. Everything goes in one piece: one commit on the hub, one rename on a disk.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import yaml

from surgrec.core.atomic import partial_folder, sync_path
from surgrec.core.lock import only_writer
from surgrec.core.wording import sized
from surgrec.hub import folder as layout
from surgrec.hub.archive import pack, sums_in
from surgrec.hub.card_footage import UNKNOWN
from surgrec.hub.contents import ReleaseError
from surgrec.hub.folder import checksum_of, parse_sums, read_sums, verify
from surgrec.hub.hub_download import hub_client, hub_errors, told
from surgrec.hub.load import load_release


class There(Enum):
    """What is at the place where a release is to go."""

    nothing = "nothing is there yet"
    same = "exactly this release is there"
    other = "another release is there"
    foreign = "something else is there"


@dataclass(frozen=True)
class Found:
    """`there`, and which files of it would go; `state`: what must still be so when it is replaced (a commit of the hub)."""

    there: There
    lost: tuple[str, ...] = ()
    state: str | None = None


class Place(Protocol):
    """Where releases go."""

    @property
    def name(self) -> str:
        """How users call it."""
        ...

    def look(self, release: Path) -> Found:
        """What is there; changes nothing."""
        ...

    def put(self, release: Path, found: Found) -> str:
        """Put the release there; what was `found` goes. Returns where it is now, pinned where it can be."""
        ...


@dataclass(frozen=True)
class Checked:
    """A release that was verified and loaded: its checksum, files and sizes, and what whoever publishes it should know."""

    folder: Path
    checksum: str
    sizes: dict[str, int]
    remarks: tuple[str, ...]

    @property
    def size(self) -> str:
        """Of all files together."""
        return sized(sum(self.sizes.values()))


def check_release(folder: Path) -> Checked:
    """Verify a release, load its encoder, read its card. Raises `ReleaseError` for one that nobody could use."""
    names = sorted([*verify(folder), layout.SUMS_FILE])
    config = load_release(folder).config
    for name in (layout.CARD_FILE, layout.CITATION_FILE):
        if name not in names:
            raise ReleaseError(f"{folder} has no {name}, without which nobody should publish weights; export it again")
    front = _front_matter(folder)
    sizes = {name: (folder / name).stat().st_size for name in names}
    return Checked(folder, checksum_of(folder), sizes, tuple(_remarks(folder, front, config, names)))


def refuse_loss(place: Place, found: Found, replace: bool) -> None:
    """Raise `ReleaseError` where publishing would overwrite anything else than the same release, and nobody said so."""
    if found.there in (There.other, There.foreign) and not replace:
        shown = ", ".join(found.lost[:5]) + (f" and {len(found.lost) - 5} more" if len(found.lost) > 5 else "")
        raise ReleaseError(
            f"{place.name}: {found.there.value} ({shown or 'without files'}); choose another place, or say --replace to lose it"
        )


def refuse_within(release: Path, place: Path) -> None:
    """Raise `ReleaseError` where one lies in the other: a release with something more in it is refused by whoever reads it, and one that
    lies in what is replaced is gone."""
    inner, outer = place.resolve(), release.resolve()
    if outer in inner.parents or inner in outer.parents:
        raise ReleaseError(f"{place} and the release {release} lie one within the other; choose another place")


def _front_matter(folder: Path) -> dict[str, Any]:
    """What the hub reads of a card."""
    parts = (folder / layout.CARD_FILE).read_text(encoding="utf-8").split("---\n", 2)
    try:
        front = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:
        front = None
    if not isinstance(front, dict) or not front.get("license"):
        raise ReleaseError(
            f"{folder / layout.CARD_FILE} does not begin with YAML between two lines of ---, or names no license there; mend it and "
            f"renew its line in {layout.SUMS_FILE}"
        )
    return front


def _remarks(folder: Path, front: dict[str, Any], config: dict[str, Any], names: list[str]) -> list[str]:
    card = (folder / layout.CARD_FILE).read_text(encoding="utf-8")
    found = [each["name"] for each in config.get("downstream", ()) if each.get("status") == "found"]
    num_unknown = sum("unknown" in line.lower() for line in card.splitlines())
    remarks = {
        "the licence of the weights is unknown, so nobody may use them; export with --license": front["license"]
        == UNKNOWN,
        "the starting weights forbid commercial use, and these keep that": "no commercial use" in card,
        f"the footage shows test material of {', '.join(found)}": bool(found),
        "allow_contamination was set in training": config.get("allow_contamination") is True,
        "which videos it has seen is not listed": layout.SEEN_FILE not in names,
        f"{num_unknown} lines of the card say that something is unknown; fill in what you know": num_unknown > 0,
    }
    return [remark for remark, holds in remarks.items() if holds]


def _found(theirs: dict[str, str] | None, names: list[str], release: Path, state: str | None = None) -> Found:
    """`theirs`: digests by name where a `SHA256SUMS` is there; `names` of all files there."""
    if not names:
        return Found(There.nothing, (), state)
    if theirs is None:
        return Found(There.foreign, tuple(sorted(names)), state)
    ours = read_sums(release)
    if theirs == ours and set(names) == {*ours, layout.SUMS_FILE}:
        return Found(There.same, (), state)
    return Found(There.other, tuple(sorted(names)), state)


@dataclass(frozen=True)
class FolderPlace:
    """A folder on a disk, such as one that a web server shows."""

    path: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def look(self, release: Path) -> Found:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise ReleaseError(f"{self.path} is no folder; choose another --folder")
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        try:
            found = _found(read_sums(self.path) if layout.SUMS_FILE in names else None, names, release)
        except ReleaseError:
            return Found(There.foreign, tuple(sorted(names)))
        if found.there is There.same:
            verify(self.path)  # a damaged copy is not called the same
        return found

    def put(self, release: Path, found: Found) -> str:
        with only_writer(self.path):
            if self.look(release) != found:
                raise ReleaseError(f"{self.path} has changed meanwhile; look again")
            partial = partial_folder(self.path)
            old = partial.with_name(f"{partial.name}.old")
            try:
                for name in [*read_sums(release), layout.SUMS_FILE]:
                    shutil.copyfile(release / name, partial / name)
                    sync_path(partial / name)
                verify(partial, checksum_of(release))
                sync_path(partial)
                if found.lost:
                    self.path.rename(old)
                partial.rename(self.path)  # replaces an empty folder
                sync_path(self.path.parent)
            finally:
                if old.exists() and not self.path.exists():
                    old.rename(self.path)
                shutil.rmtree(partial, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
        return f"{self.path}#sha256={checksum_of(release)}"


@dataclass(frozen=True)
class ArchivePlace:
    """A release as one file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def look(self, release: Path) -> Found:
        if self.path.suffix.lower() != ".zip":
            raise ReleaseError(
                f"{self.path} does not end in .zip, by which archives of releases are known; choose another --zip"
            )
        if not self.path.exists():
            return Found(There.nothing)
        try:
            content = sums_in(self.path)
        except ReleaseError:
            return Found(There.foreign, (self.path.name,))
        if parse_sums(content, self.path) != read_sums(release):
            return Found(There.other, (self.path.name,))
        return Found(There.same)

    def put(self, release: Path, found: Found) -> str:
        pack(release, self.path)
        return f"{self.path}#sha256={checksum_of(release)}"


class HubPlace:
    """A repository of models on the Hugging Face hub; who may write there is the business of its client (`hf auth login`)."""

    def __init__(self, name: str, is_private: bool = True) -> None:
        self.name, self._is_private, self._client = name, is_private, hub_client(name)

    def look(self, release: Path) -> Found:
        api = self._client.HfApi()
        try:
            if not api.repo_exists(self.name):
                return Found(There.nothing)
            info = api.model_info(self.name)
            names = [file.rfilename for file in info.siblings or () if file.rfilename != ".gitattributes"]
            sums = None
            if layout.SUMS_FILE in names:
                path = self._client.hf_hub_download(self.name, layout.SUMS_FILE, revision=info.sha)
                sums = parse_sums(Path(path).read_bytes(), f"{layout.SUMS_FILE} of {self.name}")
        except hub_errors() as error:
            raise ReleaseError(
                f"the hub did not tell what is in {self.name} ({told(error)}); check the name and the connection"
            ) from None
        return _found(sums, names, release, info.sha)

    def put(self, release: Path, found: Found) -> str:
        api, client = self._client.HfApi(), self._client
        ours = [*read_sums(release), layout.SUMS_FILE]
        operations = [client.CommitOperationAdd(path_in_repo=name, path_or_fileobj=release / name) for name in ours]
        operations += [client.CommitOperationDelete(path_in_repo=name) for name in found.lost if name not in ours]
        try:
            if found.state is None:  # an error where somebody else has made it meanwhile
                api.create_repo(self.name, private=self._is_private)
            made = api.create_commit(
                self.name,
                operations,
                commit_message=f"Release {checksum_of(release)[:12]}",
                parent_commit=found.state,
            )
        except hub_errors() as error:
            raise ReleaseError(
                f"the hub did not take the release for {self.name} ({told(error)}); is the client logged in (`hf auth login`) and may "
                "it write there? If somebody else has changed it meanwhile, look again"
            ) from None
        return f"{self.name}@{made.oid}"
