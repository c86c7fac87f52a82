"""Who works on what: claim, heartbeat, giving back, taking back.

All deadlines are told by the database's clock.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    Connection,
    Integer,
    Interval,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from hearsight_core.contract import TERMINAL, Hint, JobStatus
from hearsight_core.errors import HearSightError, WorkerLostError
from hearsight_core.jobs import Job, Part, Task, TaskState
from hearsight_core.messages import Language
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import RetryPolicy, failed_attempt, locked_attempt
from hearsight_core.store.rows import job_of, part_of, task_of
from hearsight_core.store.tables import jobs, parts, tasks, workers


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task that belongs to one worker until its lease runs out.

    `waited_s` is how long it could have been claimed before it was.
    """

    task: Task
    job: Job
    part: Part | None
    waited_s: float


# Every task passes here: these are built once.
_HINTED = (
    tasks.c.id == bindparam("task"),
    tasks.c.state == TaskState.WAITING,
    tasks.c.attempt == bindparam("hinted"),
)
_LOCK_HINTED_JOB = (
    select(jobs.c.id, jobs.c.status, jobs.c.cancel_requested_at, jobs.c.deleted_at)
    .join(tasks, tasks.c.job_id == jobs.c.id)
    .where(*_HINTED)
    .with_for_update(of=jobs)
)
_TAKE = (
    update(tasks)
    .where(*_HINTED, tasks.c.ready_at <= func.now())
    .values(
        state=TaskState.RUNNING,
        owner=bindparam("worker"),
        attempt=tasks.c.attempt + 1,
        lease_until=func.now() + bindparam("lease", type_=Interval()),
        hinted_at=None,
        alone=False,
    )
    .returning(tasks, func.extract("epoch", func.now() - tasks.c.ready_at).label("waited_s"))
)
_BEGIN = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        version=jobs.c.version + 1,
        status=JobStatus.PROCESSING,
        started_at=func.coalesce(jobs.c.started_at, func.now()),
        attempt=func.greatest(jobs.c.attempt, bindparam("try", type_=Integer())),
    )
    .returning(jobs)
)


def claim(database: Database, hint: Hint, *, owner: str, lease_s: float) -> Claim | None:
    """Gives the hinted task to `owner`; None if it does not wait any more under this attempt."""
    hinted = {"task": hint.task_id, "hinted": hint.attempt}
    with database.begin() as connection:
        # A doubled hint ends here, and waits for no lock of the job that it is too late for.
        job = connection.execute(_LOCK_HINTED_JOB, hinted).first()
        if job is None or job.status in TERMINAL:
            return None
        if job.cancel_requested_at is not None or job.deleted_at is not None:
            return None
        row = connection.execute(
            _TAKE, {**hinted, "worker": owner, "lease": timedelta(seconds=lease_s)}
        ).first()
        if row is None:
            return None
        task = task_of(row)
        tries = task.failures + task.store_failures + 1
        begun = connection.execute(_BEGIN, {"job": job.id, "try": tries}).one()
        return Claim(
            task=task,
            job=job_of(begun),
            part=_part(connection, task),
            waited_s=float(row.waited_s),
        )


def _part(connection: Connection, task: Task) -> Part | None:
    if task.part_index is None:
        return None
    return part_of(
        connection.execute(
            select(parts).where(
                parts.c.job_id == task.job_id, parts.c.part_index == task.part_index
            )
        ).one()
    )


