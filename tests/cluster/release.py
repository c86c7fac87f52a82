"""A Helm release of the chart in a namespace of its own, and what it runs."""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import yaml

from tests.client import Client
from tests.cluster.images import ROOT
from tests.cluster.kubectl import Kubectl, Object, run
from tests.cluster.waiting import eventually

CHART: Final = ROOT / "charts" / "hearsight"
NAME: Final = "hearsight"
"""With this name the chart's objects are called hearsight-api and so on."""
INSTALL_S = 600

Values = Mapping[str, object]


@dataclass(frozen=True)
class Release:
    """The release called `hearsight` in one namespace."""

    kubectl: Kubectl

    @property
    def host(self) -> str:
        """The name that the ingress answers to; each namespace has its own."""
        return f"{self.kubectl.namespace}.hearsight.local"

    def first_key(self) -> str:
        """The API key that came with the installation."""
        secret = self.kubectl.one("secret", f"{NAME}-api-key")
        return base64.b64decode(secret["data"]["api-key"]).decode()

    @contextmanager
    def client(self, key: str | None) -> Iterator[Client]:
        """A client that reaches the API through the ingress, with a key or without one."""
        with httpx.Client(
            base_url=os.environ["HEARSIGHT_TEST_INGRESS"],
            headers={"Host": self.host, **(bearer(key) if key else {})},
            timeout=60,
            trust_env=False,
        ) as http:
            yield Client(http)

    def values(self, *layers: Values, chart: Path = CHART) -> str:
        """The chart's trial values with these on top, as a file for helm."""
        trial = yaml.safe_load((chart / "values-trial.yaml").read_text("utf-8"))
        return yaml.safe_dump(_merged(trial, {"ingress": {"hosts": [self.host]}}, *layers))

    def install(self, *layers: Values, chart: Path = CHART) -> None:
        """Installs or upgrades to `values` of these, and waits until all is ready."""
        self._helm(
            *("upgrade", "--install", NAME, str(chart), "-f", "-"),
            *("--wait", "--timeout", f"{INSTALL_S}s"),
            stdin=self.values(*layers, chart=chart).encode(),
        )

    def rollback(self, revision: int) -> None:
        """Goes back to a revision, and waits."""
        self._helm("rollback", NAME, str(revision), "--wait", "--timeout", f"{INSTALL_S}s")

    def uninstall(self) -> None:
        """Removes the release, and waits until what goes is gone."""
        self._helm("uninstall", NAME, "--wait", "--timeout", f"{INSTALL_S}s")

    def test(self) -> str:
        """Runs the chart's own tests; returns their logs."""
        return self._helm("test", NAME, "--logs", "--timeout", f"{INSTALL_S}s")

    def pods(self, component: str) -> list[Object]:
        """Pods of a component that are there to stay, oldest first."""
        selector = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component={component}"
        found = self.kubectl.get("pods", "-l", selector, "--sort-by", ".metadata.creationTimestamp")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, component: str) -> str:
        """Name of one ready pod of a component, waiting for it."""
        return self.ready(component)[0]

    def ready(self, component: str, count: int = 1) -> list[str]:
        """Names of the ready pods of a component, once there are `count` and no others."""

        def names() -> list[str] | None:
            pods = self.pods(component)
            ready = [pod["metadata"]["name"] for pod in pods if _is_ready(pod)]
            return ready if len(ready) == len(pods) >= count else None

        return eventually(f"{count} of {component} ready", names, describe=self.kubectl.describe)

    def sql(self, query: str) -> list[Object]:
        """Rows of a SELECT, asked of the bundled PostgreSQL."""
        rows = f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found"  # noqa: S608
        shell = 'PGPASSWORD="$POSTGRES_PASSWORD" exec psql -h 127.0.0.1 -U hearsight -qtAX -c "$0"'
        found: list[Object] = json.loads(
            self.kubectl.exec(self.pod("postgresql"), "sh", "-c", shell, rows)
        )
        return found

    def redis(self, *command: str) -> str:
        """What the bundled Valkey answers to a command, in the database that holds the news."""
        return self.kubectl.exec(self.pod("valkey"), "valkey-cli", "-n", "1", "--raw", *command)

    def _helm(self, *arguments: str, stdin: bytes = b"") -> str:
        command = ("helm", "--namespace", self.kubectl.namespace, *arguments)
        return run(*command, stdin=stdin, limit_s=2 * INSTALL_S).decode()


def bearer(key: str) -> dict[str, str]:
    """The header that carries an API key."""
    return {"Authorization": f"Bearer {key}"}


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _merged(*values: Values) -> dict[str, object]:
    """Values laid over each other, the later ones on top."""
    whole: dict[str, object] = {}
    for layer in values:
        for key, value in layer.items():
            below = whole.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            whole[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return whole
