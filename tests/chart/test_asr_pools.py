"""ASR workers: GPUs, the image's flavour, the model, and pools with a queue of their own."""

import pytest

from tests.chart.cases import POOLS, Values
from tests.chart.rendering import TRIAL, Manifests, Pod, render

ASR = "Deployment hearsight-asr-worker"
GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def asr(values: Values) -> Pod:
    return render({"asrWorker": values}).pod(ASR)


@pytest.fixture(scope="module")
def pools() -> Manifests:
    return render(POOLS)


def test_asr_workers_go_to_the_gpu_nodes() -> None:
    pod = render().pod(ASR)
    for kind in ("requests", "limits"):
        assert pod.main["resources"][kind]["nvidia.com/gpu"] == "1"
    assert pod.spec["tolerations"] == [GPU_TAINT]
    assert pod.environment["HEARSIGHT_DEVICE"] == "cuda"


def test_the_other_services_take_no_gpu() -> None:
    for pod in render().pods():
        if pod.owner != ASR:
            assert "nvidia.com/gpu" not in pod.main["resources"]["limits"]
            assert "tolerations" not in pod.spec


def test_a_slice_of_a_gpu_is_a_resource_too() -> None:
    pod = asr({"gpu": {"resourceName": "nvidia.com/mig-1g.5gb", "count": 2}})
    assert pod.main["resources"]["limits"]["nvidia.com/mig-1g.5gb"] == "2"


def test_gpu_nodes_may_be_picked_by_label() -> None:
    pod = asr({"nodeSelector": {"zone": "a"}, "gpu": {"nodeSelector": {"gpu": "l4"}}})
    assert pod.spec["nodeSelector"] == {"zone": "a", "gpu": "l4"}


def test_without_gpus_workers_recognise_on_the_cpu_anywhere() -> None:
    pod = asr({"gpu": {"enabled": False, "nodeSelector": {"gpu": "l4"}}})
    assert "nvidia.com/gpu" not in pod.main["resources"]["limits"]
    assert not {"tolerations", "nodeSelector"} & set(pod.spec)
    assert pod.environment["HEARSIGHT_DEVICE"] == "cpu"
    assert not pod.main["image"].endswith("-cuda")


@pytest.mark.parametrize(
    ("values", "cuda"),
    [
        ({}, True),
        ({"device": "cpu"}, False),
        ({"device": "auto"}, True),
        ({"device": "cpu", "flavour": "cuda"}, True),
        ({"flavour": "cpu", "device": "auto"}, False),
        ({"gpu": {"enabled": False}, "device": "cuda", "flavour": "cuda"}, True),
    ],
)
def test_the_image_has_cuda_where_it_is_of_use(values: Values, cuda: bool) -> None:  # noqa: FBT001  # a case
    assert asr(values).main["image"].endswith("-cuda") is cuda


