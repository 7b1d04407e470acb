"""A release is the same release from a folder, an archive, a web server or the hub; its pins hold; archives unpack nothing unasked."""

from __future__ import annotations

import stat
import warnings
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.hub.address import Kind, parse_address
from surgrec.hub.archive import pack
from surgrec.hub.fetch import cache_folder
from surgrec.hub.folder import checksum_of, sums_text
from surgrec.hub.load import load_model, load_release
from tests.hub.build import small_release, written
from tests.hub.fake_hub import FakeHub, fake_hub, files_of, serving

__all__ = ["fake_hub"]
NAME = "surgeons/surgrec-jepa"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("release") / "release")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SURGREC_CACHE", str(tmp_path / "cache"))
    return cache_folder()


def names_in(folder: Path) -> list[str]:
    """What lies there, hidden or not."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class Web:
    """Files on a web server, by path; what was asked; and how many bytes it sends of a file before the connection breaks."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.breaks_after: int | None = None
        self.url = ""

    def put(self, folder: Path, at: str) -> str:
        """Serve the files of a folder; returns the URL of its list."""
        self.files |= {f"{at}/{name}": data for name, data in files_of(folder).items()}
        return f"{self.url}{at}/SHA256SUMS"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                path, span = self.path.partition("?")[0], self.headers.get("Range")
                web.asked.append((path.rsplit("/", 1)[1], span))
                if path in web.redirects:
                    self.send_response(302)
                    self.send_header("Location", web.redirects[path])
                    return self.end_headers()
                if path not in web.files:
                    return self.send_error(404)
                data = web.files[path]
                first = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
                if span and first >= len(data):
                    return self.send_error(416)
                self.send_response(206 if span else 200)
                self.send_header("Content-Length", str(len(data) - first))
                self.end_headers()
                stop = len(data)
                if web.breaks_after is not None and len(data) > web.breaks_after:
                    stop, web.breaks_after = first + web.breaks_after, None
                self.wfile.write(data[first:stop])
                return None

        return Handler


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    with serving(web.handler()) as url:
        web.url = url
        yield web


