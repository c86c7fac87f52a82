"""Processes and pods that are killed while many jobs are in work."""

import pytest

from tests.client import Client
from tests.cluster.load import Load
from tests.cluster.outside import Outside
from tests.cluster.release import Release

KILLED = 137
"""Exit code of a process that SIGKILL ended."""
REPLICAS = {"download-worker": 2, "asr-worker": 2, "api": 2, "valkey": 1, "postgresql": 1}


@pytest.fixture
def load(release: Release, client: Client, outside: Outside) -> Load:
    """Jobs in work."""
    started = Load.start(release, client, outside)
    started.await_recognition()
    return started


def test_kill_9_of_every_kind_of_process_loses_no_job_and_doubles_none(
    release: Release, load: Load
) -> None:
    for component, replicas in REPLICAS.items():
        pod, *_ = release.ready(component, replicas)
        killed = release.kubectl.kill(pod)
        assert killed["exitCode"] == KILLED, killed
    load.assert_all_done_once()


def test_pods_that_vanish_lose_no_job_and_double_none(release: Release, load: Load) -> None:
    for component, replicas in REPLICAS.items():
        pod, *_ = release.ready(component, replicas)
        release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        release.ready(component, replicas)
    load.assert_all_done_once()
