"""A worker tells over HTTP whether it lives, whether it takes work, and what it counts."""

from collections.abc import Iterator

import httpx
import pytest

from hearsight_core.telemetry.metrics import NEWS_LOST
from hearsight_core.telemetry.probes import ProbeServer


class Condition:
    """What is wrong with a process, if anything."""

    def __init__(self) -> None:
        self.healthy: str | None = None
        self.ready: str | None = None


@pytest.fixture
def condition() -> Condition:
    return Condition()


@pytest.fixture
def probes(condition: Condition) -> Iterator[httpx.Client]:
    server = ProbeServer(
        "127.0.0.1", 0, healthy=lambda: condition.healthy, ready=lambda: condition.ready
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    server.close()


def test_a_sound_worker_answers_ok(probes: httpx.Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = probes.get(path)
        assert (answer.status_code, answer.text) == (200, "ok")


def test_what_is_wrong_is_told_with_a_status_that_probes_understand(
    probes: httpx.Client, condition: Condition
) -> None:
    condition.ready = "draining"
    assert probes.get("/healthz").status_code == 200
    answer = probes.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "draining")
    condition.healthy = "the heartbeat thread has ended"
    assert probes.get("/healthz").status_code == 503


def test_metrics_are_served_as_prometheus_reads_them(probes: httpx.Client) -> None:
    before = NEWS_LOST._value.get()
    NEWS_LOST.inc()
    answer = probes.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert f"hearsight_news_lost_total {before + 1}" in answer.text


def test_anything_else_is_not_found(probes: httpx.Client) -> None:
    assert probes.get("/").status_code == 404


def test_a_closed_server_answers_no_more() -> None:
    server = ProbeServer("127.0.0.1", 0, healthy=lambda: None, ready=lambda: None)
    server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{server.port}/healthz")
