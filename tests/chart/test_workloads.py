"""How the services run: images, probes, rollouts, where pods are placed."""

import pytest

from tests.chart.cases import BUNDLED, CASES, Values, rendered
from tests.chart.rendering import APP_VERSION, Pod, render

API = "Deployment hearsight-api"
DOWNLOAD = "Deployment hearsight-download-worker"
ASR = "Deployment hearsight-asr-worker"
COMPONENTS = {"api": API, "downloadWorker": DOWNLOAD, "asrWorker": ASR}

METRICS = {"name": "metrics", "containerPort": 9100, "protocol": "TCP"}
"""Health and metrics of every process."""

DRAIN_S = 10
"""How long the API lets open requests go on after SIGTERM (hearsight_api.__main__.GRACE_S)."""


def services(case: str) -> list[Pod]:
    return [pod for pod in rendered(case).pods() if pod.owner.startswith("Deployment")]


def test_three_deployments_run_three_images() -> None:
    manifests = render()
    assert {owner: manifests.pod(owner).main["image"] for owner in COMPONENTS.values()} == {
        API: f"docker.io/hearsight/api:{APP_VERSION}",
        DOWNLOAD: f"docker.io/hearsight/download-worker:{APP_VERSION}",
        ASR: f"docker.io/hearsight/asr-worker:{APP_VERSION}-cuda",
    }


def test_registry_and_tag_hold_for_all_images() -> None:
    manifests = render({"image": {"registry": "registry.example.org", "tag": "1.2.3"}})
    images = {
        container["image"]
        for pod in manifests.pods()
        for container in pod.containers
        if not pod.owner.startswith("StatefulSet")
    }
    assert images == {
        "registry.example.org/hearsight/api:1.2.3",
        "registry.example.org/hearsight/download-worker:1.2.3",
        "registry.example.org/hearsight/asr-worker:1.2.3-cuda",
    }


def test_a_component_may_have_an_image_of_its_own() -> None:
    digest = "sha256:" + "0" * 64
    manifests = render(
        {
            "image": {"registry": ""},
            "api": {"image": {"repository": "ghcr.io/me/api", "tag": "dev"}},
            "asrWorker": {"image": {"tag": f"dev@{digest}"}},
        }
    )
    assert manifests.pod(API).main["image"] == "ghcr.io/me/api:dev"
    assert manifests.pod(ASR).main["image"] == f"hearsight/asr-worker:dev@{digest}"


@pytest.mark.parametrize("case", CASES)
def test_every_service_waits_for_its_tables_with_its_own_image(case: str) -> None:
    for pod in services(case):
        (waits,) = pod.spec["initContainers"]
        assert waits["command"] == ["python", "-m", "hearsight_core.store.migrate", "--wait"]
        assert waits["image"] == pod.main["image"]


@pytest.mark.parametrize("case", CASES)
def test_probes_ask_the_process_itself(case: str) -> None:
    for pod in services(case):
        assert pod.main["ports"][-1] == METRICS, pod.owner
        for probe, path in (
            ("startup", "healthz"),
            ("readiness", "readyz"),
            ("liveness", "healthz"),
        ):
            asked = pod.main[f"{probe}Probe"]["httpGet"]
            assert asked == {"path": f"/{path}", "port": METRICS["name"]}, pod.owner


@pytest.mark.parametrize("case", CASES)
def test_the_api_alone_has_a_port_besides(case: str) -> None:
    for pod in services(case):
        http = {"name": "http", "containerPort": 8000, "protocol": "TCP"}
        assert pod.main["ports"][:-1] == ([http] if pod.owner == API else [])


