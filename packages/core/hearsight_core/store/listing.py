"""Reading jobs and transcripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, any_, cast, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from hearsight_core.contract import JobStatus
from hearsight_core.errors import JobNotFoundError
from hearsight_core.jobs import Job
from hearsight_core.store.database import Database
from hearsight_core.store.rows import StoredSegment, job_of, segment_of
from hearsight_core.store.tables import jobs, segments


def get(database: Database, job_id: int, *, owner: str | None = None) -> Job:
    """Reads one job; with an `owner`, one of that owner's.

    Raises:
        JobNotFoundError: there is none, it is another owner's, or it is being deleted.
    """
    with database.begin() as connection:
        row = connection.execute(
            select(jobs).where(jobs.c.id == job_id, jobs.c.deleted_at.is_(None))
        ).first()
        if row is None or owner not in {None, row.owner}:
            raise JobNotFoundError(job_id=job_id)
        return job_of(row)


def several(database: Database, job_ids: Sequence[int]) -> dict[int, Job]:
    """Reads those of the jobs that are there and not being deleted."""
    with database.begin() as connection:
        found = connection.execute(
            select(jobs).where(
                jobs.c.id == any_(cast(list(job_ids), ARRAY(BigInteger))),
                jobs.c.deleted_at.is_(None),
            )
        )
        return {row.id: job_of(row) for row in found}


def is_taken(database: Database, job_id: int, *, owner: str) -> bool:
    """Tells whether the number is that of another owner's job, one being deleted included."""
    with database.begin() as connection:
        found = connection.execute(
            select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.owner != owner)
        )
        return found.first() is not None


def newest(
    database: Database,
    *,
    limit: int,
    status: JobStatus | None = None,
    before: tuple[datetime, int] | None = None,
    owner: str | None = None,
) -> list[Job]:
    """Lists jobs, or an `owner`'s, newest first.

    `before` is (created_at, id) of the last job of the page before.
    """
    query = select(jobs).where(jobs.c.deleted_at.is_(None))
    if owner is not None:
        query = query.where(jobs.c.owner == owner)
    if status is not None:
        query = query.where(jobs.c.status == status)
    if before is not None:
        query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < before)
    query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    with database.begin() as connection:
        return [job_of(row) for row in connection.execute(query)]


def transcript(database: Database, job_id: int) -> list[StoredSegment]:
    """Reads all segments stored so far, in order of time."""
    with database.begin() as connection:
        return [
            segment_of(row)
            for row in connection.execute(
                select(segments)
                .where(segments.c.job_id == job_id)
                .order_by(segments.c.start_ms, segments.c.channel, segments.c.seq)
            )
        ]


@dataclass(frozen=True, kw_only=True)
class News:
    """A job and what was added to it since a version, read in one snapshot."""

    job: Job
    segments: tuple[StoredSegment, ...]


def since(
    database: Database, job_id: int, seq: int, *, limit: int = 1000, owner: str | None = None
) -> News:
    """Reads the job and its segments numbered above `seq`, in order of commit, `limit` at most.

    Raises:
        JobNotFoundError: as `get`.
    """
    job = get(database, job_id, owner=owner)
    with database.begin() as connection:
        # Read after the job: everything up to the job's version is committed and visible.
        rows = connection.execute(
            select(segments)
            .where(
                segments.c.job_id == job_id,
                segments.c.seq > seq,
                segments.c.seq <= job.version,
            )
            .order_by(segments.c.seq)
            .limit(limit)
        ).all()
    return News(job=job, segments=tuple(segment_of(row) for row in rows))
