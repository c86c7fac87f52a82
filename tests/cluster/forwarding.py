"""A port of a pod, on this machine: on any cluster, whatever its network policies say."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.kubectl import Kubectl

_SAID = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")


@contextmanager
def forwarded(kubectl: Kubectl, pod: str, port: int) -> Iterator[str]:
    """host:port on this machine that leads to a port of a pod, for the length of the block."""
    command = (
        "kubectl",
        "--namespace",
        kubectl.namespace,
        "port-forward",
        f"pod/{pod}",
        f":{port}",
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            found = _SAID.match(said)
            assert found, f"no port of {pod} is forwarded: {said}"
            yield found[1]
        finally:
            process.terminate()
