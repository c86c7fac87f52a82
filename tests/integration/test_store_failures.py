"""What one of our own stores is to blame for costs a job none of its tries."""

from collections.abc import Iterator
from http import HTTPStatus

import pytest

from hearsight_core.contract import JobStatus
from hearsight_core.errors import AccessDeniedError, RecognitionError
from hearsight_core.progress import News
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import control, listing, outcomes, submission
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import RetryPolicy
from tests.chaos.places import Bucket
from tests.chaos.store_proxy import Trouble
from tests.downloading import Downloading, download_workers
from tests.servers.media import MediaServer
from tests.store import EN, claimed, cut, recognise, request, rows

FEW = RetryPolicy(max_failures=2, max_store_failures=4, backoff_s=0, backoff_max_s=0)


def _counted(database: Database, task_id: str) -> tuple[object, object]:
    [row] = rows(
        database,
        "SELECT failures, store_failures FROM tasks WHERE id = CAST(:id AS uuid)",
        id=task_id,
    )
    return row["failures"], row["store_failures"]


def test_stores_and_recordings_have_tries_apart(database: Database) -> None:
    job, [task_id] = cut(database, parts=1)
    for error in (
        AccessDeniedError(),
        AccessDeniedError(),
        RecognitionError(),
        AccessDeniedError(),
    ):
        failed = outcomes.fail(database, claimed(database, task_id).task, error, FEW, EN)
        assert failed.status is JobStatus.PROCESSING
    assert _counted(database, task_id) == (1, 3)
    again = claimed(database, task_id)
    assert again.job.attempt == 5
    given_up = outcomes.fail(database, again.task, AccessDeniedError(), FEW, EN)
    assert (given_up.id, given_up.status) == (job.id, JobStatus.FAILED)
    assert given_up.error_code == "storage.denied"


def test_a_recording_has_no_more_tries_because_a_store_failed_too(database: Database) -> None:
    _, [task_id] = cut(database, parts=1)
    ends = [
        outcomes.fail(database, claimed(database, task_id).task, error, FEW, EN)
        for error in (RecognitionError(), AccessDeniedError(), RecognitionError())
    ]
    assert [job.error_code for job in ends] == [None, None, "asr.failed"]


def test_the_pause_says_which_try_of_how_many_comes(database: Database) -> None:
    _, [task_id] = cut(database, parts=1)
    outcomes.fail(database, claimed(database, task_id).task, RecognitionError(), FEW, EN)
    failed = outcomes.fail(database, claimed(database, task_id).task, AccessDeniedError(), FEW, EN)
    assert "(attempt 2 of 4)" in failed.message


def test_progress_forgets_what_the_stores_did(database: Database) -> None:
    _, [task_id] = cut(database, parts=1, chunks=2)
    outcomes.fail(database, claimed(database, task_id).task, AccessDeniedError(), FEW, EN)
    assert _counted(database, task_id) == (0, 1)
    recognise(database, claimed(database, task_id), chunks=1)
    assert _counted(database, task_id) == (0, 0)


def test_a_retry_forgets_what_the_stores_did(database: Database) -> None:
    job, [task_id] = cut(database, parts=1)
    for _ in range(FEW.max_store_failures):
        outcomes.fail(database, claimed(database, task_id).task, AccessDeniedError(), FEW, EN)
    assert listing.get(database, job.id).status is JobStatus.FAILED
    control.retry(database, job.id, EN)
    assert _counted(database, task_id) == (0, 0)
    assert claimed(database, task_id).job.attempt == 1


@pytest.fixture
def downloads(
    download_settings: DownloadSettings, database: Database, news: News, through: ObjectStorage
) -> Iterator[Downloading]:
    with download_workers(download_settings, database, news, through) as made:
        yield made


def test_no_source_is_asked_for_what_cannot_be_stored(
    database: Database, failing: Bucket, media: MediaServer, downloads: Downloading
) -> None:
    made = submission.accept(database, request(media.url("/plain/speech.mp3")), EN)
    worker = downloads.worker()
    with failing.proxy.giving(Trouble("answer", HTTPStatus.FORBIDDEN)):
        assert downloads.run(worker, made.task_id, attempt=0) == "storage.denied"
        assert downloads.run(worker, made.task_id, attempt=1) == "storage.denied"
    assert media.requests == []
    assert _counted(database, made.task_id) == (0, 2)
    assert downloads.run(worker, made.task_id, attempt=2) == "done"
    assert media.requests
    assert listing.get(database, made.job.id).media_key is not None
