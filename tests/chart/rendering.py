"""The chart as Helm renders it, read back as data."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts" / "hearsight"
TRIAL = CHART / "values-trial.yaml"
KUBE_VERSION = "1.34"
APP_VERSION: str = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]

Manifest = dict[str, Any]
"""A Kubernetes object, as free as YAML is."""


class ChartError(Exception):
    """Helm refused the chart with these values."""


class _UniqueKeys(yaml.SafeLoader):
    """YAML that says each key once; Kubernetes would silently take one of two."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # PyYAML's own signature
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubled = {key for key in keys if keys.count(key) > 1}
        if doubled:
            raise yaml.constructor.ConstructorError(None, None, f"said twice: {doubled}")
        return super().construct_mapping(node, deep)


def helms() -> list[str]:
    """The versions of Helm that are installed."""
    return [name for name in ("helm", "helm3") if shutil.which(name)]


@dataclass(frozen=True)
class Pod:
    """What a workload makes pods of."""

    owner: str
    """Kind and name of the workload."""
    metadata: Manifest
    spec: Manifest

    @property
    def containers(self) -> list[Manifest]:
        """Every container, those that run first among them."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def main(self) -> Manifest:
        """The container that the pod is for."""
        container: Manifest = self.spec["containers"][0]
        return container

    @property
    def environment(self) -> dict[str, Any]:
        """The variables of the main container: a value, or where it comes from."""
        return {
            one["name"]: one.get("value", one.get("valueFrom")) for one in self.main.get("env", [])
        }

    @property
    def mounts(self) -> dict[str, str]:
        """Where the main container finds its volumes: path to name."""
        return {one["mountPath"]: one["name"] for one in self.main.get("volumeMounts", [])}

    def volume(self, name: str) -> Manifest:
        """One of the pod's volumes."""
        (found,) = [one for one in self.spec["volumes"] if one["name"] == name]
        volume: Manifest = found
        return volume


@dataclass(frozen=True)
class Manifests:
    """Everything that one rendering gives."""

    objects: list[Manifest] = field(repr=False)

    def of(self, kind: str) -> dict[str, Manifest]:
        """The objects of a kind, by name."""
        return {one["metadata"]["name"]: one for one in self.objects if one["kind"] == kind}

    def one(self, kind: str, name: str) -> Manifest:
        """One object."""
        return self.of(kind)[name]

    def pods(self) -> Iterator[Pod]:
        """What every workload makes its pods of."""
        for one in self.objects:
            owner = f"{one['kind']} {one['metadata']['name']}"
            if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
                template = one["spec"]["template"]
                yield Pod(owner, template["metadata"], template["spec"])
            elif one["kind"] == "Pod":
                yield Pod(owner, one["metadata"], one["spec"])

    def pod(self, owner: str) -> Pod:
        """The pod of one workload, such as `Deployment hearsight-api`."""
        (found,) = [pod for pod in self.pods() if pod.owner == owner]
        return found

    @property
    def settings(self) -> dict[str, str]:
        """The ConfigMap with the services' settings."""
        (found,) = [one for name, one in self.of("ConfigMap").items() if name.endswith("settings")]
        data: dict[str, str] = found["data"]
        return data


def render(
    values: Mapping[str, Any] | None = None,
    *files: Path,
    release: str = "hearsight",
    helm: str = "helm",
) -> Manifests:
    """Renders the chart with `files` of values, then `values`.

    Raises:
        ChartError: Helm refuses, with what it says.
    """
    return _render(json.dumps(values or {}), files, release, helm)


@lru_cache
def _render(values: str, files: tuple[Path, ...], release: str, helm: str) -> Manifests:
    arguments = [helm, "template", release, str(CHART), "-n", "speech"]
    arguments += ["--kube-version", KUBE_VERSION]
    for file in files:
        arguments += ["-f", str(file)]
    done = subprocess.run(
        [*arguments, "-f", "-"],
        input=values,
        capture_output=True,
        text=True,
        # Rendering asks no cluster.
        env={**os.environ, "KUBECONFIG": os.devnull},
        check=False,
    )
    if done.returncode:
        raise ChartError(done.stderr)
    documents = yaml.load_all(done.stdout, Loader=_UniqueKeys)  # a SafeLoader
    return Manifests([one for one in documents if one])
