"""Probes and metrics tell the truth, also when the stores are away."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hearsight.stack.ports import HOST, free_port
from hearsight_core.store import migrate
from tests.servers import api
from tests.servers.api import Api, Served, problem
from tests.servers.forms import file, objects, send, wav
from tests.servers.recogniser import Recogniser

THREADS = 40
"""How many requests at a time wait for a store in threads (Starlette's limit)."""


@pytest.fixture(scope="module")
def without_database(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API whose PostgreSQL is away from the start."""
    url = f"postgresql://hearsight:the-password@{HOST}:{free_port()}/hearsight"
    log = tmp_path_factory.mktemp("away") / "api.log"
    with api.running(
        log, {**served.env, "HEARSIGHT_DATABASE_URL": url}, until="/healthz"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def without_redis(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API whose Redis is away from the start."""
    url = f"redis://{HOST}:{free_port()}"
    env = {"HEARSIGHT_BROKER_URL": f"{url}/0", "HEARSIGHT_REDIS_URL": f"{url}/1"}
    log = tmp_path_factory.mktemp("away") / "api.log"
    with api.running(log, {**served.env, **env}) as server:
        yield server


def requests_counted(api: Api) -> dict[tuple[str, str, str], float]:
    """How often each (route, method, status) was answered."""
    families = text_string_to_metric_families(api.metrics())
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "hearsight_http_request_seconds_count"
    }


def test_all_is_well_when_all_is_well(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    ready = http.get("/readyz").json()
    assert ready["status"] == "ok"
    assert ready["keys"] == "loopback"


def test_metrics_are_on_another_port_than_the_api(served: Served, http: httpx.Client) -> None:
    problem(http.get("/metrics"), 404, "http.not_found")
    for path in ("/healthz", "/readyz"):
        answer = httpx.get(f"{served.api.probes}{path}", trust_env=False)
        assert (answer.status_code, answer.text) == (200, "ok")
    assert httpx.get(f"{served.api.probes}/api/jobs", trust_env=False).status_code == 404


def test_the_probes_say_that_the_database_is_away_and_the_api_lives(
    without_database: Api,
) -> None:
    healthy = httpx.get(f"{without_database.probes}/healthz", trust_env=False)
    ready = httpx.get(f"{without_database.probes}/readyz", timeout=30, trust_env=False)
    assert (healthy.status_code, ready.status_code) == (200, 503)
    assert "the-password" not in ready.text


def test_metrics_name_routes_and_never_jobs(served: Served, http: httpx.Client) -> None:
    job_id = Recogniser(served).job_id
    http.get(f"/api/jobs/{job_id}")
    http.get(f"/api/jobs/{job_id}/transcript")
    http.get("/api/jobs/59998")
    http.get("/api/jobs/x")
    http.get("/nowhere/59997")
    http.put(f"/api/jobs/{job_id}")
    counted = requests_counted(served.api)
    for expected in (
        ("/api/jobs/{job_id}", "GET", "200"),
        ("/api/jobs/{job_id}", "GET", "404"),
        ("/api/jobs/{job_id}", "GET", "422"),
        ("/api/jobs/{job_id}/transcript", "GET", "200"),
        ("none", "GET", "404"),
    ):
        assert counted[expected] >= 1
    known = {*http.get("/openapi.json").json()["paths"], "/openapi.json", "/docs", "none"}
    assert {route for route, _, _ in counted} <= known


def test_metrics_count_what_is_taken(served: Served, http: httpx.Client) -> None:
    def taken(source: str) -> float:
        families = text_string_to_metric_families(served.api.metrics())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "hearsight_jobs_accepted_total" and sample.labels["source"] == source
        )

    before = taken("url"), taken("upload")
    request = {"url": "https://example.org/talk.mp4", "job_id": 50_001}
    assert http.post("/api/tasks/process", json=request).status_code == 202
    assert http.post("/api/tasks/process", json=request).status_code == 200
    assert send(http, file(wav())).status_code == 202
    assert (taken("url"), taken("upload")) == (before[0] + 1, before[1] + 1)


def gauge(api: Api, name: str, **labels: str) -> float | None:
    """What a gauge of the API says; None: it is not told."""
    families = text_string_to_metric_families(api.metrics())
    return next(
        (
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ),
        None,
    )


def await_gauge(api: Api, value: float, name: str, **labels: str) -> None:
    deadline = time.monotonic() + 60
    while gauge(api, name, **labels) != value:
        assert time.monotonic() < deadline, (name, labels, gauge(api, name, **labels))
        time.sleep(0.1)


def test_metrics_tell_that_the_stores_answer_and_what_room_they_have(served: Served) -> None:
    for store in ("postgresql", "redis", "objects"):
        await_gauge(served.api, 1, "hearsight_store_up", store=store)
    free = gauge(served.api, "hearsight_storage_free_bytes")
    size = gauge(served.api, "hearsight_storage_size_bytes")
    assert free is not None
    assert size is not None
    assert 0 < free < size
    assert gauge(served.api, "hearsight_schema_behind") == 0


def test_metrics_tell_that_the_database_lacks_tables(
    served: Served, empty_database_url: str, tmp_path: Path
) -> None:
    migrate.upgrade(empty_database_url, "0001")
    env = {**served.env, "HEARSIGHT_DATABASE_URL": empty_database_url}
    with api.running(tmp_path / "api.log", env) as server:
        await_gauge(server, 1, "hearsight_schema_behind")


def test_metrics_tell_which_store_is_away(
    served: Served, without_database: Api, without_redis: Api, tmp_path: Path
) -> None:
    env = {
        **served.env,
        "HEARSIGHT_STORAGE_URL": "s3://bucket",
        "HEARSIGHT_STORAGE_ENDPOINT": f"http://{HOST}:{free_port()}",
        "HEARSIGHT_STORAGE_ACCESS_KEY_ID": "key",
        "HEARSIGHT_STORAGE_SECRET_ACCESS_KEY": "key",
    }
    with api.running(tmp_path / "api.log", env) as without_objects:
        for server, away in (
            (without_database, "postgresql"),
            (without_redis, "redis"),
            (without_objects, "objects"),
        ):
            for store in ("postgresql", "redis", "objects"):
                await_gauge(server, store != away, "hearsight_store_up", store=store)
        assert gauge(without_objects, "hearsight_storage_free_bytes") is None


# PostgreSQL is away


def test_without_the_database_the_api_lives_and_says_what_is_wrong(
    served: Served, without_database: Api
) -> None:
    """Everything at once, as each answer takes as long as the database is waited for."""
    before = objects(served.storage)

    def ask(method: str, path: str) -> httpx.Response:
        with without_database.client() as http:
            if path == "/api/upload":
                return send(http, file(wav()))
            body = {"url": "https://example.org/talk.mp4"} if path.endswith("/process") else None
            return http.request(method, path, json=body)

    asked = [
        ("GET", "/readyz"),
        ("POST", "/api/tasks/process"),
        ("POST", "/api/upload"),
        ("GET", "/api/jobs"),
        ("GET", "/api/jobs/1"),
        ("POST", "/api/jobs/1/cancel"),
        ("POST", "/api/jobs/1/retry"),
        ("DELETE", "/api/jobs/1"),
        ("GET", "/api/jobs/1/transcript"),
        ("GET", "/api/jobs/1/media"),
        ("GET", "/api/progress/task/59996"),
        ("GET", "/api/progress/task/59996/events"),
    ]
    asked += [("GET", "/api/jobs")] * (THREADS - len(asked))
    with ThreadPoolExecutor(len(asked)) as pool, without_database.client() as http:
        answers = [pool.submit(ask, *question) for question in asked]
        # All threads of the API wait for the database now; whether it lives is told all the same.
        time.sleep(0.5)
        assert http.get("/healthz").status_code == 200
        assert without_database.metrics()
        assert not any(answer.done() for answer in answers)
        for answer in answers:
            response = answer.result()
            said = problem(response, 503, "storage.database")
            assert response.headers["Retry-After"] == "5"
            assert "the-password" not in said["detail"]
    # Whether there is room is asked before a file is taken.
    assert objects(served.storage) == before
    assert "the-password" not in without_database.log.read_text()


# Redis is away


def test_without_redis_jobs_are_taken_and_shown(served: Served, without_redis: Api) -> None:
    worker = Recogniser(served)
    with without_redis.client() as http:
        assert http.get("/readyz").status_code == 200
        taken = http.post("/api/tasks/process", json={"url": "https://example.org/talk.mp4"})
        assert taken.status_code == 202
        told = http.get(f"/api/progress/task/{taken.json()['job_id']}").json()
        assert told["status"] == "pending"
        assert http.post(f"{taken.headers['Location']}/cancel").json()["status"] == "cancelled"
        assert http.delete(taken.headers["Location"]).status_code == 204
        worker.say("heard")
        worker.finish()
        events = http.get(f"/api/progress/task/{worker.job_id}/events").text
    assert events.count("event: segment") == 1
    assert events.count("event: end") == 1
