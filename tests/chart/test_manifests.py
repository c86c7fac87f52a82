"""What Kubernetes is given is what it takes."""

import subprocess
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest

from tests.chart.cases import CASES, rendered
from tests.chart.rendering import CHART, KUBE_VERSION, TRIAL, Manifest, helms, render

CUSTOM = {
    "ScaledObject",
    "TriggerAuthentication",
    "ServiceMonitor",
    "PodMonitor",
    "PrometheusRule",
    "HTTPRoute",
}
"""Kinds that a cluster knows only if their operator is installed; they have tests of their own."""

RECOMMENDED = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}


def name_of(one: Manifest) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


@pytest.mark.parametrize("helm", helms())
@pytest.mark.parametrize("values", [None, TRIAL])
def test_helm_finds_nothing_to_complain_about(helm: str, values: Path | None) -> None:
    arguments = [helm, "lint", "--strict", str(CHART), "--kube-version", KUBE_VERSION]
    done = subprocess.run(
        [*arguments, *(["-f", str(values)] if values else [])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_every_manifest_is_valid(case: str) -> None:
    for one in rendered(case).objects:
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, KUBE_VERSION, strict=True)


@pytest.mark.skipif("helm3" not in helms(), reason="helm3 is not on PATH")
@pytest.mark.parametrize("case", [case for case in CASES if case != "trial"])
def test_helm_3_and_helm_4_render_the_same(case: str) -> None:
    old = {name_of(one): one for one in rendered(case, "helm3").objects}
    new = {name_of(one): one for one in rendered(case).objects}
    assert old == new


@pytest.mark.parametrize("case", CASES)
def test_no_object_is_made_twice(case: str) -> None:
    names = [name_of(one) for one in rendered(case).objects]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("case", CASES)
def test_every_object_says_what_it_belongs_to(case: str) -> None:
    for one in rendered(case).objects:
        assert set(one["metadata"]["labels"]) >= RECOMMENDED, name_of(one)
        assert one["metadata"]["namespace"] == "speech"


@pytest.mark.parametrize("case", CASES)
def test_names_and_labels_fit(case: str) -> None:
    values, files = CASES[case]
    for one in render(
        values, *files, release="a-release-whose-name-is-as-long-as-helm-allows"
    ).objects:
        # A pod of a Deployment gets up to 17 characters more, a Job's label its whole name.
        assert len(one["metadata"]["name"]) <= 63, name_of(one)
        for value in one["metadata"]["labels"].values():
            assert len(value) <= 63


def test_common_labels_and_annotations_are_on_every_object_and_pod() -> None:
    manifests = rendered("hooks, gateway, a private registry")
    for metadata in (
        *(one["metadata"] for one in manifests.objects),
        *(pod.metadata for pod in manifests.pods()),
    ):
        assert metadata["labels"]["example.org/team"] == "speech"
        assert metadata["annotations"]["example.org/owner"] == "speech"


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("hearsight", "hearsight-api"),
        ("my-hearsight", "my-hearsight-api"),
        ("speech", "speech-hearsight-api"),
    ],
)
def test_objects_are_named_after_the_release(release: str, name: str) -> None:
    assert next(iter(render(release=release).of("Deployment"))) == name


def test_selectors_stay_what_they_were_in_the_first_version() -> None:
    # They can't be changed on a cluster: an upgrade would fail.
    ours = {"app.kubernetes.io/name": "hearsight", "app.kubernetes.io/instance": "hearsight"}
    manifests = rendered("trial")
    selectors = {
        name_of(one): one["spec"]["selector"]["matchLabels"]
        for one in manifests.objects
        if one["kind"] in {"Deployment", "StatefulSet"}
    }
    component = "app.kubernetes.io/component"
    assert selectors == {
        "Deployment hearsight-api": {**ours, component: "api"},
        "Deployment hearsight-download-worker": {**ours, component: "download-worker"},
        "Deployment hearsight-asr-worker": {
            **ours,
            component: "asr-worker",
            "hearsight/asr-pool": "default",
        },
        "StatefulSet hearsight-postgresql": {**ours, component: "postgresql"},
        "StatefulSet hearsight-valkey": {**ours, component: "valkey"},
    }
    for one in manifests.of("StatefulSet").values():
        assert "volumeClaimTemplates" not in one["spec"]


@pytest.mark.parametrize("case", CASES)
def test_every_selector_finds_the_pods_it_is_meant_for(case: str) -> None:
    manifests = rendered(case)
    for kind in ("Deployment", "StatefulSet"):
        for name, one in manifests.of(kind).items():
            wanted = one["spec"]["selector"]["matchLabels"].items()
            found = [
                pod.owner for pod in manifests.pods() if wanted <= pod.metadata["labels"].items()
            ]
            assert found == [f"{kind} {name}"]
    for name, one in manifests.of("Service").items():
        wanted = one["spec"]["selector"].items()
        found = [pod.owner for pod in manifests.pods() if wanted <= pod.metadata["labels"].items()]
        assert len(found) == 1, f"{name} leads to {found}"
