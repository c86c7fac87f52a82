"""One namespace of the cluster under test, through kubectl; KUBECONFIG says which cluster."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.cluster.waiting import eventually

# Any: what the API server answers is JSON, whose form depends on the kind of object.
Object = dict[str, Any]

COMMAND_S = 600.0
CONNECT_S = 5
"""Some clusters answer what a policy forbids with a refusal, others with silence."""
RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
HOLD: Final = "tests.hearsight/hold"
TOO_MANY_REQUESTS = "TooManyRequests"


class CommandError(AssertionError):
    """A program failed: what was run, and what it said."""

    def __init__(self, done: "subprocess.CompletedProcess[bytes]") -> None:
        self.returncode = done.returncode
        self.said = (done.stdout + done.stderr).decode(errors="replace")
        super().__init__(f"{' '.join(done.args)} ended with {done.returncode}:\n{self.said}")


def run(*command: str, stdin: bytes = b"", limit_s: float = COMMAND_S, **env: str) -> bytes:
    """Runs a program to its end; returns its standard output.

    Raises:
        CommandError: it did not end with 0.
    """
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        timeout=limit_s,
        check=False,
        env={**os.environ, **env},
    )
    if done.returncode:
        raise CommandError(done)
    return done.stdout


def missing() -> str | None:
    """Why there is no cluster to test on; None: there is one."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG is not set: it names the cluster to test on"
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        run("kubectl", "get", "--raw", "/readyz", limit_s=30)
    except (CommandError, subprocess.TimeoutExpired) as error:
        return f"the cluster of {os.environ['KUBECONFIG']} does not answer: {error}"
    return None


@contextmanager
def namespace(name: str, **labels: str) -> Iterator["Kubectl"]:
    """A namespace for the length of the block; it goes with all that is in it, in its own time."""
    kubectl = Kubectl(name)
    kubectl.create({"metadata": {"name": name, "labels": labels}}, kind="Namespace")
    try:
        yield kubectl
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True)
class Kubectl:
    """Speaks to the API server about one namespace."""

    namespace: str

    def __call__(self, *arguments: str, stdin: bytes = b"", limit_s: float = COMMAND_S) -> str:
        """Runs kubectl in the namespace; returns what it printed.

        Raises:
            CommandError: it failed.
        """
        command = ("kubectl", "--namespace", self.namespace, *arguments)
        return run(*command, stdin=stdin, limit_s=limit_s).decode()

    def create(self, manifest: Object, *, kind: str, version: str = "v1") -> None:
        """Makes one object."""
        whole = {"apiVersion": version, "kind": kind, **manifest}
        self("create", "-f", "-", stdin=json.dumps(whole).encode())

    def get(self, kind: str, *arguments: str) -> list[Object]:
        """Objects of a kind; arguments are kubectl's, such as `-l app=x`."""
        answer = json.loads(self("get", kind, "-o", "json", *arguments))
        found: list[Object] = answer.get("items", [answer])
        return found

    def one(self, kind: str, name: str) -> Object:
        """The object of that kind and name."""
        [found] = self.get(kind, name)
        return found

    def exec(
        self, pod: str, *command: str, stdin: bytes | None = None, limit_s: float = COMMAND_S
    ) -> str:
        """Runs a program in a pod's first container; returns its standard output.

        Raises:
            CommandError: it failed.
        """
        options = () if stdin is None else ("--stdin",)
        arguments = ("exec", pod, *options, "--", *command)
        return self(*arguments, stdin=stdin or b"", limit_s=limit_s)

    def reaches(self, pod: str, host: str, port: int) -> bool:
        """Whether a TCP connection from inside a pod to `host` is made."""
        connect = f"exec 3<>/dev/tcp/{host}/{port}"
        shell = f"timeout {CONNECT_S} bash -c '{connect}' 2>/dev/null && echo yes || echo no"
        return self.exec(pod, "bash", "-c", shell).strip() == "yes"

    def evict(self, pod: str) -> bool:
        """Asks for a pod's eviction, as `kubectl drain` does; False: a disruption budget refused.

        Raises:
            CommandError: the API server refused for another reason.
        """
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        try:
            run("kubectl", "create", "--raw", path, "-f", "-", stdin=json.dumps(body).encode())
        except CommandError as error:
            if TOO_MANY_REQUESTS in error.said:
                return False
            raise
        return True

    def hold(self, pod: str) -> None:
        """Keeps the pod's object when the pod is deleted, so that how it ended can be read."""
        patch = json.dumps({"metadata": {"finalizers": [HOLD]}})
        self("patch", "pod", pod, "--type", "merge", "-p", patch)

    def kill(self, pod: str) -> Object:
        """Has the kernel end a pod's process with SIGKILL, and waits for the one that follows.

        No signal from within reaches a container's first process, so its memory is used up, with
        that process marked as the one to go. The pod stays. Returns `terminated` of the process
        that was killed: exitCode, reason.
        """

        def status() -> Object:
            found: Object = self.one("pod", pod)["status"]["containerStatuses"][0]
            return found

        before = status()["restartCount"]
        use_up = "echo 1000 > /proc/1/oom_score_adj && head -c 64G /dev/zero | tail"
        with contextlib.suppress(CommandError):  # its end is what is wanted
            self.exec(pod, "sh", "-c", use_up)

        def restarted() -> Object | None:
            now = status()
            ready = now["restartCount"] > before and now["ready"]
            found: Object | None = now["lastState"].get("terminated") if ready else None
            return found

        return eventually(f"{pod} is killed and starts again", restarted, describe=self.describe)

    def ending(self, pod: str) -> Object:
        """How the first container of a held pod that is being deleted ended; lets the pod go.

        That is `terminated` of its status (exitCode, reason), and `log`, the last it said.
        """

        def ended() -> Object | None:
            state = self.one("pod", pod)["status"]["containerStatuses"][0]["state"]
            found: Object | None = state.get("terminated")
            return found

        terminated = eventually(f"the container of {pod} ends", ended)
        terminated["log"] = self("logs", pod, "--tail", "20")
        self.let_go(pod)
        return terminated

    def let_go(self, pod: str) -> None:
        """Ends `hold`."""
        self("patch", "pod", pod, "--type", "merge", "-p", '{"metadata": {"finalizers": null}}')

    def describe(self) -> str:
        """How the namespace stands, for the message of a failed test."""
        pods = self("get", "pods", "-o", "wide")
        events = self("get", "events", "--sort-by", "lastTimestamp").splitlines()
        return "\n".join([pods, *events[-20:]])