def test_a_service_is_given_longer_to_end_than_it_takes() -> None:
    manifests = render()
    api = manifests.pod(API)
    slept = api.main["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert api.spec["terminationGracePeriodSeconds"] > slept + DRAIN_S
    assert manifests.pod(DOWNLOAD).spec["terminationGracePeriodSeconds"] == 60
    assert manifests.pod(ASR).spec["terminationGracePeriodSeconds"] == 120


def test_a_full_gpu_pool_can_roll() -> None:
    update = render().one("Deployment", "hearsight-asr-worker")["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 0, "maxUnavailable": 1}


def test_the_api_stays_reachable_while_it_rolls() -> None:
    update = render().one("Deployment", "hearsight-api")["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("case", CASES)
def test_a_drained_node_takes_one_pod_of_a_service_at_a_time(case: str) -> None:
    manifests = rendered(case)
    budgets = manifests.of("PodDisruptionBudget")
    for name, deployment in manifests.of("Deployment").items():
        assert budgets[name]["spec"]["selector"] == deployment["spec"]["selector"]
        assert budgets[name]["spec"]["maxUnavailable"] == 1


def test_pods_are_spread_over_nodes() -> None:
    manifests = render()
    for owner in COMPONENTS.values():
        (spread,) = manifests.pod(owner).spec["topologySpreadConstraints"]
        deployment = manifests.one("Deployment", owner.split()[1])
        assert spread["labelSelector"] == deployment["spec"]["selector"]
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_is_placed_as_its_values_say(component: str) -> None:
    manifests = rendered("everything placed")
    pod = manifests.pod(COMPONENTS[component])
    assert pod.spec["nodeSelector"] == {"pool": component}
    assert {"key": "pool", "operator": "Exists"} in pod.spec["tolerations"]
    assert pod.spec["affinity"] == {"nodeAffinity": {}}
    assert pod.spec["priorityClassName"] == "high"
    assert pod.spec["runtimeClassName"] == "gvisor"
    assert pod.environment["HEARSIGHT_LOG_LEVEL"] == "DEBUG"
    assert pod.mounts["/extra"] == "extra"
    assert pod.metadata["annotations"]["example.org/note"] == "a"
    assert pod.metadata["labels"]["example.org/label"] == "b"
    account = pod.spec["serviceAccountName"]
    annotations = rendered("everything placed").one("ServiceAccount", account)["metadata"][
        "annotations"
    ]
    assert annotations == {"example.org/role": "c"}


def test_a_service_account_of_ones_own_is_used() -> None:
    manifests = render({"api": {"serviceAccount": {"create": False, "name": "speech"}}})
    assert manifests.pod(API).spec["serviceAccountName"] == "speech"
    assert "hearsight-api" not in manifests.of("ServiceAccount")


def test_changed_settings_restart_the_services() -> None:
    before, after = render(), render({"settings": {"language": "zh"}})
    for owner in COMPONENTS.values():
        one, other = (each.pod(owner).metadata["annotations"] for each in (before, after))
        assert one["checksum/settings"] != other["checksum/settings"]


def test_settings_reach_the_services_as_they_are_written() -> None:
    manifests = render(
        {
            "settings": {
                "maxUploadBytes": 4294967296,
                "leaseS": 7.5,
                "retryBackoffS": 0,
                "allowHosts": ["media.lan", "10.0.0.7:8080"],
            }
        }
    )
    settings = manifests.settings
    assert settings["HEARSIGHT_MAX_UPLOAD_BYTES"] == "4294967296"
    assert settings["HEARSIGHT_LEASE_S"] == "7.5"
    assert settings["HEARSIGHT_RETRY_BACKOFF_S"] == "0"
    assert settings["HEARSIGHT_DOWNLOAD_ALLOW_HOSTS"] == "media.lan,10.0.0.7:8080"
    assert "HEARSIGHT_HEARTBEAT_S" not in settings
    for owner in COMPONENTS.values():
        assert manifests.pod(owner).main["envFrom"] == [
            {"configMapRef": {"name": "hearsight-settings"}}
        ]


def test_a_large_scratch_may_have_a_volume_of_its_own() -> None:
    claim: Values = {"ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {}}}}}
    manifests = render({**BUNDLED, "downloadWorker": {"scratch": {"volume": claim}}})
    assert manifests.pod(DOWNLOAD).volume("scratch") == {"name": "scratch", **claim}
    assert "sizeLimit" in manifests.pod(ASR).volume("scratch")["emptyDir"]
