"""The commands of docs/operations.md for backup and restore, run as they stand there."""

from collections.abc import Iterator

import pytest

from tests.client import Client
from tests.cluster.documented import Shell, blocks
from tests.cluster.kubectl import RESTRICTED, namespace
from tests.cluster.load import upload
from tests.cluster.recordings import recordings
from tests.cluster.release import Release, Values

ONE_OF_EACH = {
    "api": {"replicas": 1},
    "downloadWorker": {"replicas": 1},
    "asrWorker": {"replicas": 1},
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Where the commands are run, and the backup comes to lie."""
    return Shell.beside_the_chart(tmp_path_factory.mktemp("backup"))


@pytest.fixture(scope="module")
def finished(client: Client) -> int:
    """A job that is done before the backup."""
    job_id = upload(client, recordings()[0])
    assert client.outcome(job_id)["status"] == "completed"
    return job_id


@pytest.fixture(scope="module")
def restored(
    run_name: str, release: Release, finished: int, values: list[Values], shell: Shell
) -> Iterator[Release]:
    """A release of its own, restored from a backup of the one that the other tests use."""
    del finished
    backup, restore = blocks("Backup and restore")
    shell.run(backup, release)
    with namespace(f"{run_name}-restored", **RESTRICTED) as kubectl:
        fresh = Release(kubectl)
        shell.write_values(fresh, *values, ONE_OF_EACH)
        shell.run(restore, fresh)
        yield fresh


@pytest.fixture(scope="module")
def restored_client(restored: Release) -> Iterator[Client]:
    """The API of the restored release, through the ingress, with that release's own key."""
    with restored.client(restored.first_key()) as reaching:
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
