"""Files from web servers.

In: a URL. Out: its bytes, or a file. It is its own file because a connection breaks, a server redirects and a stranger listens: an
unfinished file is gone on with, and without encryption nothing is fetched whose content is not pinned.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from surgrec import __version__
from surgrec.core.console import progress
from surgrec.hub.contents import ReleaseError

_TIMEOUT_SECONDS = 60.0  # without a single byte
_AT_ONCE = 1 << 20
_RANGE_REFUSED = 416


def read_small(url: str, most_bytes: int, is_pinned: bool) -> bytes:
    """The content of a small file. Raises `ReleaseError` for one that is larger, or cannot be fetched."""
    with _opened(url, is_pinned) as response:
        content = bytes(response.read(most_bytes + 1))
    if len(content) > most_bytes:
        raise ReleaseError(
            f"{url} has more than {most_bytes:,} bytes, which is not what it should be; check the address"
        )
    return content


def download(url: str, path: Path, is_pinned: bool) -> None:
    """Fetch `url` to `path`; what an interrupted call left there is gone on with, where the server can. Shows progress in megabytes."""
    have = path.stat().st_size if path.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with _opened(url, is_pinned, headers) as response:
            _receive(response, url, path, have if response.status == 206 else 0)
    except _RangeRefusedError:  # what is there is whole, or of another file
        path.unlink()
        download(url, path, is_pinned)


def beside(url: str, name: str) -> str:
    """The URL of another file in the same place; the query stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{quote(name)}", fragment=""))


class _RangeRefusedError(Exception):
    """The server has nothing from there on."""


def _receive(response: Any, url: str, path: Path, have: int) -> None:
    length = response.headers.get("Content-Length")
    total = have + int(length) if length and length.isdecimal() else None
    with progress(path.name.removesuffix(".part"), None if total is None else total >> 20, have >> 20) as advance:
        done = have
        with path.open("ab" if have else "wb") as file:
            while piece := response.read(_AT_ONCE):
                file.write(piece)
                advance((done + len(piece) >> 20) - (done >> 20))
                done += len(piece)
    if total is not None and done < total:
        raise ReleaseError(
            f"{url} ended after {done:,} of {total:,} bytes; run the same again, which goes on from there"
        )


@contextmanager
def _opened(url: str, is_pinned: bool, headers: dict[str, str] | None = None) -> Iterator[Any]:
    _refuse_open(url, is_pinned)
    opener = urllib.request.build_opener(_Redirects(is_pinned))
    request = urllib.request.Request(url, headers={"User-Agent": f"surgrec/{__version__}", **(headers or {})})
    try:
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
            yield response
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_REFUSED and "Range" in request.headers:
            raise _RangeRefusedError from None
        raise ReleaseError(
            f"{url} was not given: {error.code} {error.reason}; check the address and the rights to it"
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())[:200]
        raise ReleaseError(
            f"{url} cannot be fetched ({reason}); check the address and the connection, then run the same again"
        ) from None


def _refuse_open(url: str, is_pinned: bool) -> None:
    """Without encryption, only what is pinned by its checksum, or of this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and (is_pinned or _is_own(parts.hostname))):
        return
    raise ReleaseError(
        f"{url} is not encrypted, so anybody on the way may change it; use https, or pin it with #sha256=CHECKSUM"
    )


def _is_own(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows where it may lead, by the same rule."""

    def __init__(self, is_pinned: bool) -> None:
        self._is_pinned = is_pinned

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _refuse_open(newurl, self._is_pinned)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
