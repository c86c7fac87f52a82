"""Nothing is done for anybody without a key, or with one that does not go so far."""

import re
import time
from typing import Any

import httpx
import psycopg
import pytest

from hearsight_core.keys import Scope, digest_of, id_of, new_token
from hearsight_core.store import keys
from tests.servers import keyed
from tests.servers.api import Served, problem
from tests.servers.recogniser import Recogniser
from tests.store import rows

URL = "https://example.org/talk.mp4"
TASKS = "/api/tasks/process"
SECONDS = 10
"""Within so many a revoked key has to be refused."""


def operations(http: httpx.Client) -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation under /api: method, path, what the document says. Any: JSON as it comes."""
    document = http.get("/openapi.json").json()
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/api")
    ]


def ask(http: httpx.Client, method: str, path: str) -> httpx.Response:
    """A request that would be a good one, on a job that is there or not."""
    body = {"url": URL} if path == TASKS else None
    files = {"file": ("talk.wav", b"no sound")} if path == "/api/upload" else None
    return http.request(method, path, json=body, files=files)


def test_every_operation_asks_for_a_key(nobody: httpx.Client) -> None:
    found = operations(nobody)
    assert len(found) > 10
    for method, path, operation in found:
        answer = ask(nobody, method, path.replace("{job_id}", "1"))
        problem(answer, 401, "auth.missing")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert operation["security"] == [{"apiKey": []}]
        assert {"401", "403"} <= operation["responses"].keys()


def test_a_path_that_is_none_tells_nobody_so(nobody: httpx.Client) -> None:
    problem(nobody.get("/api/secret"), 401, "auth.missing")


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer x", "Bearer hs_short", "Bearer hs_" + "x" * 43, "bearer hs_ä"],
)
def test_what_is_no_key_in_force_is_refused(locked: Served, header: str) -> None:
    with httpx.Client(base_url=locked.api.url, trust_env=False) as http:
        answer = http.get("/api/jobs", headers={b"Authorization": header.encode()})
    problem(answer, 401, "auth.invalid")
    assert "invalid_token" in answer.headers["WWW-Authenticate"]


def test_a_key_counts_in_the_header_alone(locked: Served) -> None:
    token = keyed.made(locked.database, "alice")
    with keyed.client(locked.api, None) as http:
        for answer in (
            http.get("/api/jobs", params={"key": token, "api_key": token, "access_token": token}),
            http.get("/api/jobs", headers={"X-API-Key": token}),
            http.get("/api/jobs", headers={"Cookie": f"Authorization=Bearer {token}"}),
            http.get("/api/jobs", auth=("alice", token)),
        ):
            problem(answer, 401, "auth.missing")


def test_what_is_no_api_needs_no_key(nobody: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert nobody.get(path).status_code == 200
    assert nobody.get("/readyz").json()["keys"] == "on"


@pytest.mark.parametrize("scope", [Scope.READ, Scope.SUBMIT])
def test_a_key_does_what_its_scope_says_and_nothing_else(locked: Served, scope: Scope) -> None:
    token = keyed.made(locked.database, "carol", scope)
    with keyed.client(locked.api, token) as http:
        for method, path, _ in operations(http):
            needed = Scope.READ if method == "GET" else Scope.SUBMIT
            answer = ask(http, method, path.replace("{job_id}", "59990"))
            if needed is scope:
                assert answer.status_code not in {401, 403}, (method, path)
            else:
                assert str(needed) in problem(answer, 403, "auth.forbidden")["detail"]
                assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


def test_a_revoked_key_opens_nothing_within_seconds(locked: Served) -> None:
    token = keyed.made(locked.database, "dave")
    with keyed.client(locked.api, token) as http:
        assert http.get("/api/jobs").status_code == 200
        keys.revoke(locked.database, id_of(digest_of(token)))
        until = time.monotonic() + SECONDS
        while (answer := http.get("/api/jobs")).status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        problem(answer, 401, "auth.invalid")


def test_a_revoked_key_s_event_stream_ends(locked: Served) -> None:
    token = keyed.made(locked.database, "root", Scope.ADMIN)
    worker = Recogniser(locked)
    path = f"/api/progress/task/{worker.job_id}/events"
    with keyed.client(locked.api, token) as http, http.stream("GET", path, timeout=60) as stream:
        lines = stream.iter_lines()
        assert any("event: progress" in line for line in lines)
        keys.revoke(locked.database, id_of(digest_of(token)))
        until = time.monotonic() + SECONDS
        list(lines)
        assert time.monotonic() < until
    worker.say("nobody hears this")


def test_a_revoked_key_s_download_breaks_off(locked: Served) -> None:
    token = keyed.made(locked.database, "root", Scope.ADMIN)
    worker = Recogniser(locked)
    size = 64 * 1024 * 1024
    locked.storage.put_bytes("uploads/large", bytes(size))
    rows(
        locked.database,
        "UPDATE jobs SET media_key = 'uploads/large' WHERE id = :id RETURNING id",
        id=worker.job_id,
    )
    path = f"/api/jobs/{worker.job_id}/media"
    with keyed.client(locked.api, token) as http, http.stream("GET", path) as stream:
        blocks = stream.iter_raw(65_536)
        next(blocks)
        keys.revoke(locked.database, id_of(digest_of(token)))
        time.sleep(5)
        with pytest.raises(httpx.RemoteProtocolError):
            list(blocks)


def test_no_key_is_stored_or_written_anywhere(locked: Served) -> None:
    token = keyed.made(locked.database, "erin")
    with keyed.client(locked.api, token) as http:
        assert http.post(TASKS, json={"url": URL}).status_code == 202
        http.get("/api/nowhere")
    with psycopg.connect(locked.env["HEARSIGHT_DATABASE_URL"]) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f'COPY "{table}" TO STDOUT'.encode()) as copied:
                assert token not in b"".join(bytes(block) for block in copied).decode()
    log = locked.api.log.read_text()
    assert token not in log
    assert id_of(digest_of(token)) in log, "whose request it was is told"


def test_the_time_of_last_use_is_told_to_the_minute(locked: Served) -> None:
    token = keyed.made(locked.database, "frank")

    def used() -> object:
        [row] = rows(
            locked.database,
            "SELECT last_used_at FROM api_keys WHERE digest = :digest",
            digest=digest_of(token),
        )
        return row["last_used_at"]

    assert used() is None
    assert keys.find(locked.database, digest_of(token)) is not None
    first = used()
    assert first is not None
    keys.find(locked.database, digest_of(token))
    assert used() == first


def test_two_keys_are_never_alike_and_hard_to_guess() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    for token in tokens:
        assert re.fullmatch(r"hs_[A-Za-z0-9_-]{43}", token)  # 256 bits in base64


def test_the_database_refuses_what_is_no_key(locked: Served) -> None:
    with (
        pytest.raises(psycopg.errors.CheckViolation),
        psycopg.connect(locked.env["HEARSIGHT_DATABASE_URL"]) as connection,
    ):
        connection.execute(
            "INSERT INTO api_keys (id, digest, owner, scopes) VALUES ('x', 'x', 'x', '{all}')"
        )


def test_the_document_tells_how_a_key_is_sent(nobody: httpx.Client) -> None:
    schemes = nobody.get("/openapi.json").json()["components"]["securitySchemes"]
    assert schemes["apiKey"]["type"] == "http"
    assert schemes["apiKey"]["scheme"] == "bearer"
