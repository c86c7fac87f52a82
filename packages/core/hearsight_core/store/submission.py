"""Accepting jobs: the moment from which nothing may be lost."""

import hashlib
import json
import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from hearsight_core.contract import (
    DEFAULT_POOL,
    STAGE_PERCENT,
    JobStatus,
    RecognitionOptions,
    Stage,
    TaskKind,
    queue_of,
)
from hearsight_core.errors import DatabaseError, JobConflictError
from hearsight_core.jobs import RANK_OFFSET, Job, Priority, TaskState, overall_percent
from hearsight_core.keys import DEFAULT_OWNER, NO_QUOTA, Quota
from hearsight_core.messages import Language, render
from hearsight_core.store import quotas
from hearsight_core.store.database import Database
from hearsight_core.store.rows import job_of
from hearsight_core.store.tables import job_id_sequence, jobs, tasks
from hearsight_core.telemetry.traces import trace_id_of


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that lies in the object store already."""

    key: str
    filename: str
    size_bytes: int
    media_type: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What someone asks for: a URL or an upload, how to recognise it, and by which pool."""

    url: str | None
    upload: Upload | None
    options: RecognitionOptions
    priority: Priority
    owner: str = DEFAULT_OWNER
    pool: str = DEFAULT_POOL

    @property
    def digest(self) -> str:
        """Equal for equal requests, however often and by whichever way they come."""
        request = {
            "url": self.url,
            "sha256": self.upload.sha256 if self.upload else None,
            "options": self.options.stored(),
            "priority": self.priority,
        }
        if self.pool != DEFAULT_POOL:
            # Left out else: a request taken before there were pools is still the same request.
            request["pool"] = self.pool
        return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The stored job, its first task, and whether this call made them."""

    job: Job
    task_id: str
    created: bool


def reserve_job_id(database: Database) -> int:
    """Takes a job id from the sequence; ids that clients chose are skipped when the job is made."""
    with database.begin() as connection:
        return connection.execute(select(job_id_sequence.next_value())).scalar_one()


def accept(
    database: Database,
    submission: Submission,
    language: Language,
    *,
    job_id: int | None = None,
    trace_parent: str | None = None,
    quota: Quota = NO_QUOTA,
) -> Accepted:
    """Stores a job and its download task; with a job id that exists, answers with that job.

    `trace_parent` is the span that asks for it: all that is done for the job belongs to its trace.

    Raises:
        JobConflictError: the id belongs to another request, to another owner's job whatever that
            asks for, or to a job being deleted.
        QueuedJobsError, AudioMinutesError: it would be a new job, and the owner's `quota` is used.
        DatabaseError: PostgreSQL is away; the job is most likely not stored.
    """
    task_id = str(uuid.uuid4())
    try:
        return _accept(database, submission, language, job_id, task_id, trace_parent, quota)
    except DatabaseError:
        # If only the answer to the commit was lost, the task is there.
        stored = _stored(database, task_id)
        if stored is None:
            raise
        return stored


def _stored(database: Database, task_id: str) -> Accepted | None:
    """The job that was stored with this download task."""
    with database.begin() as connection:
        row = connection.execute(
            select(jobs).join(tasks, tasks.c.job_id == jobs.c.id).where(tasks.c.id == task_id)
        ).first()
    if row is None:
        return None
    return Accepted(job=job_of(row), task_id=task_id, created=True)


def _accept(  # noqa: PLR0917  as `accept`, and the id of the task
    database: Database,
    submission: Submission,
    language: Language,
    job_id: int | None,
    task_id: str,
    trace_parent: str | None,
    quota: Quota,
) -> Accepted:
    with database.begin() as connection:
        job = _inserted(connection, submission, language, job_id, trace_id_of(trace_parent))
        if job is None:
            assert job_id is not None, "only a chosen id can be taken"  # noqa: S101
            return _existing(connection, submission, job_id)
        quotas.refuse_over(connection, submission.owner, quota)
        connection.execute(
            insert(tasks).values(
                id=task_id,
                job_id=job.id,
                kind=TaskKind.DOWNLOAD,
                queue=queue_of(TaskKind.DOWNLOAD),
                state=TaskState.WAITING,
                rank_at=func.now() + RANK_OFFSET[submission.priority],
                trace_parent=trace_parent,
                job_owner=job.owner,
            )
        )
        return Accepted(job=job, task_id=task_id, created=True)


def _inserted(
    connection: Connection,
    submission: Submission,
    language: Language,
    job_id: int | None,
    trace_id: str | None,
) -> Job | None:
    """The new job; None if the chosen id is taken. A drawn id that is taken is drawn again."""
    stage = Stage.UPLOAD if submission.upload else Stage.DOWNLOAD_START
    key = "progress.upload" if submission.upload else "progress.pending"
    values: dict[str, object] = {
        "status": JobStatus.PENDING,
        "stage": stage,
        "stage_percent": STAGE_PERCENT[stage],
        "overall_percent": overall_percent(stage, STAGE_PERCENT[stage]),
        "message": render(key, language),
        "source_url": submission.url,
        "options": submission.options.stored(),
        "priority": submission.priority,
        "owner": submission.owner,
        "pool": submission.pool,
        "request_digest": submission.digest,
        "trace_id": trace_id,
    }
    if upload := submission.upload:
        values |= {
            "filename": upload.filename,
            "media_key": upload.key,
            "media_bytes": upload.size_bytes,
            "media_type": upload.media_type,
        }
    chosen = job_id_sequence.next_value() if job_id is None else job_id
    while True:
        row = connection.execute(
            insert(jobs).values(id=chosen, **values).on_conflict_do_nothing().returning(jobs)
        ).first()
        if row is not None:
            return job_of(row)
        if job_id is not None:
            return None


def _existing(connection: Connection, submission: Submission, job_id: int) -> Accepted:
    row = connection.execute(
        select(jobs, tasks.c.id.label("task_id"))
        .join(tasks, tasks.c.job_id == jobs.c.id)
        .where(jobs.c.id == job_id, tasks.c.kind == TaskKind.DOWNLOAD)
    ).first()
    if row is None:
        raise JobConflictError(job_id=job_id, field="job_id")
    job = job_of(row)
    # To another owner, an equal request must not look otherwise than a different one.
    own = job.owner == submission.owner
    if not own or job.deleted or job.request_digest != submission.digest:
        raise JobConflictError(job_id=job_id, field="job_id")
    return Accepted(job=job, task_id=row.task_id, created=False)
