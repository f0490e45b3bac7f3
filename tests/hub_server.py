"""A Hugging Face Hub of our own, over HTTP on this computer: what huggingface_hub really asks it, and faults on order.

    with serve(cache) as hub:                              # `hub` is a fixture in conftest.py, too
        hub.add("robots/cube", folder)                     # a repository that is there already
        hub.fail.append(("POST .*/commit/", 500))          # the next such request; 0 cuts the line
        hub.repositories["robots/cube"].files()            # path -> bytes, at main or at a tag
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

TOKEN = "hf_" + "a" * 34
_API = re.compile(r"/api/(?P<kind>\w+)s/(?P<name>[^/]+/[^/]+)(?:/(?P<what>\w+)(?:/(?P<rest>.*))?)?")
_FILE = re.compile(r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.*)")


@dataclass
class Repository:
    """Commits as id -> path -> bytes, the newest last, and tags as name -> commit."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(str(len(self.commits)).encode()).hexdigest()
        self.commits[oid] = files
        return oid

    def find(self, revision: str) -> str | None:
        head = [*self.commits][-1]
        return {"main": head, **self.tags, **{oid: oid for oid in self.commits}}.get(revision)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.find(revision)]


class Hub:
    """What is on the server, what it was asked, and which requests it will spoil."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}                     # sha256 -> content, as large files arrive
        self.asked: list[str] = []                             # files that were downloaded: owner/name/path
        self.requests: list[str] = []                          # "GET /api/..."
        self.fail: list[tuple[str, int]] = []                  # (pattern of a request, status; 0: cut the line)
        self.address = ""

    def add(self, name: str, folder: Path, tag: str = "", private: bool = False, **more: bytes) -> Repository:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        repository = self.repositories[name] = Repository(private)
        oid = repository.commit({**files, **more})
        repository.tags = {tag: oid} if tag else {}
        return repository

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, dict, bytes | dict]:
        """Status, headers and body, as the Hub gives them."""
        if path == "/api/repos/create":
            return self._create(token, json.loads(body))
        if path.startswith("/stored/"):
            whole = hashlib.sha256(body).hexdigest() == path.rpartition("/")[2]        # its sender may have been killed
            self.stored.update({path.rpartition("/")[2]: body} if whole else {})
            return (200 if whole else 400), {}, {}
        if path == "/api/validate-yaml":
            return 200, {}, {"errors": [], "warnings": []}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {}, self._batch(json.loads(body))
        asked = _API.fullmatch(path) or _FILE.fullmatch(path)
        repository = self.repositories.get(asked["name"]) if asked else None
        if repository is None or (repository.private and token != TOKEN):
            return (404 if token else 401), {"X-Error-Code": "RepoNotFound"}, {}
        if asked.re is _FILE:
            return self._file(repository, **{key: asked[key] for key in ("name", "revision", "path")})
        if method != "GET" and token != TOKEN:
            return (403 if token else 401), {}, {"error": "no write permission"}
        return self._api(method, repository, asked["name"], asked["what"] or "revision", asked["rest"] or "main", body)

    def _create(self, token: str, wish: dict) -> tuple[int, dict, dict]:
        if token != TOKEN:
            return 401, {}, {"error": "Invalid username or password."}
        name = f"{wish['organization']}/{wish['name']}"
        if not name.startswith("robots/"):
            return 403, {}, {"error": "You don't have the rights to create a dataset under this namespace"}
        if name in self.repositories:
            return 409, {}, {"error": "You already created this dataset repo", "url": f"{self.address}/{name}"}
        self.repositories[name] = Repository(wish.get("visibility") == "private" or bool(wish.get("private")))
        self.repositories[name].commit({".gitattributes": b"*.mp4 lfs"})
        return 200, {}, {"url": f"{self.address}/datasets/{name}", "name": name}

    def _api(self, method: str, repository: Repository, name: str, what: str, rest: str, body: bytes,
             ) -> tuple[int, dict, dict | list]:
        if what == "refs":
            tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in
                    repository.tags.items()]
            return 200, {}, {"branches": [], "converts": [], "tags": tags}
        if what == "tag" and method == "DELETE":
            return (200, {}, {}) if repository.tags.pop(rest, None) else (404, {"X-Error-Code": "RevisionNotFound"}, {})
        commit = repository.find(rest.partition("/")[0])
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, {}
        if what == "tag":
            tag = json.loads(body)["tag"]
            return (409, {}, {}) if repository.tags.setdefault(tag, commit) != commit else (200, {}, {})
        if what == "preupload":
            return 200, {}, {"files": [self._upload_mode(repository, file) for file in json.loads(body)["files"]]}
        if what == "commit":
            return self._commit(repository, name, body)
        listed = [{"type": "file", "path": path, "rfilename": path, "size": len(content), "oid": _oid(content)}
                  for path, content in repository.commits[commit].items()]
        about = {"id": name, "sha": commit, "private": repository.private, "siblings": listed}
        return 200, {}, listed if what == "tree" else about

    def _upload_mode(self, repository: Repository, file: dict) -> dict:
        old = repository.files().get(file["path"])
        mode = "lfs" if file["path"].endswith((".mp4", ".parquet", ".safetensors")) else "regular"
        oid = None if old is None else _oid(old) if mode == "regular" else hashlib.sha256(old).hexdigest()
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _batch(self, wish: dict) -> dict:
        """Where to put each large file; nowhere for one that is here."""
        new = {one["oid"] for one in wish["objects"]} - set(self.stored)
        return {"transfer": "basic", "objects": [
            {**one, **({"actions": {"upload": {"href": f"{self.address}/stored/{one['oid']}"}}}
                       if one["oid"] in new else {})} for one in wish["objects"]]}

    def _commit(self, repository: Repository, name: str, body: bytes) -> tuple[int, dict, dict]:
        lines = [json.loads(line) for line in body.splitlines()]
        head, files = lines[0]["value"], dict(repository.files())
        if head.get("parentCommit") not in (None, repository.find("main")):
            return 412, {}, {"error": "A commit has happened since. Please refresh and try again."}
        for line in lines[1:]:
            path = line["value"]["path"]
            if line["key"] == "file":
                files[path] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[path] = self.stored[line["value"]["oid"]]
            else:
                del files[path]
        oid = repository.commit(files)
        return 200, {}, {"commitUrl": f"{self.address}/datasets/{name}/commit/{oid}", "commitOid": oid}

    def _file(self, repository: Repository, name: str, revision: str, path: str) -> tuple[int, dict, bytes | dict]:
        commit = repository.find(revision)
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, {}
        content = repository.commits[commit].get(path)
        if content is None:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, {}
        self.asked.append(f"{name}/{path}")
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{_oid(content)}"'}, content


def _oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            method = "GET" if self.command == "HEAD" else self.command
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            hub.requests.append(f"{self.command} {path}")
            spoiled = next((one for one in hub.fail if re.search(one[0], hub.requests[-1])), None)
            status, headers, body = hub.answer(method, path, token, sent) \
                if spoiled is None or spoiled[1] == 0 else (spoiled[1], {}, {"error": "on order"})
            if spoiled is not None:
                hub.fail.remove(spoiled)
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            if status == 200 and "Range" in self.headers:                                  # the rest of a cut download
                begin = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
                headers["Content-Range"], status = f"bytes {begin}-{len(body) - 1}/{len(body)}", 206
                body = body[begin:]
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if spoiled is not None and spoiled[1] == 0:
                self.wfile.write(body[:len(body) // 2])
                self.close_connection = True
            elif self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler


@contextmanager
def serve(cache: Path, token: str = TOKEN) -> Iterator[Hub]:
    """The server, and huggingface_hub told to talk to it alone; Xet, which has servers of its own, is off."""
    from huggingface_hub import constants
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    settings = {"ENDPOINT": hub.address, "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(cache),
                "HF_HUB_DISABLE_XET": True,
                "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
                "HF_TOKEN_PATH": str(cache / "token")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(constants, name, value)
        patch.setenv("HF_TOKEN", token)
        yield hub
    server.shutdown()
    server.server_close()
