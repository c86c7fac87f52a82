"""Accepting jobs: the moment from which nothing may be lost.

Those that come together share a transaction (ADR 0029). They go into it as one JSON array, so that
a hundred take the same few statements as one.
"""

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnClause,
    Connection,
    Interval,
    TableValuedAlias,
    bindparam,
    column,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from hearsight_core.contract import (
    DEFAULT_POOL,
    STAGE_PERCENT,
    JobStatus,
    RecognitionOptions,
    Stage,
    TaskKind,
    queue_of,
)
from hearsight_core.errors import DatabaseError, JobConflictError, RequestError
from hearsight_core.jobs import RANK_OFFSET, Job, Priority, TaskState, overall_percent
from hearsight_core.keys import DEFAULT_OWNER, NO_QUOTA, Quota
from hearsight_core.messages import Language, render
from hearsight_core.store import quotas
from hearsight_core.store.database import Database
from hearsight_core.store.rows import job_of
from hearsight_core.store.tables import job_id_sequence, jobs, storable, tasks
from hearsight_core.telemetry.traces import trace_id_of


def _rows(*columns: ColumnClause[Any]) -> TableValuedAlias:  # Any: of every type
    """The bound array `rows`, whose objects have these columns as members, as a table."""
    return (
        func.jsonb_to_recordset(bindparam("rows", type_=JSONB))
        .table_valued(*(column(one.name, one.type) for one in columns))
        .render_derived(with_types=True)
    )


_JOBS = _rows(
    *(jobs.c.id, jobs.c.status, jobs.c.stage, jobs.c.stage_percent, jobs.c.overall_percent),
    *(jobs.c.message, jobs.c.source_url, jobs.c.options, jobs.c.priority, jobs.c.owner),
    *(jobs.c.pool, jobs.c.request_digest, jobs.c.trace_id, jobs.c.filename, jobs.c.media_key),
    *(jobs.c.media_bytes, jobs.c.media_type),
)
_INSERT_JOBS = (
    insert(jobs)
    .from_select(_JOBS.c.keys(), select(*_JOBS.c))
    .on_conflict_do_nothing()
    .returning(jobs)
)
"""Those whose numbers are free."""

_TASKS = _rows(
    *(tasks.c.id, tasks.c.job_id, tasks.c.kind, tasks.c.queue, tasks.c.state),
    *(tasks.c.trace_parent, tasks.c.job_owner, column("rank_after", Interval())),
)
_INSERT_TASKS = insert(tasks).from_select(
    [*_TASKS.c.keys()[:-1], "rank_at"],
    select(*_TASKS.c[:-1], func.now() + _TASKS.c.rank_after),
)


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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request for a job, who may have how much, and the number that its client chose, if any.

    `trace_parent` is the span that asks for it: all that is done for the job belongs to its trace.
    """

    submission: Submission
    job_id: int | None = None
    trace_parent: str | None = None
    quota: Quota = NO_QUOTA
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))


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

    Raises:
        JobConflictError: the id belongs to another request, to another owner's job whatever that
            asks for, or to a job being deleted.
        QueuedJobsError, AudioMinutesError: it would be a new job, and the owner's `quota` is used.
        DatabaseError: PostgreSQL is away; the job is most likely not stored.
    """
    asked = Asked(submission=submission, job_id=job_id, trace_parent=trace_parent, quota=quota)
    [outcome] = accept_all(database, [asked], language)
    if isinstance(outcome, RequestError):
        raise outcome
    return outcome


def accept_all(
    database: Database, asked: Sequence[Asked], language: Language
) -> list[Accepted | RequestError]:
    """As `accept`, for many at once, in their order; what it raises for one is told in its place.

    They share a transaction, but for those that name a number which another of them names.

    Raises:
        DatabaseError: PostgreSQL is away; most likely none of them is stored.
    """
    outcomes: dict[str, Accepted | RequestError] = {}
    for together in _apart(asked):
        outcomes |= _accepted(database, together, language)
    return [outcomes[one.task_id] for one in asked]


def _apart(asked: Iterable[Asked]) -> list[list[Asked]]:
    """The same in lists that name no number twice: the second finds what the first has left."""
    lists: list[list[Asked]] = []
    named: defaultdict[int, int] = defaultdict(int)
    for one in asked:
        place = 0
        if one.job_id is not None:
            place = named[one.job_id]
            named[one.job_id] += 1
        if place == len(lists):
            lists.append([])
        lists[place].append(one)
    return lists


def _accepted(
    database: Database, asked: Sequence[Asked], language: Language
) -> dict[str, Accepted | RequestError]:
    """The outcomes of one transaction, by the ids of the tasks asked for."""
    outcomes: dict[str, Accepted | RequestError] = {}
    try:
        with database.begin() as connection:
            outcomes = _stored(connection, asked, language)
    except DatabaseError:
        # If only the answer to the commit was lost, what was to be stored is there, all of it.
        made = [
            one.task_id for one in outcomes.values() if isinstance(one, Accepted) and one.created
        ]
        if not made or not _is_stored(database, made[0]):
            raise
    return outcomes


def _is_stored(database: Database, task_id: str) -> bool:
    with database.begin() as connection:
        found = connection.execute(select(tasks.c.id).where(tasks.c.id == task_id)).first()
    return found is not None


