"""What people do to a job: cancel, retry, delete."""

from sqlalchemy import delete, exists, func, select, update

from hearsight_core.contract import STAGE_PERCENT, TERMINAL, JobStatus, Stage
from hearsight_core.errors import JobNotFoundError, JobStateError, MediaRemovedError
from hearsight_core.jobs import Job, TaskState
from hearsight_core.keys import NO_QUOTA, Quota
from hearsight_core.messages import Language, render
from hearsight_core.store import quotas
from hearsight_core.store.changes import change_job, locked_job, settle
from hearsight_core.store.database import Database
from hearsight_core.store.tables import jobs, tasks

IN_WORK = exists().where(tasks.c.job_id == jobs.c.id, tasks.c.state == TaskState.RUNNING)
"""Whether a worker is busy with a job."""


def cancel(database: Database, job_id: int, language: Language, *, owner: str | None = None) -> Job:
    """Asks a job to stop; it is cancelled at once unless a worker has to let go first.

    A second cancel changes nothing.

    Raises:
        JobNotFoundError: there is none, it is another `owner`'s, or it is being deleted.
        JobStateError: it has completed or failed.
    """
    with database.begin() as connection:
        job = locked_job(connection, job_id, owner=owner)
        if job.deleted:
            raise JobNotFoundError(job_id=job_id)
        if job.status is JobStatus.CANCELLED or job.cancel_requested:
            return job
        if job.status in TERMINAL:
            raise JobStateError(job_id=job_id, status=job.status, wanted="pending or processing")
        connection.execute(
            update(tasks)
            .where(tasks.c.job_id == job_id, tasks.c.state == TaskState.WAITING)
            .values(state=TaskState.CANCELLED, finished_at=func.now())
        )
        return settle(
            connection, change_job(connection, job, cancel_requested_at=func.now()), language
        )


def retry(
    database: Database,
    job_id: int,
    language: Language,
    *,
    owner: str | None = None,
    quota: Quota = NO_QUOTA,
) -> Job:
    """Puts a failed or cancelled job back into the queue; what is recognised is kept.

    Raises:
        JobNotFoundError: there is none, it is another `owner`'s, or it is being deleted.
        JobStateError: it has neither failed nor been cancelled.
        MediaRemovedError: its media, and with it its parts, are gone.
        QueuedJobsError, AudioMinutesError: the `quota` of its owner is used.
    """
    with database.begin() as connection:
        job = locked_job(connection, job_id, owner=owner)
        if job.deleted:
            raise JobNotFoundError(job_id=job_id)
        if job.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
            raise JobStateError(job_id=job_id, status=job.status, wanted="failed or cancelled")
        if job.media_removed_at is not None:
            raise MediaRemovedError(job_id=job_id)
        connection.execute(
            update(tasks)
            .where(
                tasks.c.job_id == job_id,
                tasks.c.state.in_([TaskState.FAILED, TaskState.CANCELLED]),
            )
            .values(
                state=TaskState.WAITING,
                failures=0,
                store_failures=0,
                ready_at=func.now(),
                hinted_at=None,
                finished_at=None,
            )
        )
        stage = Stage.ASR_PREPROCESSING if job.cut_done else Stage.DOWNLOAD_START
        job = change_job(
            connection,
            job,
            status=JobStatus.PENDING,
            stage=stage,
            stage_percent=STAGE_PERCENT[stage],
            message=render("progress.pending", language),
            attempt=0,
            error_code=None,
            error=None,
            cancel_requested_at=None,
            finished_at=None,
        )
        quotas.refuse_over(connection, job.owner, quota)
        return job


def mark_deleted(
    database: Database, job_id: int, language: Language, *, owner: str | None = None
) -> Job:
    """Hides a job from everybody and stops its work; `purge` removes what is left of it.

    Raises:
        JobNotFoundError: there is none, it is another `owner`'s, or it is being deleted already.
    """
    with database.begin() as connection:
        job = locked_job(connection, job_id, owner=owner)
        if job.deleted:
            raise JobNotFoundError(job_id=job_id)
        values: dict[str, object] = {"deleted_at": func.now()}
        if job.status not in TERMINAL:
            values["cancel_requested_at"] = func.now()
            connection.execute(
                update(tasks)
                .where(tasks.c.job_id == job_id, tasks.c.state == TaskState.WAITING)
                .values(state=TaskState.CANCELLED, finished_at=func.now())
            )
        return settle(connection, change_job(connection, job, **values), language)


def purgeable(database: Database, *, limit: int = 50) -> list[tuple[int, str | None]]:
    """Lists deleted jobs that no worker is busy with any more: (job id, key of the media)."""
    with database.begin() as connection:
        rows = connection.execute(
            select(jobs.c.id, jobs.c.media_key)
            .where(jobs.c.deleted_at.is_not(None), ~IN_WORK)
            .order_by(jobs.c.deleted_at)
            .limit(limit)
        )
        return [(row.id, row.media_key) for row in rows]


def purge(database: Database, job_id: int) -> None:
    """Removes a deleted job with its tasks, parts and segments; its objects must be gone before."""
    with database.begin() as connection:
        connection.execute(delete(jobs).where(jobs.c.id == job_id, jobs.c.deleted_at.is_not(None)))
