"""What lies outside a release, in a namespace of its own.

A site with media, a collector of traces, a stranger that nobody knows. They run from the API
image, which has Python: a cluster under test need not know other images.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.images import Images
from tests.cluster.kubectl import Kubectl, Object
from tests.cluster.recordings import recordings
from tests.cluster.waiting import eventually
from tests.servers import collector, trickle

MEDIA: Final = "media"
COLLECTOR: Final = "collector"
STRANGER: Final = "stranger"
KILLER: Final = "killer"
PORT: Final = 8080
OTLP_PORT: Final = 4318
BYTES_A_SECOND: Final = 80_000
"""A recording takes three seconds: long enough to be in the middle of."""
FILES: Final = "/files"


@dataclass(frozen=True)
class Outside:
    """The namespace, and what runs in it."""

    kubectl: Kubectl
    images: Images

    def host(self, name: str) -> str:
        """Under which name a pod's service is known in the whole cluster."""
        return f"{name}.{self.kubectl.namespace}.svc"

    def media_url(self, file: str) -> str:
        """Where one of the recordings is fetched from."""
        return f"http://{self.host(MEDIA)}:{PORT}/{file}"

    def values(self) -> dict[str, object]:
        """The chart's values that let workers fetch from the site."""
        rule = {"to": [self._peer(MEDIA)], "ports": [{"protocol": "TCP", "port": PORT}]}
        return {
            "settings": {"allowHosts": [f"{self.host(MEDIA)}:{PORT}"]},
            "downloadWorker": {"extraEgress": [rule]},
        }

    def start_media(self) -> None:
        """A site with the recordings."""
        files = {spoken.name: spoken.content for spoken in recordings()}
        program = Path(str(trickle.__file__))
        files[program.name] = program.read_bytes()
        command = ("python", f"{FILES}/{program.name}", FILES, str(PORT), str(BYTES_A_SECOND))
        self.start(MEDIA, command, files=files, port=PORT)

    def telemetry_values(self) -> dict[str, object]:
        """The chart's values that send traces to the collector, which may read metrics too."""
        return {
            "settings": {"otlpEndpoint": f"http://{self.host(COLLECTOR)}:{OTLP_PORT}"},
            "networkPolicy": {
                "external": {"otlp": {"to": [self._peer(COLLECTOR)], "ports": [OTLP_PORT]}},
                "metricsFrom": [self._peer(COLLECTOR)],
            },
        }

    def start_collector(self) -> None:
        """A collector of traces."""
        program = Path(str(collector.__file__))
        command = (
            "python",
            f"{FILES}/{program.name}",
            "--host",
            "0.0.0.0",
            "--port",
            str(OTLP_PORT),
        )
        files = {program.name: program.read_bytes()}
        self.start(COLLECTOR, command, files=files, port=OTLP_PORT)

    def spans(self, trace_id: str) -> list[Object]:
        """The spans of a trace that the collector has got, in the order they began."""
        service = f"/api/v1/namespaces/{self.kubectl.namespace}/services/{COLLECTOR}:{OTLP_PORT}"
        found: list[Object] = json.loads(
            self.kubectl("get", "--raw", f"{service}/proxy/spans?trace_id={trace_id}")
        )
        return found

    def start_stranger(self) -> None:
        """A pod that serves nothing of use, and that nobody of the release may ask."""
        self.start(STRANGER, ("python", "-m", "http.server", str(PORT)), port=PORT)

    def kill(self, kubectl: Kubectl, pod: str) -> Object:
        """Ends the processes of a pod's first container with SIGKILL, and waits for new ones.

        No signal from within reaches a container's first process, so it comes from a pod that sees
        the processes of the whole node. Returns `terminated` of the container that was killed.
        """

        def status() -> Object:
            found: Object = kubectl.one("pod", pod)["status"]["containerStatuses"][0]
            return found

        before = status()
        container = before["containerID"].rpartition("/")[2]
        of_it = f"grep -l {container} /proc/[0-9]*/cgroup | cut -d / -f 3"
        killer: Object = {
            "name": KILLER,
            "image": self.images.name("api"),
            "command": ["sh", "-c", f"kill -9 $({of_it})"],
            "securityContext": {"runAsUser": 0},
        }
        spec = {
            "nodeName": kubectl.one("pod", pod)["spec"]["nodeName"],
            "hostPID": True,
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "containers": [killer],
        }
        self.kubectl.create({"metadata": {"name": KILLER}, "spec": spec}, kind="Pod")

        def restarted() -> Object | None:
            now = status()
            ready = now["restartCount"] > before["restartCount"] and now["ready"]
            found: Object | None = now["lastState"].get("terminated") if ready else None
            return found

        terminated = eventually(f"{pod} starts again", restarted, describe=kubectl.describe)
        self.kubectl("delete", "pod", KILLER)
        return terminated

    def _peer(self, name: str) -> Object:
        """One of the pods here, as network policies name it."""
        home = {"matchLabels": {"kubernetes.io/metadata.name": self.kubectl.namespace}}
        return {"namespaceSelector": home, "podSelector": {"matchLabels": {"app": name}}}

    def address(self, name: str) -> str:
        """A pod's own address."""
        found: str = self.kubectl.one("pod", name)["status"]["podIP"]
        return found

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes] | None = None,
        port: int | None = None,
    ) -> None:
        """Runs a command in a pod with `files` in FILES, behind a service of its name."""
        own = {"name": name, "labels": {"app": name}}
        container: Object = {
            "name": name,
            "image": self.images.name("api"),
            "command": list(command),
            "securityContext": {"allowPrivilegeEscalation": False},
        }
        spec: Object = {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
        }
        if files:
            content = {file: base64.b64encode(data).decode() for file, data in files.items()}
            self.kubectl.create({"metadata": own, "binaryData": content}, kind="ConfigMap")
            spec["volumes"] = [{"name": "files", "configMap": {"name": name}}]
            container["volumeMounts"] = [{"name": "files", "mountPath": FILES}]
        if port:
            container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
            self.kubectl.create(
                {"metadata": own, "spec": {"selector": {"app": name}, "ports": [{"port": port}]}},
                kind="Service",
            )
        self.kubectl.create({"metadata": own, "spec": spec}, kind="Pod")
        self.kubectl("wait", "--for", "condition=Ready", f"pod/{name}", "--timeout", "300s")
