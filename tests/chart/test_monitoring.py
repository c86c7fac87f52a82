"""How Prometheus finds the services."""

from tests.chart.cases import POOLS, rendered
from tests.chart.rendering import render


def test_nothing_of_the_prometheus_operator_is_needed() -> None:
    kinds = {one["kind"] for one in render().objects}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


def test_a_service_monitor_finds_the_api() -> None:
    manifests = rendered("scaled")
    monitor = manifests.one("ServiceMonitor", "hearsight-api")
    service = manifests.one("Service", "hearsight-api")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    # By the pods' port, which the Service does not have: clients of the API can't ask there.
    (endpoint,) = monitor["spec"]["endpoints"]
    assert "port" not in endpoint
    assert endpoint["targetPort"] == "metrics"
    api = manifests.pod("Deployment hearsight-api")
    assert service["spec"]["selector"].items() <= api.metadata["labels"].items()
    assert "metrics" in [port["name"] for port in api.main["ports"]]
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


def test_a_pod_monitor_finds_the_workers_of_every_pool() -> None:
    manifests = rendered("scaled")
    spec = manifests.one("PodMonitor", "hearsight-workers")["spec"]
    (component,) = spec["selector"]["matchExpressions"]
    found = {
        pod.owner
        for pod in manifests.pods()
        if spec["selector"]["matchLabels"].items() <= pod.metadata["labels"].items()
        and pod.metadata["labels"][component["key"]] in component["values"]
    }
    workers = {f"asr-worker-{pool['name']}" for pool in POOLS["asrPools"]}
    assert found == {
        f"Deployment hearsight-{name}" for name in {*workers, "asr-worker", "download-worker"}
    }
    (endpoint,) = spec["podMetricsEndpoints"]
    for owner in found:
        assert endpoint["port"] in [port["name"] for port in manifests.pod(owner).main["ports"]]


def test_annotations_tell_a_prometheus_without_operator() -> None:
    for pod in rendered("scaled").pods():
        if pod.owner.startswith("Deployment"):
            annotations = pod.metadata["annotations"]
            assert annotations["prometheus.io/scrape"] == "true"
            (port,) = [port for port in pod.main["ports"] if port["name"] == "metrics"]
            assert annotations["prometheus.io/port"] == str(port["containerPort"])
    bare = render().pod("Deployment hearsight-api").metadata["annotations"]
    assert "prometheus.io/scrape" not in bare
