"""A model hub: the part of the Hugging Face hub's interface by which models are fetched.

It serves one folder under whatever name is asked for, and tells which files it handed out.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_INFO = re.compile(r"/api/models/(?P<model>[^/]+/[^/]+)/revision/main")
_TREE = re.compile(rf"/api/models/[^/]+/[^/]+/tree/{COMMIT}")
_FILE = re.compile(rf"/[^/]+/[^/]+/resolve/{COMMIT}/(?P<name>[^/]+)")


@dataclass
class Hub:
    """Where it is, for HF_ENDPOINT, and the names of the files it handed out."""

    url: str = ""
    handed_out: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    """Answers for the model whose files and hub a subclass names."""

    protocol_version = "HTTP/1.1"
    files: dict[str, Path]
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if found := _INFO.fullmatch(path):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": found["model"], "sha": COMMIT, "siblings": siblings})
        elif _TREE.fullmatch(path):
            self._json([_entry(path) for path in self.files.values()])
        elif (found := _FILE.fullmatch(path)) and found["name"] in self.files:
            self._file(self.files[found["name"]])
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _json(self, document: object) -> None:
        body = json.dumps(document).encode()
        self._head("application/json", len(body))
        self.wfile.write(body)

    def _file(self, path: Path) -> None:
        tags = {"ETag": f'"{_id(path)}"', "X-Repo-Commit": COMMIT}
        self._head("application/octet-stream", path.stat().st_size, tags)
        if self.command == "GET":
            self.hub.handed_out.append(path.name)
            self.wfile.write(path.read_bytes())

    def _head(self, media_type: str, size: int, more: dict[str, str] | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in {"Content-Type": media_type, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """What counts stands in `handed_out`."""


@contextmanager
def model_hub(folder: Path) -> Iterator[Hub]:
    """Serves the model in `folder` on 127.0.0.1."""
    hub = Hub()
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    handler = type("Handler", (_Handler,), {"files": files, "hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="hub")
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _entry(path: Path) -> dict[str, object]:
    return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _id(path)}


def _id(path: Path) -> str:
    return hashlib.sha1(path.name.encode(), usedforsecurity=False).hexdigest()
