"""What was kept long enough goes, a little at a time, and nothing goes that work may need."""

import time
from pathlib import Path

import httpx
import pytest

from hearsight_core.contract import JobStatus
from hearsight_core.errors import JobNotFoundError, MediaRemovedError, NoAudioError
from hearsight_core.housekeeping import BATCH, Housekeeper
from hearsight_core.jobs import Job
from hearsight_core.progress import News
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import control, listing, outcomes, retention, submission, work
from hearsight_core.store.database import Database
from hearsight_core.store.work import Media
from tests.servers import api
from tests.servers.api import Served, problem
from tests.store import (
    AT_ONCE,
    EN,
    accepted,
    add_part,
    claimed,
    cut,
    downloading,
    rows,
    transcribed,
    upload,
)

DAY_S = 24 * 3600.0
SOON_S = 30


class _Keeper(Housekeeper):
    """A housekeeper for which every object is old, and whose sweep is always due."""

    def __init__(
        self,
        database: Database,
        news: News,
        storage: ObjectStorage,
        *,
        job_age_s: float = 0,
        media_age_s: float = 0,
    ) -> None:
        super().__init__(
            database=database,
            news=news,
            storage=storage,
            orphan_age_s=-1,
            sweep_every_s=0,
            job_age_s=job_age_s,
            media_age_s=media_age_s,
        )

    def whole_round(self) -> None:
        """All it does, every page of the sweep included."""
        self.expire()
        self.remove_deleted()
        for _page in range(5):
            self.sweep()


def _age(database: Database, job_id: int, days: float) -> None:
    """Makes it that long since the job ended."""
    rows(
        database,
        "UPDATE jobs SET finished_at = finished_at - make_interval(secs => :s) WHERE id = :id"
        " RETURNING id",
        s=days * DAY_S,
        id=job_id,
    )


def _keys(storage: ObjectStorage) -> set[str]:
    return {found.key for found in storage.list("")}


def _ended(database: Database, storage: ObjectStorage, key: str) -> Job:
    """A completed job with media, a part and segments."""
    storage.put_bytes(key, b"x")
    made = submission.accept(database, upload(key), EN)
    download = claimed(database, made.task_id).task
    part = add_part(database, download, 0)
    work.finish_cut(database, download, 1000)
    outcomes.finish(database, download, EN)
    job = transcribed(database, part)
    assert job.status is JobStatus.COMPLETED
    return job


def _failed_with_parts(database: Database, storage: ObjectStorage, key: str) -> Job:
    """A job of two parts, of which one is recognised and the other has failed for good."""
    storage.put_bytes(key, b"x")
    made = submission.accept(database, upload(key), EN)
    download = claimed(database, made.task_id).task
    first, second = (add_part(database, download, index) for index in (0, 1))
    for row in rows(database, "SELECT object_key FROM parts WHERE job_id = :id", id=made.job.id):
        storage.put_bytes(str(row["object_key"]), b"x")
    work.finish_cut(database, download, 1000)
    outcomes.finish(database, download, EN)
    transcribed(database, first)
    failing = claimed(database, second).task
    job = outcomes.fail(database, failing, NoAudioError(), AT_ONCE, EN)
    assert job.status is JobStatus.FAILED
    return job


