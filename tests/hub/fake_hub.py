"""A hub on this machine: the few requests of the Hugging Face API that loading and publishing a release make, over real HTTP.

The real client talks to it, so that what the tests see is what the client does. A repository is a list of commits, each a dictionary of
files; a commit on another parent than the newest is refused as the hub does, with status 412.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

Files = dict[str, bytes]


@dataclass
class FakeHub:
    """`repositories`: name to commits, oldest first. `asked`: method and path of every request so far."""

    repositories: dict[str, list[tuple[str, Files]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""
    before_commit: Files | None = None  # what somebody else commits just before the next commit arrives

    def commit(self, name: str, files: Files) -> str:
        """Add a commit that holds `files` and nothing else; returns its hash."""
        commits = self.repositories.setdefault(name, [])
        text = repr((len(commits), sorted((path, hashlib.sha1(data).hexdigest()) for path, data in files.items())))
        commits.append((hashlib.sha1(text.encode()).hexdigest(), dict(files)))
        return commits[-1][0]

    def files(self, name: str, revision: str = "main") -> tuple[str, Files] | None:
        """Hash and files of a revision."""
        commits = self.repositories.get(name, [])
        if revision == "main":
            return commits[-1] if commits else None
        return next((commit for commit in commits if commit[0] == revision), None)

    @property
    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for."""
        return [line.rsplit("/", 1)[1] for line in self.asked if line.startswith("GET") and "/resolve/" in line]


def files_of(folder: Path) -> Files:
    """The files of a release."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def handler_of(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    """What answers requests on behalf of `hub`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {unquote(urlsplit(self.path).path)}")
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if "resolve" in parts:
                at = parts.index("resolve")
                return self.content("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
            if parts[:2] != ["api", "models"]:
                return self.answer(404, {})
            name, rest = "/".join(parts[2:4]), parts[4:]
            found = hub.files(name, rest[1] if len(rest) > 1 else "main")
            if name not in hub.repositories:
                return self.answer(401, {}, {"X-Error-Code": "RepoNotFound"})
            if found is None and rest:
                return self.answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
            commit, files = found or ("0" * 40, {})
            if rest[:1] == ["tree"]:
                entries = [
                    {"type": "file", "path": path, "size": len(data), "oid": oid(data)} for path, data in files.items()
                ]
                return self.answer(200, entries)
            siblings = [{"rfilename": path} for path in files]
            return self.answer(
                200, {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": False, "tags": []}
            )

        do_HEAD = do_GET

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"POST {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = unquote(path).strip("/").split("/")
            name = "/".join(parts[2:4])
            if path.endswith("/validate-yaml"):
                return self.answer(200, {"errors": [], "warnings": []})
            if path.endswith("/repos/create"):
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                hub.repositories.setdefault(name, [])
                return self.answer(200, {"url": f"{hub.url}/{name}"})
            if "preupload" in parts:
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                return self.answer(200, {"files": files})
            if "commit" in parts:
                return self.commit(name, [json.loads(line) for line in body.splitlines()])
            return self.answer(404, {})

        def commit(self, name: str, lines: list[dict]) -> None:
            if hub.before_commit is not None:
                hub.commit(name, hub.before_commit)
                hub.before_commit = None
            head, old = hub.files(name) or (None, {})
            files = dict(old)
            for line in lines:
                value = line["value"]
                if line["key"] == "header" and value.get("parentCommit") not in (None, head):
                    return self.answer(412, {"error": "A commit has happened since. Please refresh and try again."})
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                if line["key"] == "deletedFile":
                    del files[value["path"]]
            made = hub.commit(name, files)
            return self.answer(200, {"commitUrl": f"{hub.url}/{name}/commit/{made}", "commitOid": made})

        def content(self, name: str, revision: str, path: str) -> None:
            found = hub.files(name, revision)
            if found is None or path not in found[1]:
                return self.answer(404, {}, {"X-Error-Code": "EntryNotFound"})
            data = found[1][path]
            head = {"ETag": f'"{oid(data)}"', "X-Repo-Commit": found[0], "Accept-Ranges": "bytes"}
            return self.answer(200, data, head)

        def answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for key, value in {
                "Content-Length": str(len(data)),
                "Content-Type": "application/json",
                **(headers or {}),
            }.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    return Handler


def oid(data: bytes) -> str:
    """Of git."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server that answers with `handler`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The hub that the client of this process talks to, with a cache of its own."""
    constants = pytest.importorskip("huggingface_hub.constants")
    hub = FakeHub()
    with serving(handler_of(hub)) as url:
        hub.url = url
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "nobody")
        yield hub
