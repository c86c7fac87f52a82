"""How an attempt at a task ends: done, given back, to be tried again, given up, or stopped.

Every write carries the attempt, and refuses with LeaseLost if it is no longer the current one.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, bindparam, func, select, update

from hearsight_core.contract import TERMINAL, JobStatus
from hearsight_core.errors import (
    HearSightError,
    JobNotFoundError,
    LeaseLost,
    StorageError,
    WorkerLostError,
)
from hearsight_core.jobs import Job, Task, TaskState
from hearsight_core.messages import Language, render
from hearsight_core.settings import CoreSettings
from hearsight_core.store.changes import change_job, end_job, locked_job, settle
from hearsight_core.store.database import Database
from hearsight_core.store.rows import job_of
from hearsight_core.store.tables import jobs, tasks

MAX_DOUBLINGS = 60
"""More would overflow in the end; the longest pause is reached long before."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and when a task is tried again."""

    max_failures: int
    max_store_failures: int
    """As `max_failures`, of those that one of our own stores is to blame for, and no job is."""
    backoff_s: float
    backoff_max_s: float

    @classmethod
    def of(cls, settings: CoreSettings) -> "RetryPolicy":
        """The policy of this deployment."""
        return cls(
            max_failures=settings.max_failures,
            max_store_failures=settings.max_store_failures,
            backoff_s=settings.retry_backoff_s,
            backoff_max_s=settings.retry_backoff_max_s,
        )

    def wants_alone(self, task: Task) -> bool:
        """Whether the claimed task may have ended its process before, and has one try left."""
        before = HearSightError.of_code(task.error_code) if task.error_code is not None else None
        return before is not None and before.hits_process and task.failures >= self.max_failures - 1

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure: doubling, capped, half of it jitter.

        "Equal jitter" of M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        doublings = min(failures - 1, MAX_DOUBLINGS)
        ceiling = min(self.backoff_max_s, self.backoff_s * 2.0**doublings)
        return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311  no secret depends on it


def locked_attempt(connection: Connection, task: Task) -> Job:
    """The task's job, locked, if the attempt is still the current one.

    Raises:
        LeaseLost: it is not, or the job was deleted and purged; nothing may be written.
    """
    try:
        job = locked_job(connection, task.job_id)
    except JobNotFoundError as error:
        raise LeaseLost from error
    current = connection.execute(
        select(tasks.c.id).where(
            tasks.c.id == task.id,
            tasks.c.state == TaskState.RUNNING,
            tasks.c.attempt == task.attempt,
        )
    ).first()
    if current is None:
        raise LeaseLost
    return job


def _leave_running(connection: Connection, task: Task, state: TaskState, **values: object) -> None:
    """Move the running attempt to `state` and drop its lease; refuses another attempt's task."""
    moved = connection.execute(
        update(tasks)
        .where(
            tasks.c.id == task.id,
            tasks.c.state == TaskState.RUNNING,
            tasks.c.attempt == task.attempt,
        )
        .values(state=state, owner=None, lease_until=None, hinted_at=None, **values)
    )
    if moved.rowcount != 1:
        raise LeaseLost


_LOCK_JOB_OF = (
    select(jobs, tasks.c.state.label("task_state"))
    .join(tasks, tasks.c.job_id == jobs.c.id)
    .where(tasks.c.id == bindparam("task"), tasks.c.attempt == bindparam("claimed"))
    .with_for_update(of=jobs)
)


def finish(database: Database, task: Task, language: Language) -> Job:
    """Marks the task done, and completes the job if that was the last one. Twice is as once.

    Raises:
        LeaseLost: the attempt is no longer the current one.
    """
    with database.begin() as connection:
        row = connection.execute(_LOCK_JOB_OF, {"task": task.id, "claimed": task.attempt}).first()
        if row is None:
            raise LeaseLost
        job = job_of(row)
        if row.task_state == TaskState.DONE:
            return job  # only the answer was lost
        # Refuses if the attempt is not in work any more, or has not been since the lock was asked.
        _leave_running(connection, task, TaskState.DONE, finished_at=func.now())
        return settle(connection, job, language)


def let_go(database: Database, task: Task, language: Language) -> Job:
    """Ends the attempt with the task unfinished, not as a failure.

    Where the job is to stop, the task is cancelled, and the job with it if that was the last one
    running; where it goes on (the worker drains, or the job was retried meanwhile), the task goes
    back into the queue at once.

    Raises:
        LeaseLost: the attempt is no longer the current one.
    """
    with database.begin() as connection:
        job = locked_attempt(connection, task)
        if not job.cancel_requested and job.status not in TERMINAL:
            _leave_running(connection, task, TaskState.WAITING, ready_at=func.now())
            return job
        _leave_running(connection, task, TaskState.CANCELLED, finished_at=func.now())
        return settle(connection, job, language)


def fail(
    database: Database,
    task: Task,
    error: HearSightError,
    policy: RetryPolicy,
    language: Language,
) -> Job:
    """Records a failed attempt: the task waits for its next try, or fails its job for good.

    Raises:
        LeaseLost: the attempt is no longer the current one.
    """
    with database.begin() as connection:
        job = locked_attempt(connection, task)
        return failed_attempt(connection, job, task, error, policy, language)


def failed_attempt(  # noqa: PLR0917  as `fail`, plus what is open
    connection: Connection,
    job: Job,
    task: Task,
    error: HearSightError,
    policy: RetryPolicy,
    language: Language,
) -> Job:
    """As `fail`, inside a transaction that holds the job's lock."""
    if isinstance(error, StorageError):
        counter, most = tasks.c.store_failures, policy.max_store_failures
    else:
        counter, most = tasks.c.failures, policy.max_failures
    # Not the number that the attempt began with: what it brought forward has taken that back.
    failures, alone = connection.execute(
        select(counter + 1, tasks.c.alone).where(tasks.c.id == task.id)
    ).one()
    if error.hits_process and not alone:
        # Another task in that process may be to blame: this one is tried once more, alone.
        failures = min(failures, most - 1)
    text = error.text(language)
    record = {counter.name: failures, "error_code": error.code, "error": text}
    if job.cancel_requested or job.status in TERMINAL:
        _leave_running(connection, task, TaskState.CANCELLED, finished_at=func.now(), **record)
        return settle(connection, job, language)
    if not error.retryable or failures >= most:
        _leave_running(connection, task, TaskState.FAILED, finished_at=func.now(), **record)
        return end_job(
            connection, job, JobStatus.FAILED, language, error_code=error.code, error=text
        )
    # Nothing needs a rest because a worker died.
    delay_s = 0.0 if isinstance(error, WorkerLostError) else policy.delay_s(failures)
    _leave_running(
        connection,
        task,
        TaskState.WAITING,
        ready_at=func.now() + timedelta(seconds=delay_s),
        **record,
    )
    message = render(
        "progress.retry_at",
        language,
        error=text,
        delay_s=round(delay_s),
        attempt=failures + 1,
        attempts=most,
    )
    return change_job(connection, job, message=message)
