"""What people may do to a job in each state: cancel, retry, delete."""

from collections.abc import Callable
from functools import partial

import pytest

from hearsight_core.contract import JobStatus, Stage
from hearsight_core.errors import CorruptError, JobNotFoundError, JobStateError
from hearsight_core.jobs import Job
from hearsight_core.store import control, leases, listing, outcomes, work
from hearsight_core.store.database import Database
from hearsight_core.store.work import Media
from tests.integration.conftest import Together
from tests.store import (
    AT_ONCE,
    EN,
    accepted,
    claim,
    claimed,
    cut,
    downloading,
    expire,
    recognise,
    rows,
    states,
    transcribed,
)

TABLES = ("jobs", "tasks", "parts", "segments")


def _failed_part(database: Database, task_id: str) -> Job:
    return outcomes.fail(database, claimed(database, task_id).task, CorruptError(), AT_ONCE, EN)


def test_a_waiting_job_is_cancelled_at_once(database: Database) -> None:
    job = control.cancel(database, accepted(database).job.id, EN)
    assert (job.status, job.message) == (JobStatus.CANCELLED, "Cancelled")
    assert job.finished_at is not None
    assert states(database, job.id) == ["cancelled"]


def test_a_job_in_work_is_cancelled_when_its_workers_let_go(database: Database) -> None:
    _, ids = cut(database, parts=3)
    parts = [claimed(database, task_id).task for task_id in ids[:2]]
    job = control.cancel(database, parts[0].job_id, EN)
    assert (job.status, job.cancel_requested) == (JobStatus.PROCESSING, True)
    assert states(database, job.id) == ["done", "running", "running", "cancelled"]
    ends = [outcomes.let_go(database, part, EN).status for part in parts]
    assert ends == [JobStatus.PROCESSING, JobStatus.CANCELLED]


def test_a_cancelled_job_keeps_showing_how_far_it_came(database: Database) -> None:
    _, ids = cut(database, parts=2)
    before = transcribed(database, ids[0])
    job = control.cancel(database, before.id, EN)
    assert job.status is JobStatus.CANCELLED
    assert (job.stage, job.overall_percent) == (before.stage, before.overall_percent)
    assert (job.error, job.error_code) == (None, None)


def test_a_job_whose_last_part_ends_before_it_sees_the_cancel_completes(
    database: Database,
) -> None:
    _, ids = cut(database, parts=1)
    part = claimed(database, ids[0])
    recognise(database, part)
    control.cancel(database, part.job.id, EN)
    assert outcomes.finish(database, part.task, EN).status is JobStatus.COMPLETED


def test_a_second_cancel_changes_nothing(database: Database) -> None:
    waiting, running = accepted(database).job.id, downloading(database).job.id
    for job_id in (waiting, running):
        first = control.cancel(database, job_id, EN)
        assert control.cancel(database, job_id, EN) == first


def test_an_ended_job_can_not_be_cancelled(database: Database) -> None:
    completed, _ = cut(database, parts=0)
    _, ids = cut(database, parts=1)
    failed = _failed_part(database, ids[0])
    for job in (completed, failed):
        with pytest.raises(JobStateError):
            control.cancel(database, job.id, EN)
        assert listing.get(database, job.id) == job


def test_a_failed_job_is_retried_from_where_it_was(database: Database) -> None:
    _, ids = cut(database, parts=3)
    transcribed(database, ids[0])
    second = claimed(database, ids[1])
    recognise(database, second, chunks=1)
    failed = outcomes.fail(database, second.task, CorruptError(), AT_ONCE, EN)
    kept = listing.transcript(database, failed.id)
    job = control.retry(database, failed.id, EN)
    assert (job.status, job.error, job.error_code) == (JobStatus.PENDING, None, None)
    assert (job.attempt, job.finished_at) == (0, None)
    assert job.stage is Stage.ASR_PREPROCESSING
    assert job.overall_percent == failed.overall_percent
    assert states(database, job.id) == ["done", "done", "waiting", "waiting"]
    again = claimed(database, ids[1])
    assert again.part is not None
    assert (again.part.chunks_done, again.task.failures) == (1, 0)
    recognise(database, again)
    outcomes.finish(database, again.task, EN)
    assert transcribed(database, ids[2]).status is JobStatus.COMPLETED
    texts = [stored.segment.text for stored in listing.transcript(database, job.id)]
    assert len(kept) == 3
    assert sorted(texts) == [f"part {part} chunk {chunk}" for part in range(3) for chunk in (0, 1)]


def test_a_job_that_failed_in_its_download_keeps_its_media(database: Database) -> None:
    download = downloading(database).task
    media = Media(key="jobs/1/media", filename="talk.mp4", size_bytes=10, media_type=None)
    work.set_media(database, download, media, "stored")
    failed = outcomes.fail(database, download, CorruptError(), AT_ONCE, EN)
    job = control.retry(database, failed.id, EN)
    assert (job.stage, job.media_key) == (Stage.DOWNLOAD_START, media.key)
    assert claimed(database, download.id).job.media_key == media.key


def test_a_cancelled_job_is_retried_and_can_be_cancelled_again(database: Database) -> None:
    made = accepted(database)
    for _ in range(2):
        assert control.cancel(database, made.job.id, EN).status is JobStatus.CANCELLED
        job = control.retry(database, made.job.id, EN)
        assert (job.status, job.cancel_requested) == (JobStatus.PENDING, False)
    assert claim(database, made.task_id) is not None


