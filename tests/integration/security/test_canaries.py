"""A secret, wherever it is put, is in no log, answer, metric, span or command line."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import psutil
import psycopg
import pytest

from hearsight_core.keys import Scope
from tests.conftest import PostgresServer
from tests.integration.security.test_keys import TASKS
from tests.servers import api, keyed
from tests.servers.api import Served
from tests.servers.collector import Collector, collector
from tests.servers.forms import file, send, wav

CANARY: Final = "cAnArY7ZqX"
"""What every secret here holds, and nothing else."""

KEY: Final = f"hs_{CANARY}{'x' * 40}"


def secrets(served: Served, traces: Collector) -> dict[str, str]:
    """Settings of a process with a secret in every place that there is for one."""
    env = dict(served.env)
    database = env["HEARSIGHT_DATABASE_URL"].replace("postgresql://", "", 1)
    env |= {
        "HEARSIGHT_AUTH": "on",
        "HEARSIGHT_LOG_LEVEL": "DEBUG",
        "HEARSIGHT_DATABASE_URL": f"postgresql://{database}",
        "HEARSIGHT_STORAGE_ACCESS_KEY_ID": f"id-{CANARY}",
        "HEARSIGHT_STORAGE_SECRET_ACCESS_KEY": f"s3-{CANARY}",
        "HEARSIGHT_OTLP_ENDPOINT": traces.url.replace("http://", f"http://u:{CANARY}@", 1),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{CANARY}",
        "AWS_SECRET_ACCESS_KEY": CANARY,
    }
    return env


@pytest.fixture(scope="module")
def traces() -> Iterator[Collector]:
    with collector() as one:
        yield one


def everything_said(log: Path) -> str:
    return log.read_text(errors="replace")


def asked(served: Served, server: api.Api) -> list[httpx.Response]:
    """Requests with a secret wherever a person could put one, good and bad."""
    with psycopg.connect(served.env["HEARSIGHT_DATABASE_URL"]) as connection:
        connection.execute("DELETE FROM api_keys WHERE owner = 'canary'")
    token = keyed.made(served.database, "canary", Scope.SUBMIT, Scope.READ)
    answers: list[httpx.Response] = []
    for authorization in (f"Bearer {KEY}", f"Basic {CANARY}", f"Bearer {CANARY}", CANARY):
        with keyed.client(server, None) as http:
            answers.append(http.get("/api/jobs", headers={"Authorization": authorization}))
    with keyed.client(server, token) as http:
        http.cookies.set("sid", CANARY)
        http.headers["X-API-Key"] = CANARY
        http.headers["Proxy-Authorization"] = f"Basic {CANARY}"
        addresses = (
            f"https://user:{CANARY}@example.org/talk.mp4",
            f"https://user:{CANARY}/@example.org/",
            f"https://example.org:{CANARY}/",
            f"https://u:{CANARY}@ho\u2100st/",
            f"https://[{CANARY}@::1]/",
        )
        answers += [http.post(TASKS, json={"url": address}) for address in addresses]
        answers += [
            http.post(TASKS, json={"url": {"password": CANARY}}),
            http.post(TASKS, content=f'{{"url": "{CANARY}'.encode()),
            http.get("/api/jobs", params={"access_token": CANARY, "limit": CANARY}),
            http.get(f"/api/jobs?status={CANARY}&cursor={CANARY}"),
            http.request("PATCH", "/api/jobs", params={"api_key": CANARY}),
            http.get("/healthz", params={"token": CANARY}),
        ]
        answers.append(send(http, file(wav()[:20_000])))
        # Answers are told of with the request's id alone.
        assert answers[-1].status_code in {202, 415}
        assert token not in "".join(answer.text for answer in answers)
    return answers


def test_no_secret_is_told_by_the_api(served: Served, traces: Collector, tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with api.running(log, secrets(served, traces)) as server:
        answers = asked(served, server)
        command = psutil.Process(server.process.pid).cmdline()
        metrics = server.metrics()
        assert CANARY not in "".join(answer.text for answer in answers)
        assert CANARY not in "".join(str(answer.headers) for answer in answers)
    assert CANARY not in metrics
    assert CANARY not in " ".join(command)
    assert CANARY not in everything_said(log)


def test_no_secret_is_an_attribute_of_a_span(
    served: Served, traces: Collector, tmp_path: Path
) -> None:
    env = {**served.env, "HEARSIGHT_AUTH": "on", "HEARSIGHT_OTLP_ENDPOINT": traces.url}
    with api.running(tmp_path / "api.log", env) as server:
        answers = asked(served, server)
        [told] = [answer.json()["trace_id"] for answer in answers[:1]]
    traces.trace(told, bool)
    spans = traces.spans()
    assert len(spans) > 5
    for span in spans:
        assert CANARY not in str(span)
        assert "authorization" not in str(span).lower()


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("hearsight_core.store.migrate", "postgresql://nobody:{secret}@{server}"),
        ("hearsight_core.store.migrate", "postgresql://u:{secret}/x@127.0.0.1:1/d"),
        ("hearsight_core.store.migrate", "postgresql://u:{secret}@127.0.0.1:port/d"),
        ("hearsight_core.store.migrate", "postgrsql://u:{secret}@127.0.0.1:1/d"),
        ("hearsight_api", "postgresql://127.0.0.1:1/d?user=u&password={secret}"),
        ("hearsight_api", "postgresql://u:{secret}/x@127.0.0.1:1/d"),
    ],
)
def test_a_store_that_lets_nobody_in_is_told_without_the_password(
    postgres_server: PostgresServer, tmp_path: Path, module: str, place: str
) -> None:
    server = postgres_server.url.rpartition("@")[2].removeprefix("postgresql://")
    env = {
        "HEARSIGHT_DATABASE_URL": place.format(secret=CANARY, server=server),
        "HEARSIGHT_REDIS_URL": f"redis://:{CANARY}@127.0.0.1:1/1",
        "HEARSIGHT_BROKER_URL": f"redis://127.0.0.1:1/0?password={CANARY}",
        "HEARSIGHT_STORAGE_URL": (tmp_path / "media").as_uri(),
        "HEARSIGHT_BOOTSTRAP_API_KEY": KEY,
        "HEARSIGHT_DATABASE_READER_PASSWORD": CANARY,
        "HEARSIGHT_PORT": "0",
    }
    said = ended(module, env)
    assert said, "it says why it can't work"
    assert CANARY not in said


def ended(module: str, env: dict[str, str], *, patience_s: float = 5) -> str:
    """What a process of ours says that can't work as it is told to, until it ends or is ended.

    One that waits for its stores has said by then what it makes of them.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env={"PATH": "/usr/bin:/bin", **env},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None and not os.fstat(said.fileno()).st_size:
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        process.terminate()
        process.wait()
        said.seek(0)
        return said.read().decode()


@pytest.mark.parametrize(
    "name",
    [
        "HEARSIGHT_BOOTSTRAP_API_KEY",
        "HEARSIGHT_PORT",
        "HEARSIGHT_OTLP_ENDPOINT",
        "HEARSIGHT_LOG_FORMAT",
    ],
)
def test_a_setting_that_is_refused_is_not_repeated(name: str) -> None:
    module = "hearsight_core.store.migrate" if "KEY" in name else "hearsight_api"
    said = ended(module, {name: f"{CANARY} {quote(CANARY)}"}, patience_s=60)
    assert name.removeprefix("HEARSIGHT_").lower() in said.lower()
    assert CANARY not in said