def test_the_trial_takes_a_gpu_and_recognises_on_the_cpu() -> None:
    pod = render({}, TRIAL).pod(ASR)
    assert pod.main["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod.environment["HEARSIGHT_DEVICE"] == "cpu"
    assert not pod.main["image"].endswith("-cuda")


def test_nothing_is_mounted_over_a_baked_model() -> None:
    pod = asr({})
    assert "/models" not in pod.mounts
    assert "HEARSIGHT_MODEL" not in pod.environment


def test_a_fetched_model_is_kept_where_it_can_be_written() -> None:
    pod = asr({"model": {"source": "fetched", "name": "large-v3-turbo"}})
    assert pod.environment["HEARSIGHT_MODEL"] == "large-v3-turbo"
    assert pod.volume(pod.mounts["/models"])["emptyDir"] == {"sizeLimit": "20Gi"}


def test_fetched_models_may_be_kept_on_a_volume() -> None:
    pod = asr({"model": {"source": "fetched", "name": "large-v3", "existingClaim": "models"}})
    assert pod.volume("models")["persistentVolumeClaim"] == {"claimName": "models"}


def test_a_mounted_model_is_read_from_its_folder() -> None:
    pod = asr({"model": {"source": "mounted", "path": "turbo/", "existingClaim": "models"}})
    assert pod.environment["HEARSIGHT_MODEL"] == "/models/turbo"
    assert pod.volume("models")["persistentVolumeClaim"] == {
        "claimName": "models",
        "readOnly": True,
    }
    (mount,) = [one for one in pod.main["volumeMounts"] if one["name"] == "models"]
    assert mount["readOnly"] is True


def test_the_engine_is_set_as_the_values_say() -> None:
    pod = asr(
        {
            "computeType": "int8",
            "batchSize": 4,
            "streams": 2,
            "memoryShare": 0.5,
            "unloadIdleS": 900,
            "beamSize": 1,
            "concurrency": 3,
        }
    )
    assert {
        name: pod.environment[name]
        for name in (
            "HEARSIGHT_COMPUTE_TYPE",
            "HEARSIGHT_ASR_BATCH_SIZE",
            "HEARSIGHT_ASR_STREAMS",
            "HEARSIGHT_ASR_MEMORY_SHARE",
            "HEARSIGHT_ASR_UNLOAD_IDLE_S",
            "HEARSIGHT_BEAM_SIZE",
            "CELERY_WORKER_CONCURRENCY",
        )
    } == {
        "HEARSIGHT_COMPUTE_TYPE": "int8",
        "HEARSIGHT_ASR_BATCH_SIZE": "4",
        "HEARSIGHT_ASR_STREAMS": "2",
        "HEARSIGHT_ASR_MEMORY_SHARE": "0.5",
        "HEARSIGHT_ASR_UNLOAD_IDLE_S": "900",
        "HEARSIGHT_BEAM_SIZE": "1",
        "CELERY_WORKER_CONCURRENCY": "3",
    }


def test_every_pool_works_on_a_queue_of_its_own(pools: Manifests) -> None:
    names = {
        name: pools.pod(f"Deployment {name}").environment["HEARSIGHT_ASR_POOL"]
        for name in pools.of("Deployment")
        if "asr-worker" in name
    }
    assert names == {
        "hearsight-asr-worker": "default",
        "hearsight-asr-worker-large": "large",
        "hearsight-asr-worker-slow": "slow",
    }


def test_the_api_knows_the_pools_with_the_default_first(pools: Manifests) -> None:
    assert pools.settings["HEARSIGHT_ASR_POOLS"] == "default,large,slow"
    assert "HEARSIGHT_ASR_POOLS" not in render().settings


def test_a_pool_has_its_own_gpus_and_model(pools: Manifests) -> None:
    pod = pools.pod(f"{ASR}-large")
    assert pods_gpus(pod) == {"nvidia.com/mig-3g.20gb": "2"}
    assert pod.environment["HEARSIGHT_MODEL"] == "large-v3-turbo"
    assert pod.spec["runtimeClassName"] == "nvidia"
    assert pools.one("Deployment", "hearsight-asr-worker-large")["spec"]["replicas"] == 2


def test_what_a_pool_does_not_say_is_as_in_the_default_one(pools: Manifests) -> None:
    default, slow = pools.pod(ASR), pools.pod(f"{ASR}-slow")
    assert slow.main["startupProbe"] == default.main["startupProbe"]
    assert slow.spec["terminationGracePeriodSeconds"] == 120
    assert pods_gpus(slow) == {}
    assert "tolerations" not in slow.spec
    assert slow.environment["HEARSIGHT_DEVICE"] == "cpu"


def test_a_pool_changes_nothing_in_the_default_one(pools: Manifests) -> None:
    default, alone = pools.pod(ASR), render().pod(ASR)
    assert default.spec == alone.spec


def pods_gpus(pod: Pod) -> dict[str, str]:
    limits = pod.main["resources"]["limits"]
    return {name: count for name, count in limits.items() if name.startswith("nvidia.com/")}
