"""A real Prometheus at the real stack: nothing on a dashboard is empty, no alert is broken."""

from collections.abc import Iterator

import pytest

from hearsight.stack.plan import API, API_METRICS, WORKERS
from hearsight.stack.ports import HOST
from tests.cluster import dashboards, prometheus
from tests.cluster.prometheus import Prometheus, Target
from tests.servers.stack import Stack
from tests.speech import joined, write_wav

pytestmark = pytest.mark.skipif(
    not prometheus.installed(),
    reason="there is no prometheus on this machine; Debian's package has that name",
)


@pytest.fixture(scope="module")
def watched(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen the stack between two jobs and after the second."""
    folder = tmp_path_factory.mktemp("prometheus")
    targets = [
        Target(
            f"{HOST}:{stack.state.ports[port]}",
            job=f"hearsight-{name}",
            pod=f"{name}-1",
            namespace="local",
        )
        for name, port in ((API, API_METRICS), *((name, name) for name in WORKERS))
    ]
    recording = write_wav(folder / "talk.wav", joined(20, seed=5).audio)

    def transcribe() -> None:
        assert stack.outcome(stack.upload(recording))["status"] == "completed"

    # A route has no rate before it has been asked for, scraped, and asked for again.
    transcribe()
    with prometheus.running(folder, targets) as server:
        server.await_scraped()
        transcribe()
        server.await_scraped()
        yield server


def test_every_panel_of_every_dashboard_shows_something(watched: Prometheus) -> None:
    assert watched.without_data(dashboards.every()) == []


def test_every_alert_can_be_evaluated_and_none_fires_on_a_well_stack(watched: Prometheus) -> None:
    assert watched.broken_rules() == []
    assert watched.firing() == []


def test_a_mistake_in_a_query_is_told_in_prometheus_own_words(watched: Prometheus) -> None:
    with pytest.raises(prometheus.QueryError, match="parse error"):
        watched.query("sum by (")


def test_a_target_that_does_not_answer_is_named(
    watched: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "SCRAPED_S", 3)
    watched.scrape([Target(f"{HOST}:9", job="nobody", pod="nobody-1", namespace="local")])
    with pytest.raises(TimeoutError, match=f"{HOST}:9"):
        watched.await_scraped()