def test_parts_of_media_that_was_never_wholly_fetched_go_when_media_does(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    download = downloading(database).task
    transcribed(database, add_part(database, download, 0))
    [row] = rows(database, "SELECT object_key FROM parts")
    storage.put_bytes(str(row["object_key"]), b"x")
    job = outcomes.fail(database, download, NoAudioError(), AT_ONCE, EN)
    _age(database, job.id, 8)
    keeper = _Keeper(database, news, storage, media_age_s=7 * DAY_S)
    keeper.whole_round()
    assert _keys(storage) == set()
    assert listing.get(database, job.id).media_removed_at is not None
    assert listing.transcript(database, job.id)
    removed_at = listing.get(database, job.id).media_removed_at
    keeper.whole_round()
    assert listing.get(database, job.id).media_removed_at == removed_at


def test_an_old_job_goes_with_all_it_has_and_a_younger_one_stays(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    old, young = (_ended(database, storage, f"uploads/{name}") for name in ("old", "young"))
    _age(database, old.id, 31)
    _age(database, young.id, 29)
    _Keeper(database, news, storage, job_age_s=30 * DAY_S).whole_round()
    with pytest.raises(JobNotFoundError):
        listing.get(database, old.id)
    assert listing.get(database, young.id).status is JobStatus.COMPLETED
    for table in ("tasks", "parts", "segments"):
        left = rows(database, f"SELECT DISTINCT job_id FROM {table}")  # noqa: S608  our own names
        assert [row["job_id"] for row in left] == [young.id]
    assert _keys(storage) == {"uploads/young"}


def test_everything_is_kept_unless_a_time_is_set(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    job = _ended(database, storage, "uploads/talk")
    _age(database, job.id, 36_500)
    _Keeper(database, news, storage).whole_round()
    assert listing.get(database, job.id).media_key == "uploads/talk"
    assert _keys(storage) == {"uploads/talk"}


def test_what_has_not_ended_is_never_too_old(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    waiting = accepted(database).job.id
    working = downloading(database).task.job_id
    rows(database, "UPDATE jobs SET created_at = created_at - interval '9 years' RETURNING id")
    _Keeper(database, news, storage, job_age_s=1, media_age_s=1).whole_round()
    assert {job.id for job in listing.newest(database, limit=10)} == {waiting, working}


def test_nothing_is_taken_from_under_a_running_task(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    """A job that failed while another part of it was in work."""
    job, [first, second] = cut(database, parts=2)
    media = "uploads/talk"
    storage.put_bytes(media, b"x")
    rows(database, "UPDATE jobs SET media_key = :key RETURNING id", key=media)
    running = claimed(database, first).task
    outcomes.fail(database, claimed(database, second).task, NoAudioError(), AT_ONCE, EN)
    _age(database, job.id, 2)
    keeper = _Keeper(database, news, storage, job_age_s=DAY_S, media_age_s=DAY_S)
    keeper.whole_round()
    assert listing.get(database, job.id).media_key == media
    assert _keys(storage) == {media}
    outcomes.let_go(database, running, EN)
    keeper.whole_round()
    assert rows(database, "SELECT id FROM jobs") == []
    assert _keys(storage) == set()


def test_a_step_takes_a_batch_and_no_more(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    for _ in range(BATCH + 7):
        control.cancel(database, accepted(database).job.id, EN)
    rows(database, "UPDATE jobs SET finished_at = finished_at - interval '2 days' RETURNING id")
    keeper = _Keeper(database, news, storage, job_age_s=DAY_S)
    keeper.expire()
    assert len(listing.newest(database, limit=100)) == 7
    keeper.expire()
    assert listing.newest(database, limit=100) == []


def test_a_job_retried_meanwhile_starts_its_time_anew(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    job_id = accepted(database).job.id
    control.cancel(database, job_id, EN)
    _age(database, job_id, 2)
    control.retry(database, job_id, EN)
    _Keeper(database, news, storage, job_age_s=DAY_S).whole_round()
    assert listing.get(database, job_id).status is JobStatus.PENDING


def test_old_media_goes_and_the_transcript_stays(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    job = _ended(database, storage, "uploads/talk")
    _age(database, job.id, 2)
    _Keeper(database, news, storage, media_age_s=DAY_S).whole_round()
    left = listing.get(database, job.id)
    assert left.media_removed_at is not None
    assert left.version == job.version, "a reader who saw its end would be told again"
    assert len(listing.transcript(database, job.id)) == 2
    assert _keys(storage) == set()


def test_the_audio_of_a_failed_job_s_parts_goes_with_its_media_and_it_is_not_retried(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    job = _failed_with_parts(database, storage, "uploads/talk")
    keeper = _Keeper(database, news, storage, media_age_s=DAY_S)
    keeper.whole_round()
    assert len(_keys(storage)) == 3, "until then it can be retried"
    _age(database, job.id, 2)
    keeper.whole_round()
    assert _keys(storage) == set()
    with pytest.raises(MediaRemovedError):
        control.retry(database, job.id, EN)


def test_what_a_crash_leaves_of_old_media_is_swept(
    database: Database, news: News, storage: ObjectStorage
) -> None:
    job = _failed_with_parts(database, storage, "uploads/talk")
    _age(database, job.id, 2)
    # The pointer is gone, and the process dies before it removes an object.
    assert retention.expire_media(database, age_s=DAY_S, limit=BATCH) == [(job.id, "uploads/talk")]
    assert len(_keys(storage)) == 3
    _Keeper(database, news, storage, media_age_s=DAY_S).whole_round()
    assert _keys(storage) == set()


def test_clients_are_told_that_media_is_gone(served: Served, http: httpx.Client) -> None:
    download = downloading(served.database).task
    media = Media(key="uploads/gone", filename="talk.mp4", size_bytes=1, media_type=None)
    work.set_media(served.database, download, media, "")
    outcomes.fail(served.database, download, NoAudioError(), AT_ONCE, EN)
    retention.expire_media(served.database, age_s=-1, limit=1000)
    path = f"/api/jobs/{download.job_id}"
    problem(http.get(f"{path}/media"), 410, "job.media_removed")
    problem(http.post(f"{path}/retry"), 410, "job.media_removed")
    shown = http.get(path).json()
    assert shown["media_removed_at"] is not None
    assert shown["filename"] == "talk.mp4"


def test_an_api_with_a_time_set_removes_what_is_older(
    database: Database, database_url: str, broker_url: str, redis_url: str, tmp_path: Path
) -> None:
    env = {
        "HEARSIGHT_DATABASE_URL": database_url,
        "HEARSIGHT_BROKER_URL": broker_url,
        "HEARSIGHT_REDIS_URL": redis_url,
        "HEARSIGHT_STORAGE_URL": (tmp_path / "media").as_uri(),
        "HEARSIGHT_RETENTION_JOB_DAYS": "0.5",
    }
    old, young = (accepted(database).job.id for _ in range(2))
    for job_id in (old, young):
        control.cancel(database, job_id, EN)
    _age(database, old, 1)
    with api.running(tmp_path / "api.log", env) as server, server.client() as client:
        deadline = time.monotonic() + SOON_S
        while rows(database, "SELECT id FROM jobs WHERE id = :id", id=old):
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.1)
        problem(client.get(f"/api/jobs/{old}"), 404, "job.not_found")
        assert client.get(f"/api/jobs/{young}").is_success
        assert 'hearsight_expired_total{what="job"} 1.0' in server.metrics()
