"""KEDA: workers come when there is work, and go without losing any."""

import pytest

from tests.client import Client
from tests.cluster.kubectl import CommandError
from tests.cluster.load import Load
from tests.cluster.outside import Outside
from tests.cluster.release import Release, Values
from tests.cluster.waiting import eventually

WORKERS = ("download-worker", "asr-worker")
SCALING = {"minReplicas": 0, "maxReplicas": 2}
KEDA = {
    "autoscaling": {
        "engine": "keda",
        "keda": {"pollingIntervalS": 2, "cooldownPeriodS": 5, "scaleDownStabilizationS": 5},
    },
    "downloadWorker": {"autoscaling": {**SCALING, "targetTasksPerWorker": 2}},
    "asrWorker": {"autoscaling": {**SCALING, "speed": 1, "targetTimeS": 60}},
}
ONE = '{"spec": {"maxReplicaCount": 1}}'


@pytest.fixture(scope="module")
def scaled(release: Release, values: list[Values]) -> Release:
    """The installation, with its workers scaled by KEDA."""
    try:
        release.kubectl("get", "crd", "scaledobjects.keda.sh")
    except CommandError:
        pytest.skip("KEDA is not installed in the cluster")
    release.install(*values, KEDA)
    return release


def _await_none(release: Release) -> None:
    for worker in WORKERS:
        eventually(
            f"no {worker} is left",
            lambda worker=worker: not release.pods(worker),  # type: ignore[misc]  # a default binds
            describe=release.kubectl.describe,
        )


def _await_two_recognising(release: Release) -> list[str]:
    """Names of two ASR workers, once each has a task in work."""
    busy = "SELECT count(DISTINCT owner) FROM tasks WHERE state = 'running' AND queue = 'asr'"
    eventually("two ASR workers are at work", lambda: release.sql(busy)[0]["count"] == 2)
    return release.ready("asr-worker", 2)


def test_with_nothing_to_do_there_is_no_worker(scaled: Release) -> None:
    _await_none(scaled)


def test_work_brings_workers_and_scale_in_loses_nothing_and_repeats_nothing(
    scaled: Release, client: Client, outside: Outside
) -> None:
    load = Load.start(scaled, client, outside)
    eventually("a download worker comes", lambda: scaled.pods("download-worker"))
    workers = _await_two_recognising(scaled)
    for pod in workers:
        scaled.kubectl.hold(pod)
    scaled.kubectl("patch", "scaledobject", "hearsight-asr-worker", "--type=merge", "-p", ONE)
    [stays] = eventually("one worker goes", lambda: _one_left(scaled, workers))
    [goes] = set(workers) - {stays}
    ending = scaled.kubectl.ending(goes)
    assert ending["exitCode"] == 0, ending["log"]
    scaled.kubectl.let_go(stays)
    load.assert_all_done_once()
    # What was in work was handed back at a checkpoint: no lease ran out, so nothing was begun anew.
    assert not load.failures()


def _one_left(release: Release, workers: list[str]) -> list[str] | None:
    left = [pod["metadata"]["name"] for pod in release.pods("asr-worker")]
    return left if len(left) == 1 and left[0] in workers else None


def test_workers_go_when_the_work_is_done(scaled: Release) -> None:
    _await_none(scaled)
