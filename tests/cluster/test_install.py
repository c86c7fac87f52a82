"""The chart installed in a restricted namespace: what runs, where, and with which rights."""

import pytest

from tests.cluster.kubectl import Object
from tests.cluster.release import Release

SERVICES = ("api", "download-worker", "asr-worker")
GPU = "nvidia.com/gpu"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  a folder


def _gpus(pods: list[Object]) -> list[str]:
    return [pod["spec"]["containers"][0]["resources"]["limits"][GPU] for pod in pods]


@pytest.mark.parametrize("component", SERVICES)
def test_two_pods_of_each_service_run(release: Release, component: str) -> None:
    assert len(release.ready(component, 2)) == 2


def test_asr_workers_stand_on_gpu_nodes_and_hold_a_gpu_each(release: Release) -> None:
    pods = release.pods("asr-worker")
    assert _gpus(pods) == ["1", "1"]
    for pod in pods:
        node = release.kubectl.one("node", pod["spec"]["nodeName"])
        assert int(node["status"]["allocatable"][GPU]) > 0
        held = release.kubectl("describe", "node", pod["spec"]["nodeName"])
        allocated = next(
            line for line in held.split("Allocated resources:")[1].splitlines() if GPU in line
        )
        assert int(allocated.split()[1]) >= 2, held


def test_gpus_are_left_to_asr_workers(release: Release) -> None:
    for component in ("api", "download-worker", "postgresql", "valkey"):
        for pod in release.pods(component):
            node = release.kubectl.one("node", pod["spec"]["nodeName"])
            taints = {taint["key"] for taint in node["spec"].get("taints", [])}
            assert GPU not in taints, pod["metadata"]["name"]
            for container in pod["spec"]["containers"]:
                assert GPU not in container["resources"].get("limits", {})


@pytest.mark.parametrize("component", [*SERVICES, "postgresql", "valkey"])
def test_no_pod_has_a_token_of_the_cluster(release: Release, component: str) -> None:
    for pod in release.pods(component):
        mounts = [m["mountPath"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]]
        assert TOKEN not in mounts
        release.kubectl.exec(pod["metadata"]["name"], "sh", "-c", f"! test -e {TOKEN}")


@pytest.mark.parametrize("component", [*SERVICES, "postgresql", "valkey"])
def test_the_root_file_system_is_read_only_and_nobody_is_root(
    release: Release, component: str
) -> None:
    shell = (
        "! touch /there 2>/dev/null && ! touch /opt/there 2>/dev/null && touch /tmp/there && id -u"
    )
    for pod in release.pods(component):
        assert int(release.kubectl.exec(pod["metadata"]["name"], "sh", "-c", shell)) > 0
