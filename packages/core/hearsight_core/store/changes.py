"""What every transaction on a job shares: its lock, its change, its end.

These take an open connection and are used inside this package only.
"""

from dataclasses import replace

from sqlalchemy import Connection, func, select, update

from hearsight_core.contract import STAGE_PERCENT, TERMINAL, JobStatus, Stage
from hearsight_core.errors import JobNotFoundError
from hearsight_core.jobs import (
    JOB_TRANSITIONS,
    Job,
    TaskState,
    overall_percent,
)
from hearsight_core.messages import Language, render
from hearsight_core.store.rows import job_of
from hearsight_core.store.tables import jobs, tasks


class IllegalTransitionError(Exception):
    """A transition that the state machine does not know: a fault of the program."""


def locked_job(connection: Connection, job_id: int, *, owner: str | None = None) -> Job:
    """The job, its row locked until the transaction ends; with an `owner`, one of that owner's.

    Raises:
        JobNotFoundError: there is none, or it is another owner's.
    """
    query = select(jobs).where(jobs.c.id == job_id)
    if owner is not None:
        query = query.where(jobs.c.owner == owner)
    row = connection.execute(query.with_for_update()).first()
    if row is None:
        raise JobNotFoundError(job_id=job_id)
    return job_of(row)


def change_job(connection: Connection, job: Job, **values: object) -> Job:
    """Write `values` to the locked job; its version grows by one unless `values` name it."""
    row = connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values({"version": jobs.c.version + 1, **values})
        .returning(jobs)
    ).one()
    return job_of(row)


def staged(job: Job, stage: Stage, percent: float, message: str) -> dict[str, object]:
    """Columns that show the job in `stage`; the overall percentage never goes back."""
    return {
        "stage": stage,
        "stage_percent": percent,
        "overall_percent": max(job.overall_percent, overall_percent(stage, percent)),
        "message": message,
    }


def end_job(
    connection: Connection,
    job: Job,
    status: JobStatus,
    language: Language,
    *,
    error_code: str | None = None,
    error: str | None = None,
) -> Job:
    """End the locked job, and with it every task of it that still waits.

    Raises:
        IllegalTransitionError: the job may not go from its status to `status`.
    """
    if status not in JOB_TRANSITIONS[job.status]:
        raise IllegalTransitionError(f"job {job.id}: {job.status} -> {status}")
    connection.execute(
        update(tasks)
        .where(tasks.c.job_id == job.id, tasks.c.state == TaskState.WAITING)
        .values(state=TaskState.CANCELLED, finished_at=func.now())
    )
    if status is JobStatus.COMPLETED:
        shown = staged(job, Stage.COMPLETED, 100, render(_completed(job), language))
    elif status is JobStatus.FAILED:
        shown = staged(job, Stage.ERROR, STAGE_PERCENT[Stage.ERROR], error or "")
    else:
        # A cancelled job keeps showing how far it came.
        shown = {"message": render("progress.cancelled", language)}
    ended = change_job(
        connection,
        job,
        status=status,
        error_code=error_code,
        error=error,
        finished_at=func.now(),
        **shown,
    )
    return replace(ended, ended_here=True)


def _completed(job: Job) -> str:
    """The key of what is said of a completed job."""
    if job.truncated:
        return "progress.truncated"
    return "progress.completed" if job.speech_ms else "progress.no_speech"


def settle(connection: Connection, job: Job, language: Language) -> Job:
    """End the locked job if its tasks leave nothing to be done; else leave it as it is."""
    if job.status in TERMINAL or not (job.cut_done or job.cancel_requested):
        return job
    states = {
        TaskState(state)
        for state in connection.execute(
            select(tasks.c.state).where(tasks.c.job_id == job.id).distinct()
        ).scalars()
    }
    if job.cut_done and states == {TaskState.DONE}:
        return end_job(connection, job, JobStatus.COMPLETED, language)
    if job.cancel_requested and TaskState.RUNNING not in states:
        return end_job(connection, job, JobStatus.CANCELLED, language)
    return job
