"""A hub id stands wherever a folder may: fetched from a hub on this machine, once, and without anything pickled."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny import small_checkpoint

import armillary
from armillary.errors import CheckpointError
from armillary.sampling.hub import fetch, is_hub_id

pytest.importorskip("huggingface_hub", reason="hub ids are fetched with huggingface_hub: pip install -e '.[hf]'")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The routes of the hub that a download uses, over one folder under the name lab/tiny."""

    folder: Path
    asked: list[str]

    def log_message(self, *words):
        """Say nothing."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = self.path.split("?")[0]
        self.asked.append(path)
        files = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        marker = f"/lab/tiny/resolve/{COMMIT}/"
        if path.startswith("/api/models/lab/tiny/tree"):
            rows = [{"type": "file", "path": f, "size": (self.folder / f).stat().st_size, "oid": "0"} for f in files]
            self.send(json.dumps(rows).encode(), body)
        elif path.startswith("/api/models/lab/tiny"):
            about = {
                "id": "lab/tiny",
                "modelId": "lab/tiny",
                "sha": COMMIT,
                "siblings": [{"rfilename": f} for f in files],
            }
            self.send(json.dumps(about).encode(), body)
        elif path.startswith(marker) and (self.folder / path.removeprefix(marker)).is_file():
            self.send((self.folder / path.removeprefix(marker)).read_bytes(), body)
        else:
            self.send(b'{"error": "Repository not found"}', body, status=404, code="RepoNotFound")

    def send(self, content, body, *, status=200, code=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{abs(hash(content)):040x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine with one checkpoint, and the list of what it was asked."""
    Hub.folder, Hub.asked = small_checkpoint(tmp_path / "published"), []
    (Hub.folder / "transformer/pytorch_model.bin").write_bytes(b"pickled")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield Hub.asked
    server.shutdown()
    server.server_close()


def test_a_hub_id_is_fetched_once_and_opens_as_its_folder_does(hub, tmp_path):
    folder = fetch(f"lab/tiny@{COMMIT}", kept_in=tmp_path / "kept")
    assert not list(folder.rglob("*.bin"))
    assert armillary.load(folder).parts.weights_sha256 == armillary.load(Hub.folder).parts.weights_sha256
    fetched = len(hub)
    assert fetched > 5
    assert fetch(f"lab/tiny@{COMMIT}", kept_in=tmp_path / "kept") == folder
    assert not [path for path in hub[fetched:] if "/resolve/" in path]


def test_what_the_hub_does_not_have_is_said(hub, tmp_path):
    with pytest.raises(CheckpointError, match="the hub gave nothing under that name"):
        fetch("lab/other", kept_in=tmp_path / "kept")


def test_a_path_is_not_taken_for_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert not is_hub_id("runs/pico") and not is_hub_id("pico") and not is_hub_id("./a/b") and not is_hub_id(tmp_path)
    assert is_hub_id("nvidia/Cosmos3-Edge") and is_hub_id("nvidia/Cosmos3-Edge@main")
    with pytest.raises(CheckpointError, match="is no hub id"):
        fetch("pico")