def _stored(
    connection: Connection, asked: Sequence[Asked], language: Language
) -> dict[str, Accepted | RequestError]:
    """Inserts the jobs, takes back those of owners who may not have so many, adds the tasks."""
    made = _inserted(connection, asked, language)
    refused = _refused(connection, [one for one in asked if one.task_id in made])
    if refused:
        too_many = [made.pop(task_id).id for task_id in refused]
        connection.execute(delete(jobs).where(jobs.c.id.in_(too_many)))
    if made:
        new = [one for one in asked if one.task_id in made]
        tasks_of = [_task(one, made[one.task_id], place) for place, one in enumerate(new)]
        connection.execute(_INSERT_TASKS, {"rows": tasks_of})
    outcomes: dict[str, Accepted | RequestError] = {**refused}
    for one in asked:
        if job := made.get(one.task_id):
            outcomes[one.task_id] = Accepted(job=job, task_id=one.task_id, created=True)
        elif one.task_id not in refused:
            outcomes[one.task_id] = _existing(connection, one)
    return outcomes


def _inserted(connection: Connection, asked: Sequence[Asked], language: Language) -> dict[str, Job]:
    """The new jobs, by the ids of their tasks; without those whose chosen number is taken.

    A drawn number that is taken is drawn again.
    """
    made: dict[str, Job] = {}
    wanted = {one.job_id: one for one in asked if one.job_id is not None}
    unnamed = [one for one in asked if one.job_id is None]
    while unnamed or wanted:
        for number, one in zip(_drawn(connection, len(unnamed)), unnamed, strict=True):
            wanted.setdefault(number, one)
        # In one order by everybody: who inserts the same numbers waits, and never in a circle.
        new = [_job(wanted[job_id], job_id, language) for job_id in sorted(wanted)]
        for row in connection.execute(_INSERT_JOBS, {"rows": new}):
            made[wanted[row.id].task_id] = job_of(row)
        unnamed = [one for one in unnamed if one.task_id not in made]
        wanted = {}
    return made


def _drawn(connection: Connection, count: int) -> list[int]:
    if not count:
        return []
    numbers = select(job_id_sequence.next_value()).select_from(func.generate_series(1, count))
    return list(connection.execute(numbers).scalars())


def _refused(connection: Connection, new: Iterable[Asked]) -> dict[str, RequestError]:
    """Which of the new jobs their owners may not have, by the ids of their tasks."""
    by_owner: defaultdict[str, list[Asked]] = defaultdict(list)
    for one in new:
        by_owner[one.submission.owner].append(one)
    refused: dict[str, RequestError] = {}
    for owner, own in by_owner.items():
        told = quotas.refused(connection, owner, [one.quota for one in own])
        refused |= {one.task_id: error for one, error in zip(own, told, strict=True) if error}
    return refused


def _job(asked: Asked, job_id: int, language: Language) -> dict[str, object]:
    """The row of a new job."""
    wanted, upload = asked.submission, asked.submission.upload
    stage = Stage.UPLOAD if upload else Stage.DOWNLOAD_START
    message = render("progress.upload" if upload else "progress.pending", language)
    return {
        "id": job_id,
        "status": JobStatus.PENDING,
        "stage": stage,
        "stage_percent": STAGE_PERCENT[stage],
        "overall_percent": overall_percent(stage, STAGE_PERCENT[stage]),
        "message": message,
        "source_url": storable(wanted.url) if wanted.url else None,
        "options": wanted.options.stored(),
        "priority": wanted.priority,
        "owner": wanted.owner,
        "pool": wanted.pool,
        "request_digest": wanted.digest,
        "trace_id": trace_id_of(asked.trace_parent),
        "filename": storable(upload.filename) if upload else None,
        "media_key": upload.key if upload else None,
        "media_bytes": upload.size_bytes if upload else None,
        "media_type": upload.media_type if upload else None,
    }


def _task(asked: Asked, job: Job, place: int) -> dict[str, object]:
    """The row of a new job's download; those of one transaction rank in the order of `place`."""
    rank_after_s = RANK_OFFSET[asked.submission.priority].total_seconds() + place / 1e6
    return {
        "id": asked.task_id,
        "job_id": job.id,
        "kind": TaskKind.DOWNLOAD,
        "queue": queue_of(TaskKind.DOWNLOAD),
        "state": TaskState.WAITING,
        "rank_after": f"{rank_after_s:.6f} s",
        "trace_parent": asked.trace_parent,
        "job_owner": job.owner,
    }


def _existing(connection: Connection, asked: Asked) -> Accepted | JobConflictError:
    """The job that has the chosen number, if it is what is asked for."""
    assert asked.job_id is not None, "only a chosen number can be taken"  # noqa: S101
    row = connection.execute(
        select(jobs, tasks.c.id.label("task_id"))
        .join(tasks, tasks.c.job_id == jobs.c.id)
        .where(jobs.c.id == asked.job_id, tasks.c.kind == TaskKind.DOWNLOAD)
    ).first()
    conflict = JobConflictError(job_id=asked.job_id, field="job_id")
    if row is None:
        return conflict
    job = job_of(row)
    # To another owner, an equal request must not look otherwise than a different one.
    own = job.owner == asked.submission.owner
    if not own or job.deleted or job.request_digest != asked.submission.digest:
        return conflict
    return Accepted(job=job, task_id=row.task_id, created=False)
