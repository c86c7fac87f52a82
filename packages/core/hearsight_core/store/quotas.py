"""What an owner has used of what it may have. Used inside this package but for `check`."""

from sqlalchemy import Connection, Date, cast, extract, func, select
from sqlalchemy.dialects.postgresql import insert

from hearsight_core.errors import AudioMinutesError, QueuedJobsError
from hearsight_core.keys import Quota
from hearsight_core.store.database import Database
from hearsight_core.store.tables import jobs, usage

MINUTE_MS = 60_000

JOBS_RETRY_AFTER_S = 30
"""When one of an owner's jobs ends nobody knows; this is about how long a short one takes."""

_UTC = func.timezone("UTC", func.now())
_TODAY = cast(_UTC, Date)


def charge(connection: Connection, owner: str, audio_ms: int) -> None:
    """Counts a stretch of a recording to its owner's day. A deletion takes nothing back."""
    connection.execute(
        insert(usage)
        .values(owner=owner, day=_TODAY, audio_ms=audio_ms)
        .on_conflict_do_update(
            index_elements=[usage.c.owner, usage.c.day],
            set_={"audio_ms": usage.c.audio_ms + audio_ms},
        )
    )


def refuse_over(connection: Connection, owner: str, quota: Quota) -> None:
    """Refuses what this transaction has put into the queue, if the owner may not have so much.

    Owners who send many at the same moment may come a few over: each counts what is committed.

    Raises:
        QueuedJobsError, AudioMinutesError: it is.
    """
    _refuse_jobs(connection, owner, quota.queued_jobs, most=quota.queued_jobs)
    _refuse_audio(connection, owner, quota.audio_minutes_per_day)


def check(database: Database, owner: str, quota: Quota) -> None:
    """Refuses where one more job would be refused; asked before a long upload, not after.

    Raises:
        QueuedJobsError, AudioMinutesError: as `refuse_over`.
    """
    with database.begin() as connection:
        _refuse_jobs(connection, owner, quota.queued_jobs, most=quota.queued_jobs - 1)
        _refuse_audio(connection, owner, quota.audio_minutes_per_day)


def unfinished(database: Database) -> int:
    """Counts the jobs, of all owners, that are not done yet."""
    with database.begin() as connection:
        count = select(func.count()).select_from(jobs).where(jobs.c.finished_at.is_(None))
        return int(connection.execute(count).scalar_one())


def _refuse_jobs(connection: Connection, owner: str, limit: int, *, most: int) -> None:
    if not limit:
        return
    beyond = connection.execute(
        select(jobs.c.owner)
        .where(jobs.c.owner == owner, jobs.c.finished_at.is_(None))
        .offset(most)
        .limit(1)
    ).first()
    if beyond is not None:
        raise QueuedJobsError(limit=limit, retry_after_s=JOBS_RETRY_AFTER_S)


def _refuse_audio(connection: Connection, owner: str, limit: int) -> None:
    if not limit:
        return
    tomorrow = func.date_trunc("day", _UTC) + func.make_interval(0, 0, 0, 1)
    used = connection.execute(
        select(usage.c.audio_ms, extract("epoch", tomorrow - _UTC).label("left_s")).where(
            usage.c.owner == owner, usage.c.day == _TODAY
        )
    ).first()
    if used is not None and used.audio_ms >= limit * MINUTE_MS:
        raise AudioMinutesError(limit=limit, retry_after_s=float(used.left_s))