def weights(*arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
    return load_model(*arguments, **options)[0].state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def unwarned(*arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
    """Loading says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return weights(*arguments, **options)


# -- addresses


def test_pins_stand_in_the_address_or_beside_it(release: Path, tmp_path: Path) -> None:
    checksum, commit = "ab" * 32, "c" * 40
    assert parse_address(f"{NAME}@{commit}#sha256={checksum}") == parse_address(NAME, commit, checksum.upper())
    assert parse_address(NAME, "v1").kind is Kind.hub and parse_address(release).kind is Kind.folder
    address = parse_address(f"https://example.org/a/SHA256SUMS?download=1#sha256={checksum}")
    assert (address.kind, address.checksum) == (Kind.list_url, checksum) and address.place.endswith("=1")
    odd = tmp_path / f"a@b#sha256={checksum}"
    odd.mkdir()
    assert parse_address(odd).place == str(odd) and parse_address(odd).checksum is None
    for text, revision, wrong, sentence in (
        (f"{NAME}@v1", "v2", None, "says revision v1 and the argument v2"),
        (f"{NAME}#sha256={checksum}", None, "0" * 64, "says checksum"),
        (NAME, None, "abc", "64 hexadecimal digits"),
        ("https://example.org/a.zip", "v1", None, "no revisions"),
        (str(release), "v1", None, "no revisions"),
        ("ftp://example.org/a.zip", None, None, "begins with https"),
        ("https://example.org/model.bin", None, None, r"neither the SHA256SUMS .* nor a \.zip"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse_address(text, revision, wrong)


def test_the_checksum_stands_for_every_byte(release: Path, tmp_path: Path) -> None:
    checksum = checksum_of(release)
    assert same(unwarned(release, checksum=checksum), weights(release))
    assert load_release(f"{release}#sha256={checksum}").checksum == checksum
    other = written(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=f"is another release than was asked for: its checksum is {checksum_of(other)}"):
        load_model(other, checksum=checksum)


# -- archives


def test_an_archive_is_the_folder_and_the_same_each_time(release: Path, tmp_path: Path, cache: Path) -> None:
    for name in ("a.zip", "b.zip"):
        pack(release, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert same(unwarned(tmp_path / "a.zip"), weights(release))
    (kept,) = [path for path in cache.iterdir() if not path.name.startswith(".")]
    assert kept.name == checksum_of(release) and files_of(kept) == files_of(release)
    assert names_in(cache) == [kept.name], "nothing temporary is left"


def test_an_archive_of_the_folder_itself_is_read_too(release: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in release.iterdir():
            file.write(path, f"release/{path.name}")
    assert same(weights(tmp_path / "a.zip"), weights(release))


def packed(folder: Path, archive: Path, **more: bytes) -> Path:
    """An archive with more in it than the release; names with `__` for slashes."""
    pack(folder, archive)
    with zipfile.ZipFile(archive, "a") as file:
        for name, data in more.items():
            file.writestr(name, data)
    return archive


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../out.json", "a path of its own"),
        ("/tmp/out.json", "a path of its own"),
        ("a/out.json", "a path of its own"),
        ("..\\out.json", "a path of its own"),
        ("Config.json", "twice"),
        ("extra.json", "does not list"),
        ("model.pt", "a pickle"),
        (".hidden", "no part of a release"),
    ],
)
def test_an_archive_with_more_in_it_is_not_unpacked(
    release: Path, tmp_path: Path, cache: Path, name: str, sentence: str
) -> None:
    archive = packed(release, tmp_path / "a.zip", **{name: b"{}"})
    with pytest.raises(UserError, match=sentence):
        load_model(archive)
    assert names_in(cache) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["a.zip"]


def test_links_bombs_and_torn_archives_are_not_unpacked(release: Path, tmp_path: Path, cache: Path) -> None:
    pack(release, tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "link.zip", "a") as file:
        link = zipfile.ZipInfo("link.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("SHA256SUMS", f"{'0' * 64}  encoder.safetensors\n")
        file.writestr("encoder.safetensors", bytes(1 << 27))
    (tmp_path / "torn.zip").write_bytes((tmp_path / "link.zip").read_bytes()[:-300])
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as file:
        file.writestr("config.json", "{}")
    for name, sentence in (
        ("link", "a link"),
        ("bomb", "unpacks to 134,217,728"),
        ("torn", "no whole zip"),
        ("none", "no SHA256SUMS"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_model(tmp_path / f"{name}.zip")
    assert names_in(cache) == []


def test_a_changed_byte_in_an_archive_is_refused_by_name(release: Path, tmp_path: Path, cache: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name, data in files_of(release).items():
            file.writestr(
                name, data.replace(b"feature-extraction", b"feature_extraction") if name == "README.md" else data
            )
    with pytest.raises(UserError, match=r"README\.md in .* is not the file"):
        load_model(tmp_path / "a.zip")
    assert names_in(cache) == []


# -- web servers


def test_from_a_web_server_only_what_is_listed_is_fetched_and_a_pin_is_fetched_once(release: Path, web: Web) -> None:
    url, checksum = web.put(release, "/jepa"), checksum_of(release)
    web.files["/jepa/notes.txt"] = b"not of the release"
    with pytest.warns(UserWarning, match=f"is not pinned, .*#sha256={checksum}$"):
        first = weights(url)
    assert same(first, weights(release)) and {name for name, _ in web.asked} == set(files_of(release))
    asked = len(web.asked)
    assert same(unwarned(url, checksum=checksum), first) and same(unwarned(f"{url}#sha256={checksum}"), first)
    assert len(web.asked) == asked, "a pinned release that is in the cache is not asked for"
    with pytest.raises(UserError, match="is another release than was asked for"):
        load_model(url, checksum="0" * 64)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("name", ["SHA256SUMS", "config.json"])
def test_damage_inside_a_compressed_archive_is_told(kind: int, name: str, release: Path, tmp_path: Path) -> None:
    """The release may have been packed by somebody else's program."""
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w", kind) as file:
        for path in sorted(release.iterdir()):
            file.write(path, path.name)
        entry = file.getinfo(name)
    first = entry.header_offset + 30 + len(name)  # of its data: the header of an entry has 30 bytes and the name
    content = bytearray(archive.read_bytes())
    content[first : first + entry.compress_size] = b"\xff" * entry.compress_size
    archive.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} in .* cannot be unpacked"):
        load_release(archive)


def test_an_archive_from_a_web_server(release: Path, web: Web, tmp_path: Path, cache: Path) -> None:
    pack(release, tmp_path / "jepa.zip")
    web.files["/jepa.zip"] = (tmp_path / "jepa.zip").read_bytes()
    url, checksum = f"{web.url}/jepa.zip", checksum_of(release)
    assert same(unwarned(url, checksum=checksum), weights(release)) and same(
        unwarned(url, checksum=checksum), weights(release)
    )
    assert web.asked == [("jepa.zip", None)] and names_in(cache) == [checksum]


def test_a_broken_connection_is_gone_on_with(release: Path, web: Web) -> None:
    url, checksum = web.put(release, "/jepa"), checksum_of(release)
    web.breaks_after = len(web.files["/jepa/encoder.safetensors"]) // 2
    with pytest.raises(UserError, match=r"encoder\.safetensors ended after .* run the same again"):
        load_model(url, checksum=checksum)
    before = len(web.asked)
    assert same(unwarned(url, checksum=checksum), weights(release))
    assert ("encoder.safetensors", f"bytes={len(web.files['/jepa/encoder.safetensors']) // 2}-") in web.asked[before:]
    assert "CITATION.cff" not in {name for name, _ in web.asked[before:]}, "what was whole is not fetched again"


def test_a_broken_download_of_an_archive_is_gone_on_with(release: Path, web: Web, tmp_path: Path, cache: Path) -> None:
    pack(release, tmp_path / "jepa.zip")
    web.files["/jepa.zip"] = (tmp_path / "jepa.zip").read_bytes()
    url, checksum = f"{web.url}/jepa.zip", checksum_of(release)
    web.breaks_after = half = len(web.files["/jepa.zip"]) // 2
    with pytest.raises(UserError, match=r"jepa\.zip ended after .* run the same again, which goes on from there"):
        load_model(url, checksum=checksum)
    assert same(unwarned(url, checksum=checksum), weights(release))
    assert web.asked == [("jepa.zip", None), ("jepa.zip", f"bytes={half}-")] and names_in(cache) == [checksum]


def test_a_server_that_refuses_every_range_is_one_sentence() -> None:
    class Refusing(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(416)

    with serving(Refusing) as url:
        for name in ("SHA256SUMS", "jepa.zip"):
            with pytest.raises(UserError, match="was not given: 416"):
                load_model(f"{url}/{name}")


def test_a_changed_byte_on_a_web_server_is_refused_by_name(release: Path, web: Web, cache: Path) -> None:
    url = web.put(release, "/jepa")
    data = bytearray(web.files["/jepa/predictor.safetensors"])
    data[-1] ^= 1
    web.files["/jepa/predictor.safetensors"] = bytes(data)
    with pytest.raises(UserError, match=r"predictor\.safetensors of .* is not the file that SHA256SUMS lists"):
        load_model(url)
    assert [name for name in names_in(cache) if not name.startswith(".")] == []


def test_a_listed_pickle_is_refused_before_it_is_fetched(release: Path, web: Web) -> None:
    url = web.put(release, "/jepa")
    web.files["/jepa/SHA256SUMS"] += f"{'0' * 64}  model.pt\n".encode()
    with pytest.raises(UserError, match=r"model\.pt, a pickle"):
        load_model(url)
    assert web.asked == [("SHA256SUMS", None)]


def test_what_is_absent_or_not_encrypted_is_one_sentence(web: Web) -> None:
    with pytest.raises(UserError, match="was not given: 404"):
        load_model(f"{web.url}/none/SHA256SUMS")
    with pytest.raises(UserError, match="is not encrypted"):
        load_model("http://example.org/jepa/SHA256SUMS")
    web.redirects["/a/SHA256SUMS"] = "http://example.org/a/SHA256SUMS"
    web.redirects["/b/SHA256SUMS"] = "file:///etc/SHA256SUMS"
    for path, sentence in (("a", "is not encrypted"), ("b", "was not given: 302")):
        with pytest.raises(UserError, match=sentence):
            load_model(f"{web.url}/{path}/SHA256SUMS")
    with pytest.raises(UserError, match="cannot be fetched"):
        load_model("http://127.0.0.1:9/SHA256SUMS")


# -- the hub


def test_from_the_hub_at_a_commit_and_then_from_the_cache(release: Path, fake_hub: FakeHub, tmp_path: Path) -> None:
    commit = fake_hub.commit(NAME, files_of(release) | {".gitattributes": b"*.safetensors filter=lfs\n"})
    newer = fake_hub.commit(NAME, files_of(written(tmp_path / "newer", seed=1)))
    pinned = unwarned(f"{NAME}@{commit}")
    assert same(pinned, weights(release)) and set(fake_hub.fetched) == set(files_of(release))
    asked = len(fake_hub.asked)
    assert same(unwarned(NAME, revision=commit), pinned)
    assert len(fake_hub.asked) == asked, "a commit never changes, so the hub is not asked again"
    with pytest.warns(UserWarning, match=f"is not pinned, .* {NAME}@{newer}$"):
        assert not same(weights(NAME), pinned)
    assert load_release(NAME, revision=commit, checksum=checksum_of(release)).checksum == checksum_of(release)
    with pytest.raises(UserError, match="is another release than was asked for"):
        load_model(NAME, revision=newer, checksum=checksum_of(release))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "sub/weights.pt", "modeling.py", "onnx/model.onnx"])
