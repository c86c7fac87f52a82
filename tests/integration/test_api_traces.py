"""A job's trace begins with the request that brings it, or before, and is told everywhere."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import httpx
import pytest

from hearsight.stack.ports import HOST, free_port
from tests.servers import api
from tests.servers.api import Api, Served
from tests.servers.collector import Collector, Span, collector
from tests.store import rows

TASKS = "/api/tasks/process"
URL = "https://example.org/talk.mp4"

ENDS_WITHIN_S = 10
"""A process whose collector does not answer; the library alone would wait for half a minute."""


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collector() as one:
        yield one


@pytest.fixture(scope="module")
def traced(
    served: Served, collected: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """An API that exports its traces, and writes its log for machines."""
    env = {
        **served.env,
        "HEARSIGHT_OTLP_ENDPOINT": collected.url,
        "HEARSIGHT_LOG_FORMAT": "json",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with api.running(tmp_path_factory.mktemp("traced") / "api.log", env) as server:
        yield server


@pytest.fixture
def http(traced: Api) -> Iterator[httpx.Client]:
    with traced.client() as client:
        yield client


def a_parent(*, sampled: bool = True) -> tuple[str, str, str]:
    """A client's own trace: (trace id, span id, header)."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def server_span(collected: Collector, trace_id: str) -> Span:
    """The span of the one request of a trace."""
    spans = collected.trace(trace_id, lambda found: any(one["kind"] == "SERVER" for one in found))
    [span] = [one for one in spans if one["kind"] == "SERVER"]
    return span


