"""What no pod may reach, tried from inside the pods; and that what they need, they reach."""

import pytest

from tests.cluster.outside import COLLECTOR, MEDIA, PORT, STRANGER, Outside
from tests.cluster.release import Release

METADATA = "169.254.169.254"
"""Where the clouds tell a machine its secrets."""
PRIVATE = ("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.100.100.200")
WORLD = "1.1.1.1"
SERVICES = ("api", "download-worker", "asr-worker")
STORES = {"postgresql": 5432, "valkey": 6379}
METRICS = 9100


@pytest.mark.parametrize("component", SERVICES)
@pytest.mark.parametrize("store", STORES)
def test_every_service_reaches_its_stores(release: Release, component: str, store: str) -> None:
    assert release.kubectl.reaches(release.pod(component), f"hearsight-{store}", STORES[store])


def test_only_download_workers_reach_the_site_they_were_allowed(
    release: Release, outside: Outside
) -> None:
    reached = [
        component
        for component in (*SERVICES, *STORES)
        if release.kubectl.reaches(release.pod(component), outside.address(MEDIA), PORT)
    ]
    assert reached == ["download-worker"]


@pytest.mark.parametrize("component", [*SERVICES, *STORES])
def test_nobody_reaches_another_pod_of_the_cluster(
    release: Release, outside: Outside, component: str
) -> None:
    address = outside.address(STRANGER)
    assert outside.kubectl.reaches(MEDIA, address, PORT), "it is there"
    assert not release.kubectl.reaches(release.pod(component), address, PORT)


@pytest.mark.parametrize("address", [METADATA, *PRIVATE])
def test_download_workers_reach_no_inner_address(release: Release, address: str) -> None:
    assert not release.kubectl.reaches(release.pod("download-worker"), address, 80)


@pytest.mark.parametrize("component", ["api", "asr-worker", *STORES])
@pytest.mark.parametrize("address", [METADATA, WORLD])
def test_nobody_else_reaches_the_world(release: Release, component: str, address: str) -> None:
    assert not release.kubectl.reaches(release.pod(component), address, 80)


@pytest.mark.parametrize("store", STORES)
def test_a_stranger_reaches_no_store(release: Release, outside: Outside, store: str) -> None:
    host = f"hearsight-{store}.{release.kubectl.namespace}.svc"
    assert not outside.kubectl.reaches(STRANGER, host, STORES[store])


@pytest.mark.parametrize("component", SERVICES)
def test_metrics_are_for_those_who_were_named(
    release: Release, outside: Outside, component: str
) -> None:
    for pod in release.pods(component):
        address = pod["status"]["podIP"]
        assert outside.kubectl.reaches(COLLECTOR, address, METRICS)
        assert not outside.kubectl.reaches(STRANGER, address, METRICS)


@pytest.mark.parametrize("component", ["download-worker", "asr-worker"])
def test_a_worker_reads_no_metrics_of_the_api(release: Release, component: str) -> None:
    for pod in release.pods("api"):
        address = pod["status"]["podIP"]
        assert not release.kubectl.reaches(release.pod(component), address, METRICS)


def test_the_api_answers_whoever_may_be_an_ingress(release: Release, outside: Outside) -> None:
    host = f"hearsight-api.{release.kubectl.namespace}.svc"
    assert outside.kubectl.reaches(STRANGER, host, 8000)
    ports = release.kubectl.one("service", "hearsight-api")["spec"]["ports"]
    assert [port["port"] for port in ports] == [8000], "no client finds the metrics"
