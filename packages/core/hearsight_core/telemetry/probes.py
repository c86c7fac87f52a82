"""Health and metrics of a process, on a port of their own: /healthz, /readyz, /metrics."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

PATIENCE_S = 10
"""How long a client may take to say what it wants; each holds a thread meanwhile."""

Probe = Callable[[], str | None]
"""None: all is well; else what is wrong."""


class ProbeServer:
    """Serves the probes from a thread; `port` tells which port it got."""

    def __init__(self, host: str, port: int, *, healthy: Probe, ready: Probe) -> None:
        probes = {"/healthz": healthy, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE_S

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest())
                elif probe := probes.get(self.path):
                    wrong = probe()
                    status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
                    self._answer(status, "text/plain", (wrong or "ok").encode())
                else:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"not found")

            def _answer(self, status: HTTPStatus, media_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Probes come every few seconds; a line for each would drown the rest."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="probes", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
