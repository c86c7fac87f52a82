"""The commands of docs/operations.md for backup and restore, run as they stand there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client
from tests.cluster.images import ROOT
from tests.cluster.kubectl import RESTRICTED, namespace, run
from tests.cluster.load import upload
from tests.cluster.recordings import recordings
from tests.cluster.release import CHART, Release, Values

PAGE = ROOT / "docs" / "operations.md"
ONE_OF_EACH = {
    "api": {"replicas": 1},
    "downloadWorker": {"replicas": 1},
    "asrWorker": {"replicas": 1},
}


def _documented() -> tuple[str, str]:
    """The commands that back up, and those that restore."""
    section = PAGE.read_text("utf-8").split("## Backup and restore\n")[1].split("\n## ")[0]
    backup, restore = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    return backup, restore


def _run(commands: str, release: Release, folder: Path) -> None:
    """Runs commands of the page in a folder that has the chart, for a release's own namespace."""
    own = commands.replace("--namespace hearsight ", f"--namespace {release.kubectl.namespace} ")
    run("bash", "-euo", "pipefail", "-c", f"cd {folder}\n{own}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are run: the chart lies in it, and the backup comes to lie in it."""
    made = tmp_path_factory.mktemp("backup")
    (made / "charts").symlink_to(CHART.parent)
    return made


@pytest.fixture(scope="module")
def finished(client: Client) -> int:
    """A job that is done before the backup."""
    job_id = upload(client, recordings()[0])
    assert client.outcome(job_id)["status"] == "completed"
    return job_id


@pytest.fixture(scope="module")
def restored(
    run_name: str, release: Release, finished: int, values: list[Values], folder: Path
) -> Iterator[Release]:
    """A release of its own, restored from a backup of the one that the other tests use."""
    del finished
    backup, restore = _documented()
    _run(backup, release, folder)
    with namespace(f"{run_name}-restored", **RESTRICTED) as kubectl:
        fresh = Release(kubectl)
        (folder / "my-values.yaml").write_text(fresh.values(*values, ONE_OF_EACH))
        _run(restore, fresh, folder)
        yield fresh


@pytest.fixture(scope="module")
def restored_client(restored: Release) -> Iterator[Client]:
    """The API of the restored release, through the ingress."""
    with restored.client() as reaching:
        yield reaching


def test_a_restored_release_has_every_job_and_transcript(
    client: Client, restored_client: Client, finished: int
) -> None:
    everything = {"limit": 200}
    jobs = client.http.get("/api/jobs", params=everything).json()
    assert restored_client.http.get("/api/jobs", params=everything).json() == jobs
    assert restored_client.transcript(finished) == client.transcript(finished)


def test_a_restored_release_has_the_media(restored_client: Client, finished: int) -> None:
    media = restored_client.http.get(f"/api/jobs/{finished}/media")
    assert media.content == recordings()[0].content


def test_a_restored_release_goes_on_with_new_jobs(restored_client: Client, finished: int) -> None:
    job_id = upload(restored_client, recordings()[1])
    assert job_id > finished
    assert restored_client.outcome(job_id)["status"] == "completed"
