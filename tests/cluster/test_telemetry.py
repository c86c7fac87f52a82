"""Metrics, traces and logs of every process in the cluster."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from tests.client import Client
from tests.cluster import dashboards, prometheus
from tests.cluster.forwarding import forwarded
from tests.cluster.load import Load
from tests.cluster.outside import Outside
from tests.cluster.prometheus import Prometheus, Target
from tests.cluster.recordings import recordings
from tests.cluster.release import Release
from tests.cluster.waiting import eventually

SERVICES = ("api", "download-worker", "asr-worker")
PORT = 9100
INTERVAL_S = 5
JOBS = 2


@pytest.fixture(scope="module")
def watched(
    release: Release,
    client: Client,
    outside: Outside,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """A Prometheus that has seen every process before, during and after some jobs."""
    if not prometheus.installed():
        pytest.skip("there is no prometheus on this machine; Debian's package has that name")
    with ExitStack() as stack:
        targets = [
            Target(
                stack.enter_context(forwarded(release.kubectl, pod, PORT)),
                job=f"hearsight-{component}",
                pod=pod,
                namespace=release.kubectl.namespace,
            )
            for component in SERVICES
            for pod in release.ready(component, 2)
        ]
        folder = tmp_path_factory.mktemp("prometheus")
        server = stack.enter_context(prometheus.running(folder, targets, interval_s=INTERVAL_S))
        server.await_scraped()
        Load.start(release, client, outside, JOBS).assert_all_done_once()
        server.await_scraped()
        yield server


def test_every_panel_of_every_dashboard_shows_something(watched: Prometheus) -> None:
    assert watched.without_data(dashboards.every()) == []


def test_no_alert_fires_on_a_well_installation(watched: Prometheus) -> None:
    assert watched.broken_rules() == []
    assert watched.firing() == []


def test_one_trace_leads_from_the_request_through_all_three_services(
    client: Client, outside: Outside
) -> None:
    job_id = client.submit(outside.media_url(recordings()[0].name), language="en")
    assert client.outcome(job_id)["status"] == "completed"
    trace_id = client.http.get(f"/api/jobs/{job_id}").json()["trace_id"]
    wanted = {
        ("api", "POST /api/tasks/process"),
        ("api", "send hint"),
        ("download-worker", "download"),
        ("download-worker", "fetch"),
        ("download-worker", "cut"),
        ("asr-worker", "transcribe"),
        ("asr-worker", "recognise"),
    }

    def whole() -> list[dict[str, object]] | None:
        """Each process sends its spans some seconds after they ended."""
        spans = outside.spans(trace_id)
        names = {(str(span["service"]).removeprefix("hearsight-"), span["name"]) for span in spans}
        ended = any("job completed" in span["events"] for span in spans)
        return spans if names >= wanted and ended and len(_roots(spans)) == 1 else None

    spans = eventually("the trace is whole", whole, describe=lambda: str(outside.spans(trace_id)))
    assert _roots(spans) == ["POST /api/tasks/process"]


def _roots(spans: Sequence[Mapping[str, object]]) -> list[object]:
    """The names of the spans whose parent is none of them."""
    known = {span["span_id"] for span in spans}
    return [span["name"] for span in spans if span["parent_span_id"] not in known]


@pytest.mark.parametrize("worker", ["download-worker", "asr-worker"])
def test_log_lines_of_a_job_carry_its_number_and_its_trace(
    release: Release, client: Client, outside: Outside, worker: str
) -> None:
    with release.kubectl.listening(*release.ready(worker, 2)) as printed:

        def told() -> tuple[str, set[str]] | None:
            """The trace of a job, and those its lines name; none before the listening began."""
            job_id = client.submit(outside.media_url(recordings()[0].name), language="en")
            assert client.outcome(job_id)["status"] == "completed"
            lines = [json.loads(line) for line in printed() if line.startswith("{")]
            traces = {line["trace_id"] for line in lines if line.get("job_id") == job_id}
            trace_id = client.http.get(f"/api/jobs/{job_id}").json()["trace_id"]
            return (trace_id, traces) if traces else None

        trace_id, traces = eventually(f"a {worker} tells of a job", told)
    assert traces == {trace_id}
