"""How many pods there are: as the values say, by CPU, or by the work that waits."""

from typing import Any

import pytest

from tests.chart.cases import BUNDLED, POOLS
from tests.chart.rendering import ChartError, Manifests, render

KEDA = {**BUNDLED, **POOLS, "autoscaling": {"engine": "keda"}}
WORKERS = {
    "hearsight-download-worker": "download",
    "hearsight-asr-worker": "asr",
    "hearsight-asr-worker-large": "asr.large",
    "hearsight-asr-worker-slow": "asr.slow",
}


@pytest.fixture(scope="module")
def keda() -> Manifests:
    return render(KEDA)


def trigger(manifests: Manifests, name: str) -> dict[str, Any]:
    (one,) = manifests.one("ScaledObject", name)["spec"]["triggers"]
    found: dict[str, Any] = one
    return found


def test_without_an_engine_there_are_as_many_as_the_values_say() -> None:
    manifests = render({"asrWorker": {"replicas": 3}})
    replicas = {name: one["spec"]["replicas"] for name, one in manifests.of("Deployment").items()}
    assert replicas == {
        "hearsight-api": 2,
        "hearsight-download-worker": 2,
        "hearsight-asr-worker": 3,
    }
    assert not manifests.of("ScaledObject")
    assert not manifests.of("HorizontalPodAutoscaler")


def test_hpa_scales_the_api_and_leaves_workers_as_they_are() -> None:
    manifests = render({"autoscaling": {"engine": "hpa"}})
    assert list(manifests.of("HorizontalPodAutoscaler")) == ["hearsight-api"]
    assert "replicas" not in manifests.one("Deployment", "hearsight-api")["spec"]
    assert manifests.one("Deployment", "hearsight-asr-worker")["spec"]["replicas"] == 1
    assert not manifests.of("ScaledObject")


def test_an_upgrade_does_not_undo_what_an_autoscaler_did(keda: Manifests) -> None:
    for one in keda.of("Deployment").values():
        assert "replicas" not in one["spec"]


def test_keda_scales_every_kind_of_worker_to_zero_and_back(keda: Manifests) -> None:
    assert set(keda.of("ScaledObject")) == set(WORKERS)
    for name, one in keda.of("ScaledObject").items():
        assert one["spec"]["scaleTargetRef"]["name"] == name
        assert one["spec"]["minReplicaCount"] == 0
        assert one["spec"]["maxReplicaCount"] > 0
        assert trigger(keda, name)["metadata"]["activationTargetQueryValue"] == "0"


@pytest.mark.parametrize(("name", "queue"), WORKERS.items())
def test_each_is_scaled_by_its_own_queue(keda: Manifests, name: str, queue: str) -> None:
    one = trigger(keda, name)
    assert (one["type"], one["metricType"]) == ("postgresql", "AverageValue")
    assert one["metadata"]["query"].endswith(f"FROM queue_load WHERE queue = '{queue}'")


def test_downloads_count_by_task_and_recognition_by_the_audio_that_is_left() -> None:
    manifests = render(
        {
            **KEDA,
            "downloadWorker": {"autoscaling": {"targetTasksPerWorker": 3}},
            "asrWorker": {"autoscaling": {"speed": 2.5, "targetTimeS": 60}},
            "asrPools": [{"name": "large", "autoscaling": {"speed": 40}}],
        }
    )
    targets = {
        name: trigger(manifests, name)["metadata"]["targetQueryValue"]
        for name in manifests.of("ScaledObject")
    }
    assert targets == {
        "hearsight-download-worker": "3",
        "hearsight-asr-worker": "150",
        "hearsight-asr-worker-large": "2400",
    }


def test_a_task_with_no_audio_left_still_wakes_a_worker(keda: Manifests) -> None:
    # A worker may die after it recognised a part and before it said so.
    query = trigger(keda, "hearsight-asr-worker")["metadata"]["query"]
    assert "GREATEST(audio_seconds, waiting + running)" in query


def test_keda_reads_with_a_role_of_its_own(keda: Manifests) -> None:
    (authentication,) = keda.of("TriggerAuthentication").values()
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "connection", "name": "hearsight-postgresql", "key": "reader-url"}
    ]
    for name in WORKERS:
        reference = trigger(keda, name)["authenticationRef"]
        assert reference == {"name": authentication["metadata"]["name"]}
    url = keda.one("Secret", "hearsight-postgresql")["stringData"]["reader-url"]
    assert url.startswith("postgresql://hearsight_reader:r@hearsight-postgresql.speech.svc:5432/")


def test_of_a_database_of_ones_own_the_secret_has_to_hold_that_role() -> None:
    manifests = render({"autoscaling": {"engine": "keda"}})
    (authentication,) = manifests.of("TriggerAuthentication").values()
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "connection", "name": "hearsight-database", "key": "reader-url"}
    ]
    job = manifests.pod("Job hearsight-migrate-1")
    password = job.environment["HEARSIGHT_DATABASE_READER_PASSWORD"]["secretKeyRef"]
    assert password == {"name": "hearsight-database", "key": "reader-password", "optional": False}
    with pytest.raises(ChartError, match=r"database\.existingSecret"):
        render({"autoscaling": {"engine": "keda"}, "database": {"url": "postgresql://db"}})


def test_pods_are_not_taken_away_at_once(keda: Manifests) -> None:
    spec = keda.one("ScaledObject", "hearsight-asr-worker")["spec"]
    assert spec["cooldownPeriod"] == 300
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == {"scaleDown": {"stabilizationWindowSeconds": 300}}
