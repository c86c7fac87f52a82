"""A node is drained while many jobs are in work: each kind of pod is evicted once."""

import pytest

from tests.client import Client
from tests.cluster.kubectl import Object
from tests.cluster.load import Load
from tests.cluster.outside import Outside
from tests.cluster.release import Release

REPLICAS = {"api": 2, "download-worker": 2, "asr-worker": 2, "postgresql": 1, "valkey": 1}


@pytest.fixture(scope="module")
def load(release: Release, client: Client, outside: Outside) -> Load:
    """The jobs that are in work when the evictions begin."""
    started = Load.start(release, client, outside)
    started.await_recognition()
    return started


@pytest.fixture(scope="module")
def endings(release: Release, load: Load) -> dict[str, Object]:
    """How the container of each kind of pod ended after its eviction under load."""
    del load
    ended = {}
    for component, replicas in REPLICAS.items():
        pod, *others = release.ready(component, replicas)
        release.kubectl.hold(pod)
        assert release.kubectl.evict(pod)
        if others:
            assert not release.kubectl.evict(others[0]), "both pods may be evicted at once"
        ended[component] = release.kubectl.ending(pod)
        release.ready(component, replicas)
    return ended


@pytest.mark.parametrize("component", REPLICAS)
def test_a_pod_ends_by_itself_within_its_grace(endings: dict[str, Object], component: str) -> None:
    ending = endings[component]
    assert ending["exitCode"] == 0, f"{ending['reason']} {ending['exitCode']}\n{ending['log']}"


@pytest.mark.usefixtures("endings")
def test_evictions_of_every_kind_of_pod_lose_no_job_and_double_none(load: Load) -> None:
    load.assert_all_done_once()