def lines(log: Path) -> list[dict[str, object]]:
    """The log's lines."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def task_parents(served: Served, job_id: int) -> list[object]:
    found = rows(served.database, "SELECT trace_parent FROM tasks WHERE job_id = :id", id=job_id)
    return [row["trace_parent"] for row in found]


def test_a_clients_own_trace_is_the_jobs(
    served: Served, collected: Collector, http: httpx.Client
) -> None:
    trace_id, span_id, header = a_parent()
    taken = http.post(TASKS, json={"url": URL}, headers={"traceparent": header})
    assert http.get(taken.headers["Location"]).json()["trace_id"] == trace_id
    span = server_span(collected, trace_id)
    assert (span["service"], span["name"]) == ("hearsight-api", "POST /api/tasks/process")
    assert span["parent_span_id"] == span_id
    assert span["attributes"]["http.route"] == TASKS
    assert span["attributes"]["http.response.status_code"] == 202
    assert span["attributes"]["hearsight.request_id"] == taken.headers["X-Request-Id"]
    # What a worker will do is told below the request.
    job_id = taken.json()["job_id"]
    assert task_parents(served, job_id) == [f"00-{trace_id}-{span['span_id']}-01"]


def test_a_request_without_a_trace_begins_one(collected: Collector, http: httpx.Client) -> None:
    taken = http.post(TASKS, json={"url": URL})
    trace_id = http.get(taken.headers["Location"]).json()["trace_id"]
    assert server_span(collected, trace_id)["parent_span_id"] is None


@pytest.mark.parametrize(
    "header", ["", "me", f"00-{'0' * 32}-{'0' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01", "0" * 9000]
)
def test_a_header_that_names_no_trace_is_not_taken_for_one(
    traced: Api, http: httpx.Client, header: str
) -> None:
    taken = http.post(TASKS, json={"url": URL}, headers={"traceparent": header})
    trace_id = http.get(taken.headers["Location"]).json()["trace_id"]
    assert len(trace_id) == 32
    assert trace_id not in header
    assert not [line for line in lines(traced.log) if line["level"] not in {"info", "warning"}]


def test_a_client_that_samples_its_traces_decides_for_ours(
    collected: Collector, http: httpx.Client
) -> None:
    unsampled, _, header = a_parent(sampled=False)
    taken = http.post(TASKS, json={"url": URL}, headers={"traceparent": header})
    assert http.get(taken.headers["Location"]).json()["trace_id"] == unsampled
    later, _, header = a_parent()
    http.get("/api/jobs", headers={"traceparent": header})
    server_span(collected, later)
    assert collected.spans(trace_id=unsampled) == []


def test_the_same_request_again_leaves_the_job_in_its_trace(http: httpx.Client) -> None:
    first, _, header = a_parent()
    request = {"url": URL, "job_id": 70_001}
    http.post(TASKS, json=request, headers={"traceparent": header})
    _, _, other = a_parent()
    assert http.post(TASKS, json=request, headers={"traceparent": other}).status_code == 200
    assert http.get("/api/jobs/70001").json()["trace_id"] == first


def test_every_line_of_a_request_names_its_trace(traced: Api, http: httpx.Client) -> None:
    trace_id, _, header = a_parent()
    answer = http.get("/api/jobs/59995", headers={"traceparent": header, "x-request-id": "mine"})
    assert answer.json()["trace_id"] == trace_id
    [line] = [line for line in lines(traced.log) if line.get("trace_id") == trace_id]
    assert (line["event"], line["request_id"], line["status"]) == ("request", "mine", 404)


def test_a_request_that_fails_is_a_span_of_an_error(
    served: Served, collected: Collector, tmp_path: Path
) -> None:
    away = f"postgresql://hearsight@{HOST}:{free_port()}/hearsight"
    env = {
        **served.env,
        "HEARSIGHT_DATABASE_URL": away,
        "HEARSIGHT_OTLP_ENDPOINT": collected.url,
    }
    trace_id, _, header = a_parent()
    with api.running(tmp_path / "api.log", env, until="/healthz") as server:  # noqa: SIM117
        with server.client() as client:
            client.get("/api/jobs/1", headers={"traceparent": header})
    span = server_span(collected, trace_id)
    assert (span["status"], span["attributes"]["error.type"]) == ("ERROR", "503")


def test_a_cancel_ends_the_job_in_the_span_of_its_own_request(
    collected: Collector, http: httpx.Client
) -> None:
    job_id = http.post(TASKS, json={"url": URL}).json()["job_id"]
    trace_id, _, header = a_parent()
    http.post(f"/api/jobs/{job_id}/cancel", headers={"traceparent": header})
    assert server_span(collected, trace_id)["events"] == ["job cancelled"]


def test_what_machines_ask_every_few_seconds_is_not_traced(
    collected: Collector, http: httpx.Client
) -> None:
    for path in ("/healthz", "/readyz"):
        http.get(path)
    trace_id, _, header = a_parent()
    http.get("/api/jobs", headers={"traceparent": header})
    server_span(collected, trace_id)
    routes = {one["attributes"].get("http.route") for one in collected.spans()}
    assert not routes & {"/healthz", "/readyz"}


def test_the_last_spans_of_a_process_that_ends_are_not_lost(
    served: Served, collected: Collector, tmp_path: Path
) -> None:
    env = {
        **served.env,
        "HEARSIGHT_OTLP_ENDPOINT": collected.url,
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
    }
    trace_id, _, header = a_parent()
    with api.running(tmp_path / "api.log", env) as server, server.client() as client:
        client.get("/api/jobs", headers={"traceparent": header})
        assert collected.spans(trace_id=trace_id) == []
    server_span(collected, trace_id)


def test_a_collector_that_is_away_costs_one_line_and_no_request(
    served: Served, tmp_path: Path
) -> None:
    env = {
        **served.env,
        "HEARSIGHT_OTLP_ENDPOINT": f"http://{HOST}:{free_port()}",
        "HEARSIGHT_LOG_FORMAT": "json",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
    }
    with api.running(tmp_path / "api.log", env) as server, server.client() as client:
        for _ in range(60):
            assert client.get("/api/jobs").status_code == 200
        _wait_for_line(server.log, "traces are not exported: spans are lost")
    told = [line for line in lines(server.log) if line["level"] != "info"]
    assert [line["event"] for line in told] == ["traces are not exported: spans are lost"]


def test_a_collector_that_never_answers_holds_up_no_end(served: Served, tmp_path: Path) -> None:
    with create_server((HOST, 0)) as silent:
        env = {
            **served.env,
            "HEARSIGHT_OTLP_ENDPOINT": f"http://{HOST}:{silent.getsockname()[1]}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with api.running(tmp_path / "api.log", env) as server, server.client() as client:
            assert client.get("/api/jobs").status_code == 200
            with silent.accept()[0]:
                server.process.terminate()
                server.process.wait(ENDS_WITHIN_S)


def test_jobs_have_traces_though_nobody_collects_them(served: Served) -> None:
    with served.api.client() as client:
        taken = client.post(TASKS, json={"url": URL})
        assert len(client.get(taken.headers["Location"]).json()["trace_id"]) == 32


def _wait_for_line(log: Path, event: str) -> None:
    deadline = time.monotonic() + 30
    while event not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
