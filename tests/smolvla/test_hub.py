"""Names instead of folders: a Hub of our own over HTTP, with good and bad repositories. No real network."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import torch
from huggingface_hub import constants

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_policy
from smolkit.smolvla.hub import download, is_hub_id
from smolkit.smolvla.lora import add_lora

COMMIT = "a" * 40


class Hub:
    """Repositories as name -> file -> bytes, and what was asked for."""

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    def add(self, name: str, folder: Path, **more: bytes) -> None:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.repositories[name] = {**files, **more}

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path, as the Hub's API and its file downloads answer."""
        api, _, kind = path.removeprefix("/api/models/").partition(next(
            (key for key in ("/revision/", "/tree/", "/resolve/") if key in path), "?"))
        name = api.removeprefix("/")
        files = self.repositories.get(name)
        if files is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if not kind.startswith(("main", COMMIT)):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if "/resolve/" in path:
            body = files[kind.partition("/")[2]]
            self.asked.append(f"{name}/{kind.partition('/')[2]}")
            return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{_digest(body)}"'}, body
        listed = [{"type": "file", "path": file, "rfilename": file, "size": len(body), "oid": _digest(body)}
                  for file, body in files.items()]
        about = listed if "/tree/" in path else {"id": name, "modelId": name, "sha": COMMIT, "siblings": listed}
        return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()


def _digest(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    there = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = there.answer(unquote(urlparse(self.path).path))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {"ENDPOINT": address, "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(tmp_path / "cache"),
                        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}"}.items():
        monkeypatch.setattr(constants, name, value)
    yield there
    server.shutdown()
    server.server_close()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "policy", tiny_policy(seed=1))


def test_a_policy_comes_by_its_name_and_only_what_is_needed(hub, saved, monkeypatch):
    hub.add("robots/cube", saved, **{"README.md": b"#", "training_state/optimizer.safetensors": b"huge", "x.py": b""})
    policy = load_checkpoint("robots/cube")
    assert policy.weights.report().ok and policy.weights.base == "robots/cube"
    assert {Path(name).suffix for name in hub.asked} == {".json", ".safetensors"}
    assert not any("training_state" in name for name in hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)     # from here on out of the cache
    again = load_checkpoint("robots/cube")
    assert torch.equal(again.model.state_proj.weight, policy.model.state_proj.weight)


def test_the_backbones_tokenizer_comes_by_its_name_but_not_its_weights(hub, saved):
    (saved / "vlm").rename(saved.parent / "elsewhere")
    hub.add("owner/tiny", saved.parent / "elsewhere", **{"model.safetensors": b"two gigabytes"})
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "vlm_model_name": "owner/tiny"}))
    assert load_checkpoint(saved).weights.report().ok
    assert set(hub.asked) == {f"owner/tiny/{path.name}" for path in (saved.parent / "elsewhere").iterdir()}


def test_an_adapters_base_comes_by_its_name(hub, saved):
    hub.add("robots/cube", saved)
    policy = load_checkpoint("robots/cube", revision=COMMIT)
    add_lora(policy.model, rank=2)
    light = save_checkpoint(saved.parent / "light", policy)
    written = json.loads((light / "adapter_config.json").read_text())
    assert (written["base_model_name_or_path"], written["revision"]) == ("robots/cube", COMMIT)
    hub.add("robots/light", light)
    again = load_checkpoint("robots/light")
    assert (again.weights.base, again.weights.revision) == ("robots/cube", COMMIT)
    assert torch.equal(again.model.state_proj.lora_A.weight, policy.model.state_proj.lora_A.weight)


@pytest.mark.parametrize("evil", ["vlm/../../../../evil.json", "policy_preprocessor/../../../../../evil.json"])
def test_a_file_name_that_leads_out_stays_in(hub, saved, evil):
    hub.add("robots/evil", saved, **{evil: b"{}"})
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*leads out"):
        load_checkpoint("robots/evil")
    assert not list(saved.parent.rglob("evil.json"))


def test_a_name_that_is_nowhere_is_told_with_the_ways_out(hub, saved):
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*typing mistake(.|\n)*path of a folder"):
        load_checkpoint("robots/nobody")
    hub.add("robots/cube", saved)
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*no revision v9"):
        load_checkpoint("robots/cube", revision="v9")
    with pytest.raises(SmolkitError, match="SK501"):
        load_checkpoint(Path("robots/cube"))       # a Path is a folder


def test_without_a_network_the_ways_out_are_named(hub, saved, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*HF_HUB_OFFLINE(.|\n)*path of a folder"):
        load_checkpoint("robots/cube")
    (saved / "vlm" / "tokenizer.json").unlink()
    (saved / "vlm" / "config.json").unlink()
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "vlm_model_name": "owner/tiny"}))
    with pytest.raises(SmolkitError, match=r"SK507(.|\n)*backbone=FOLDER"):
        load_checkpoint(saved)
    assert not hub.asked


def test_a_hub_that_is_down_is_told(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*no network, or the Hub is down"):
        download("robots/cube")


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../b", "a", "a/b/c", "a/..", "~/x", "", "a b/c", "c:/x"])
def test_what_is_no_name_on_the_hub(name):
    assert not is_hub_id(name)