def test_a_part_still_running_when_its_failed_job_is_retried_counts(database: Database) -> None:
    _, ids = cut(database, parts=2)
    running = claimed(database, ids[0])
    failed = _failed_part(database, ids[1])
    job = control.retry(database, failed.id, EN)
    assert states(database, job.id) == ["done", "running", "waiting"]
    recognise(database, running)
    assert outcomes.finish(database, running.task, EN).status is JobStatus.PENDING
    assert transcribed(database, ids[1]).status is JobStatus.COMPLETED


def test_a_part_that_lets_go_after_its_failed_job_was_retried_waits_again(
    database: Database,
) -> None:
    _, ids = cut(database, parts=2)
    running = claimed(database, ids[0])
    failed = _failed_part(database, ids[1])
    control.retry(database, failed.id, EN)
    job = outcomes.let_go(database, running.task, EN)
    assert states(database, job.id) == ["done", "waiting", "waiting"]
    for task_id in ids:
        job = transcribed(database, task_id)
    assert job.status is JobStatus.COMPLETED


def test_only_a_failed_or_cancelled_job_can_be_retried(database: Database) -> None:
    completed, _ = cut(database, parts=0)
    for job_id in (accepted(database).job.id, downloading(database).job.id, completed.id):
        before = listing.get(database, job_id)
        with pytest.raises(JobStateError):
            control.retry(database, job_id, EN)
        assert listing.get(database, job_id) == before


def test_of_two_retries_one_is_taken(database: Database, together: Together) -> None:
    job_id = accepted(database).job.id
    control.cancel(database, job_id, EN)

    def retry() -> bool:
        try:
            control.retry(database, job_id, EN)
        except JobStateError:
            return False
        return True

    assert together([retry] * 6).count(True) == 1


@pytest.mark.parametrize("act", [control.cancel, control.retry, control.mark_deleted])
def test_what_is_not_there_can_not_be_acted_on(
    database: Database, act: Callable[[Database, int, str], Job]
) -> None:
    with pytest.raises(JobNotFoundError):
        act(database, 42, EN)
    job_id = accepted(database).job.id
    control.mark_deleted(database, job_id, EN)
    with pytest.raises(JobNotFoundError):
        act(database, job_id, EN)


def test_a_deleted_job_is_hidden_at_once_and_purged_when_nobody_works_on_it(
    database: Database,
) -> None:
    _, ids = cut(database, parts=2)
    transcribed(database, ids[0])
    running = claimed(database, ids[1])
    job_id = running.job.id
    control.mark_deleted(database, job_id, EN)
    with pytest.raises(JobNotFoundError):
        listing.get(database, job_id)
    assert control.purgeable(database) == []
    outcomes.let_go(database, running.task, EN)
    assert control.purgeable(database) == [(job_id, None)]
    control.purge(database, job_id)
    for table in TABLES:
        assert rows(database, f"SELECT * FROM {table}") == []  # noqa: S608  names of our own


def test_a_deleted_job_whose_worker_died_is_purged_once_its_lease_ran_out(
    database: Database,
) -> None:
    download = downloading(database).task
    control.mark_deleted(database, download.job_id, EN)
    expire(database, download.id)
    leases.take_back(database, AT_ONCE, EN)
    assert control.purgeable(database) == [(download.job_id, None)]


def test_an_ended_job_can_be_deleted(database: Database) -> None:
    completed, _ = cut(database, parts=0)
    _, ids = cut(database, parts=1)
    failed = _failed_part(database, ids[0])
    cancelled = control.cancel(database, accepted(database).job.id, EN)
    ids_in_turn = [completed.id, failed.id, cancelled.id]
    for job_id in ids_in_turn:
        control.mark_deleted(database, job_id, EN)
    assert [job_id for job_id, _ in control.purgeable(database)] == ids_in_turn
    assert control.purgeable(database, limit=1) == [(completed.id, None)]


def test_purge_removes_nothing_that_was_not_deleted(database: Database) -> None:
    job_id = accepted(database).job.id
    control.purge(database, job_id)
    assert listing.get(database, job_id).id == job_id


def test_people_and_workers_at_the_same_time_never_wait_for_each_other(
    database: Database, together: Together
) -> None:
    for _ in range(4):
        job, ids = cut(database, parts=4)
        calls: list[Callable[[], object]] = [
            partial(_quietly, transcribed, database, task_id) for task_id in ids
        ]
        calls += [
            partial(_quietly, control.cancel, database, job.id, EN),
            partial(_quietly, control.retry, database, job.id, EN),
            partial(_quietly, leases.take_back, database, AT_ONCE, EN),
            partial(_quietly, control.mark_deleted, database, job.id, EN),
        ]
        together(calls)
        assert "running" not in states(database, job.id)
        assert control.purgeable(database) == [(job.id, None)]
        control.purge(database, job.id)


def _quietly(call: Callable[..., object], *values: object) -> None:
    """What `call` may be refused here is nothing to this test; a deadlock would be."""
    try:
        call(*values)
    except (JobNotFoundError, JobStateError, AssertionError):
        return