def test_a_repository_with_more_in_it_is_refused_before_anything_is_fetched(
    release: Path, fake_hub: FakeHub, name: str
) -> None:
    commit = fake_hub.commit(NAME, files_of(release) | {name: b"x"})
    with pytest.raises(UserError, match=name):
        load_model(NAME, revision=commit)
    assert fake_hub.fetched == []


def test_a_changed_byte_on_the_hub_is_refused_by_name(release: Path, fake_hub: FakeHub) -> None:
    commit = fake_hub.commit(NAME, files_of(release) | {"README.md": b"# changed"})
    with pytest.raises(UserError, match=r"README\.md in .* is not the file"):
        load_model(NAME, revision=commit)


def test_a_name_or_revision_that_the_hub_does_not_have_is_one_sentence(release: Path, fake_hub: FakeHub) -> None:
    fake_hub.commit(NAME, files_of(release))
    for name in ("surgeons/nothing", f"{NAME}@{'0' * 40}", f"{NAME}@v9"):
        with pytest.raises(UserError, match="the Hugging Face hub did not give one of that name") as caught:
            load_model(name)
        assert "\n" not in str(caught.value)


def test_the_list_must_be_of_this_release(release: Path, tmp_path: Path) -> None:
    small = small_release("jepa")
    assert small.step == 300 and sums_text(release) == (release / "SHA256SUMS").read_text()