def mark_alone(database: Database, task: Task) -> None:
    """Notes that the attempt has its process to itself, and so is to blame if that dies.

    Raises:
        LeaseLost: the attempt is no longer the current one.
    """
    with database.begin() as connection:
        locked_attempt(connection, task)
        connection.execute(update(tasks).where(tasks.c.id == task.id).values(alone=True))


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a heartbeat found: the leases that still hold, and those whose work should stop."""

    held: frozenset[str]
    stop: frozenset[str]


def heartbeat(
    database: Database,
    *,
    owner: str,
    queue: str,
    slots: int,
    held: dict[str, int],
    lease_s: float,
    session_lock: int | None = None,
) -> Beat:
    """Says that `owner` lives and renews its leases (`held`: task id -> attempt).

    A lease that another worker has taken over is not renewed, and is missing in the answer.
    `session_lock` is the lock that its session holds, None if it holds none (see `sessions`).
    """
    told = {"slots": slots, "session_lock": session_lock}
    with database.begin() as connection:
        connection.execute(
            insert(workers)
            .values(id=owner, queue=queue, **told)
            .on_conflict_do_update(
                index_elements=[workers.c.id], set_={"seen_at": func.now(), **told}
            )
        )
        if not held:
            return Beat(held=frozenset(), stop=frozenset())
        rows = connection.execute(
            update(tasks)
            .where(
                tasks.c.state == TaskState.RUNNING,
                tasks.c.owner == owner,
                tuple_(tasks.c.id, tasks.c.attempt).in_(list(held.items())),
                jobs.c.id == tasks.c.job_id,
            )
            .values(lease_until=func.now() + timedelta(seconds=lease_s))
            .returning(tasks.c.id, jobs.c.status, jobs.c.cancel_requested_at)
        ).all()
        return Beat(
            held=frozenset(row.id for row in rows),
            stop=frozenset(
                row.id
                for row in rows
                if row.cancel_requested_at is not None or row.status in TERMINAL
            ),
        )


_LIVE_SLOTS = text(
    "SELECT coalesce(sum(slots), 0) FROM workers WHERE queue = :queue AND seen_at > now() - :within"
)


def live_slots(database: Database, queue: str, *, within_s: float) -> int:
    """Counts the task slots of the workers of `queue` seen within the last `within_s` seconds."""
    values = {"queue": queue, "within": timedelta(seconds=within_s)}
    with database.begin() as connection:
        return int(connection.execute(_LIVE_SLOTS, values).scalar_one())


_IDLE_STREAMS = text("""
WITH live AS (
    -- A worker has a slot more than it recognises at once: the part whose audio is to be in time.
    SELECT coalesce(sum(greatest(slots - 1, 1)), 0) AS streams FROM workers
    WHERE queue = :queue AND slots > 0 AND seen_at > now() - :within
),
others AS (
    SELECT count(*) AS tasks FROM (
        SELECT FROM (
            SELECT job_id FROM tasks WHERE state = 'running' AND queue = :queue
            UNION ALL
            SELECT job_id FROM tasks WHERE state = 'waiting' AND queue = :queue
        ) AS every
        -- More than there are streams make no difference: a long queue is not counted to the end.
        WHERE job_id <> :job_id LIMIT (SELECT streams FROM live)
    ) AS taken
)
SELECT live.streams - others.tasks FROM live, others
""")


def idle_streams(database: Database, queue: str, *, job_id: int, within_s: float) -> int:
    """Counts the parts of the job that the live workers of `queue` could recognise at once.

    These are their streams, less what other jobs have in work or waiting.
    """
    values = {"queue": queue, "job_id": job_id, "within": timedelta(seconds=within_s)}
    with database.begin() as connection:
        return int(connection.execute(_IDLE_STREAMS, values).scalar_one())


def note_end(database: Database, owner: str, error: HearSightError) -> None:
    """Notes why a worker ends itself: the reason that its tasks are taken back for."""
    with database.begin() as connection:
        connection.execute(
            update(workers)
            .where(workers.c.id == owner)
            .values(slots=0, error_code=error.code, error_detail=error.detail)
        )


def sign_off(database: Database, owner: str) -> None:
    """Removes a worker that ends, so that no hints are reckoned for it."""
    with database.begin() as connection:
        connection.execute(delete(workers).where(workers.c.id == owner))


def strike_off(database: Database, dead: Collection[str]) -> list[str]:
    """Removes dead workers whose tasks are all taken back, so that no hints are reckoned for them.

    One that lives after all signs on again with its next heartbeat. Returns the removed ones.
    """
    if not dead:
        return []
    busy = exists().where(tasks.c.state == TaskState.RUNNING, tasks.c.owner == workers.c.id)
    with database.begin() as connection:
        removed = connection.execute(
            delete(workers).where(workers.c.id.in_(dead), ~busy).returning(workers.c.id)
        )
        return list(removed.scalars())


def forget_workers(database: Database, *, unseen_s: float) -> int:
    """Removes workers not seen for `unseen_s` seconds; returns how many."""
    with database.begin() as connection:
        return connection.execute(
            delete(workers).where(workers.c.seen_at < func.now() - timedelta(seconds=unseen_s))
        ).rowcount


@dataclass(frozen=True, kw_only=True)
class TakenBack:
    """An attempt whose worker is gone, why, and its job as the failed attempt left it."""

    task: Task
    queue: str
    job: Job
    error: HearSightError


def take_back(
    database: Database,
    policy: RetryPolicy,
    language: Language,
    *,
    lost: Collection[str] = (),
    limit: int = 100,
) -> list[TakenBack]:
    """Takes back tasks whose lease ran out, as a failed attempt with the code `worker.lost`.

    Those of the workers in `lost` are taken back before that. Where the worker has left a reason
    (`note_end`), that is how the attempt failed. A task that somebody else is changing at this
    moment is left for the next round.
    """
    over = or_(tasks.c.lease_until < func.now(), tasks.c.owner.in_(lost))
    with database.begin() as connection:
        expired = connection.execute(
            select(tasks.c.id, tasks.c.job_id, tasks.c.attempt)
            .where(tasks.c.state == TaskState.RUNNING, over)
            .order_by(tasks.c.lease_until)
            .limit(limit)
        ).all()
    changed: list[TakenBack] = []
    for lease in expired:
        with database.begin() as connection:
            row = connection.execute(
                select(jobs).where(jobs.c.id == lease.job_id).with_for_update(skip_locked=True)
            ).first()
            if row is None:
                continue
            still = connection.execute(
                select(tasks, workers.c.error_code.label("why"), workers.c.error_detail)
                .outerjoin(workers, workers.c.id == tasks.c.owner)
                .where(
                    tasks.c.id == lease.id,
                    tasks.c.attempt == lease.attempt,
                    tasks.c.state == TaskState.RUNNING,
                    over,
                )
                .with_for_update(skip_locked=True, of=tasks)
            ).first()
            if still is not None:
                task, error = task_of(still), _loss(still.why, still.error_detail)
                job = failed_attempt(connection, job_of(row), task, error, policy, language)
                changed.append(TakenBack(task=task, queue=still.queue, job=job, error=error))
    return changed


def _loss(code: str | None, detail: str | None) -> HearSightError:
    """What a task is taken back for, as its worker noted it in `note_end`."""
    kind = HearSightError.of_code(code) if code is not None else None
    return (kind or WorkerLostError)(detail=detail or "")
