"""The loop of development: install once, then change a source and see it run, without a build."""

import shutil
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from hearsight_core.contract import JobStatus
from tests.client import Client
from tests.cluster.forwarding import forwarded
from tests.cluster.kubectl import RESTRICTED, CommandError, Kubectl, missing, namespace
from tests.cluster.recordings import WORST_WORD_ERROR_RATE, recordings
from tests.cluster.release import Release
from tests.cluster.skaffold import Skaffold
from tests.cluster.waiting import eventually

API = "services/api/hearsight_api/app.py"
PROBES = "packages/core/hearsight_core/telemetry/probes.py"
PORTS = {"api": 8000, "download-worker": 9100, "asr-worker": 9100}
KINDS = "deployments,statefulsets,jobs,services,secrets,persistentvolumeclaims,pods"
HEALTH = "ok, and changed"
TITLE = "HearSight, changed"

ASK = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
"""
MAY_WRITE = "import os; print(os.access('/opt/hearsight', os.W_OK))"


@pytest.fixture
def kubectl() -> Iterator[Kubectl]:
    if reason := missing():
        pytest.skip(f"no cluster to test on: {reason}")
    if shutil.which("skaffold") is None:
        pytest.skip("skaffold is not installed")
    with namespace(f"hearsight-test-{uuid.uuid4().hex[:6]}-skaffold", **RESTRICTED) as own:
        yield own


@pytest.fixture
def skaffold(kubectl: Kubectl, tmp_path: Path) -> Skaffold:
    tree = tmp_path / "tree"
    tree.mkdir()
    return Skaffold.on_a_copy(tree, kubectl.namespace)


def _pods(kubectl: Kubectl) -> dict[str, str]:
    """The one ready pod of each component."""
    release = Release(kubectl)
    return {component: release.pod(component) for component in PORTS}


def _restarts(kubectl: Kubectl, pods: dict[str, str]) -> int:
    statuses = [kubectl.one("pod", pod)["status"]["containerStatuses"] for pod in pods.values()]
    return sum(int(status["restartCount"]) for [status] in statuses)


def _answers(kubectl: Kubectl, pod: str, port: int, path: str, words: str) -> bool:
    """Whether these words are in what a pod answers on one of its ports."""
    try:
        return words in kubectl.exec(pod, "python", "-c", ASK, f"http://127.0.0.1:{port}{path}")
    except CommandError:  # its process is being started anew
        return False


def _transcribes(kubectl: Kubectl, pods: dict[str, str], file: Path) -> None:
    spoken = recordings()[0]
    file.write_bytes(spoken.content)
    with (
        forwarded(kubectl, pods["api"], PORTS["api"]) as address,
        httpx.Client(base_url=f"http://{address}", timeout=60, trust_env=False) as http,
    ):
        client = Client(http)
        job_id = client.upload(file, language="en")
        last = client.outcome(job_id)
        assert last["status"] == JobStatus.COMPLETED, last
        heard = str(client.transcript(job_id)["text"])
        assert spoken.word_error_rate(heard) < WORST_WORD_ERROR_RATE


def test_a_changed_source_runs_in_the_pods_that_are_there(
    skaffold: Skaffold, kubectl: Kubectl, tmp_path: Path
) -> None:
    skaffold.run()
    pods = _pods(kubectl)
    # What users install, with nothing of the loop in it.
    first_process = kubectl.exec(pods["api"], "cat", "/proc/1/cmdline")
    assert first_process.split("\0")[1:3] == ["-m", "hearsight_api"]
    _transcribes(kubectl, pods, tmp_path / "speech.mp3")

    with skaffold.dev(tmp_path / "skaffold.log") as loop:
        pods = _pods(kubectl)
        restarts = _restarts(kubectl, pods)
        skaffold.change(API, '"HearSight"', f'"{TITLE}"')
        skaffold.change(PROBES, '(wrong or "ok")', f'(wrong or "{HEALTH}")')
        for component, pod in pods.items():
            seen = ("/openapi.json", TITLE) if component == "api" else ("/healthz", HEALTH)
            eventually(
                f"the {component} runs the change",
                partial(_answers, kubectl, pod, PORTS[component], *seen),
                describe=loop.said,
            )
        assert _pods(kubectl) == pods
        assert _restarts(kubectl, pods) == restarts
        for pod in pods.values():
            assert kubectl.exec(pod, "python", "-c", MAY_WRITE).strip() == "False"
        assert loop.end() == 0, loop.said()

    eventually(
        "nothing is left",
        lambda: not kubectl.get(KINDS),
        describe=lambda: kubectl("get", KINDS),
    )
