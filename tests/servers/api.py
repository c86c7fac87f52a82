"""The real API as a process of its own: `with api.running(log, env) as server`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from hearsight.stack.ports import HOST, free_port
from hearsight_core.progress import News
from hearsight_core.storage import ObjectStorage
from hearsight_core.store.database import Database

START_S = 30.0
"""How long the API may take to answer at all."""
STOP_S = 30.0
"""How long it may take to end after SIGTERM; open streams have 10 s of it."""


@dataclass(frozen=True)
class Api:
    """A running API: where it and its probes listen, who it is, and what it has said."""

    url: str
    probes: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def client(self) -> httpx.Client:
        """A client for it that waits for slow answers, and takes no proxy from the environment."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def metrics(self) -> str:
        """What its port of probes tells Prometheus."""
        answer = httpx.get(f"{self.probes}/metrics", timeout=30, trust_env=False)
        assert answer.is_success, answer.text
        return answer.text


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running API, and the stores it works on as a worker has them: the tests do a worker's part.

    `env` holds the API's settings, so that another can be started beside it.
    """

    api: Api
    env: Mapping[str, str]
    database: Database
    news: News
    storage: ObjectStorage

    @property
    def redis_url(self) -> str:
        """Where the news is."""
        return self.env["HEARSIGHT_REDIS_URL"]


@contextmanager
def running(log: Path, env: Mapping[str, str], *, until: str = "/readyz") -> Iterator[Api]:
    """An API with the settings in `env`, for the length of the block; its output goes to `log`.

    It is there once the path `until` answers 200. Nothing of this process's environment counts but
    what a program needs to run. SIGTERM ends it.

    Raises:
        AssertionError: it ended, or did not come up in time; the message holds its last words.
    """
    port, probes = free_port(), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARSIGHT_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "hearsight_api"],
            env={
                **kept,
                "HEARSIGHT_HOST": HOST,
                "HEARSIGHT_PORT": str(port),
                "HEARSIGHT_METRICS_PORT": str(probes),
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Api(f"http://{HOST}:{port}", f"http://{HOST}:{probes}", process, log)
    try:
        _await(server, until)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def problem(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    """What an error's problem document says beside the members that each has; `errors` by field.

    Raises:
        AssertionError: it is not the error expected, or no well-formed problem document.
    """
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document.keys() - {"errors", "trace_id"} == {
        *("type", "title", "status", "code", "detail", "request_id")
    }
    # Probes, and an app that was never started, have no trace.
    assert len(document.get("trace_id", "0" * 32)) == 32
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:hearsight:error:{code}"
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response.headers["X-Request-Id"]
    fields = {found["field"]: found["detail"] for found in document.get("errors", ())}
    return {"detail": document["detail"], **fields}


def _await(server: Api, path: str) -> None:
    deadline = time.monotonic() + START_S
    with server.client() as client:
        while server.process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get(path).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    raise AssertionError(f"the API did not come up:\n{server.log.read_text()[-4000:]}")
