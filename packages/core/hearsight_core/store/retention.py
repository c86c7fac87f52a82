"""What is kept long enough: ended jobs, and the media of ended jobs.

Age counts from a job's end, so what is not done is never too old; what a running task may still
need (a job can fail while parts of it are in work) waits until that has stopped.
"""

from datetime import timedelta

from sqlalchemy import CTE, ColumnElement, func, null, select, update

from hearsight_core.store.control import IN_WORK
from hearsight_core.store.database import Database
from hearsight_core.store.tables import jobs


def expire_jobs(database: Database, *, age_s: float, limit: int) -> list[int]:
    """Marks the jobs that ended longest ago as deleted, if that is `age_s` ago; returns their ids.

    They are gone for everybody from then on, as if a person had deleted them; `control.purge`
    removes what is left. A job that somebody else is changing at this moment is left alone.
    """
    old = _old(age_s, limit)
    with database.begin() as connection:
        gone = connection.execute(
            update(jobs)
            .where(jobs.c.id == old.c.id)
            .values(deleted_at=func.now(), version=jobs.c.version + 1)
            .returning(jobs.c.id)
        )
        return list(gone.scalars())


def expire_media(database: Database, *, age_s: float, limit: int) -> list[tuple[int, str | None]]:
    """Takes their media from the jobs that ended `age_s` ago; returns (job id, key it lay under).

    The key is None where a job failed before its media was stored, and only parts of it were. The
    objects, parts of the recording among them, have to be removed after this. The job's version
    stays: it has been told to its end, and a reader who comes back must not be told again.
    """
    old = _old(
        age_s,
        limit,
        jobs.c.media_removed_at.is_(None),
        jobs.c.media_key.is_not(None) | (jobs.c.speech_ms > 0),
    )
    with database.begin() as connection:
        gone = connection.execute(
            update(jobs)
            .where(jobs.c.id == old.c.id)
            .values(media_key=null(), media_removed_at=func.now())
            .returning(jobs.c.id, old.c.media_key)
        )
        return [(job_id, key) for job_id, key in gone]


def _old(age_s: float, limit: int, *more: ColumnElement[bool]) -> CTE:
    """Locks the jobs that ended longest ago, if that is `age_s` ago and `more` holds of them."""
    return (
        select(jobs.c.id, jobs.c.media_key)
        .where(
            jobs.c.finished_at < func.now() - timedelta(seconds=age_s),
            jobs.c.deleted_at.is_(None),
            ~IN_WORK,
            *more,
        )
        .order_by(jobs.c.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
