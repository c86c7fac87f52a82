"""Every pod passes the Pod Security standard `restricted`, and goes a little further."""

import pytest

from tests.chart.cases import CASES, rendered

SECRETS = (
    "PASSWORD",
    "DATABASE_URL",
    "BROKER_URL",
    "REDIS_URL",
    "SECRET_ACCESS_KEY",
    "KEY_ID",
    "API_KEY",
)


@pytest.mark.parametrize("case", CASES)
def test_pods_are_restricted(case: str) -> None:
    for pod in rendered(case).pods():
        assert pod.spec["securityContext"]["runAsNonRoot"] is True, pod.owner
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        assert not [one for one in pod.spec["volumes"] if "hostPath" in one]
        for container in pod.containers:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, pod.owner
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["runAsNonRoot"] is True
            assert context["readOnlyRootFilesystem"] is True
            assert "privileged" not in context
            assert not [one for one in container.get("ports", []) if "hostPort" in one]


@pytest.mark.parametrize("case", CASES)
def test_pods_run_under_a_number_that_is_not_root(case: str) -> None:
    for pod in rendered(case).pods():
        store = pod.owner.startswith("StatefulSet")
        context = pod.spec["securityContext"]
        assert context["runAsUser"] == (999 if store else 10001), pod.owner
        assert context["runAsGroup"] == context["fsGroup"] == context["runAsUser"]


@pytest.mark.parametrize("case", CASES)
def test_no_pod_gets_a_token_of_the_cluster(case: str) -> None:
    manifests = rendered(case)
    for pod in manifests.pods():
        assert pod.spec["automountServiceAccountToken"] is False, pod.owner
    for account in manifests.of("ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("case", CASES)
def test_services_of_the_namespace_set_no_variables(case: str) -> None:
    # A service called hearsight would set HEARSIGHT_PORT to tcp://..., and the API would not start.
    for pod in rendered(case).pods():
        assert pod.spec["enableServiceLinks"] is False, pod.owner


@pytest.mark.parametrize("case", CASES)
def test_every_container_says_what_it_needs(case: str) -> None:
    for pod in rendered(case).pods():
        for container in pod.containers:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), pod.owner
            assert "memory" in container["resources"]["limits"], pod.owner


@pytest.mark.parametrize("case", CASES)
def test_secrets_stand_in_secrets_alone(case: str) -> None:
    manifests = rendered(case)
    for pod in manifests.pods():
        for container in pod.containers:
            for variable in container.get("env", []):
                if variable["name"].endswith(SECRETS):
                    assert "secretKeyRef" in variable["valueFrom"], variable["name"]
    for name in manifests.settings:
        assert not name.endswith(SECRETS)


@pytest.mark.parametrize("case", CASES)
def test_every_folder_that_is_written_to_is_mounted(case: str) -> None:
    for pod in rendered(case).pods():
        for container in pod.containers:
            if container["name"] != "transcribe":
                mounted = {one["mountPath"] for one in container["volumeMounts"]}
                assert "/tmp" in mounted, f"{pod.owner}, {container['name']}"  # noqa: S108  # the pod's own
        if pod.main["name"] in {"download-worker", "asr-worker"}:
            assert pod.environment["HEARSIGHT_SCRATCH_DIR"] in pod.mounts
