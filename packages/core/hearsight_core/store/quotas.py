"""What an owner has used of what it may have. Used inside this package but for `check`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Date, cast, extract, func, select
from sqlalchemy.dialects.postgresql import insert

from hearsight_core.errors import AudioMinutesError, LimitError, QueuedJobsError
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
    """As `refused`, for one job.

    Raises:
        QueuedJobsError, AudioMinutesError: the owner may not have it.
    """
    [error] = refused(connection, owner, [quota])
    if error is not None:
        raise error


def refused(connection: Connection, owner: str, quotas: Sequence[Quota]) -> list[LimitError | None]:
    """Judges jobs that this transaction has put into the owner's queue, in their order.

    Each by the quota of the key that it came with: None, or why the owner may not have it. Owners
    who send many at the same moment may come a few over: each counts what is committed.
    """
    most = max(quota.queued_jobs for quota in quotas)
    queued = _queued(connection, owner, most + len(quotas)) - len(quotas) if most else 0
    day = _day(connection, owner) if any(one.audio_minutes_per_day for one in quotas) else _NO_DAY
    judged: list[LimitError | None] = []
    for quota in quotas:
        error = _judged(quota, queued, day)
        queued += error is None
        judged.append(error)
    return judged


def check(database: Database, owner: str, quota: Quota) -> None:
    """Refuses where one more job would be refused; asked before a long upload, not after.

    Raises:
        QueuedJobsError, AudioMinutesError: as `refuse_over`.
    """
    with database.begin() as connection:
        queued = _queued(connection, owner, quota.queued_jobs) if quota.queued_jobs else 0
        day = _day(connection, owner) if quota.audio_minutes_per_day else _NO_DAY
    error = _judged(quota, queued, day)
    if error is not None:
        raise error


def unfinished(database: Database) -> int:
    """Counts the jobs, of all owners, that are not done yet."""
    with database.begin() as connection:
        count = select(func.count()).select_from(jobs).where(jobs.c.finished_at.is_(None))
        return int(connection.execute(count).scalar_one())


def _queued(connection: Connection, owner: str, most: int) -> int:
    """Counts the owner's jobs that are not done yet, up to `most`: no limit looks beyond."""
    found = select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.finished_at.is_(None))
    some = found.limit(most).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


@dataclass(frozen=True, kw_only=True)
class _Day:
    """What an owner has used today, and what is left of the day."""

    audio_ms: int
    left_s: float


_NO_DAY = _Day(audio_ms=0, left_s=0.0)


def _day(connection: Connection, owner: str) -> _Day:
    tomorrow = func.date_trunc("day", _UTC) + func.make_interval(0, 0, 0, 1)
    used = connection.execute(
        select(usage.c.audio_ms, extract("epoch", tomorrow - _UTC).label("left_s")).where(
            usage.c.owner == owner, usage.c.day == _TODAY
        )
    ).first()
    return _NO_DAY if used is None else _Day(audio_ms=used.audio_ms, left_s=float(used.left_s))


def _judged(quota: Quota, queued: int, day: _Day) -> LimitError | None:
    """Why an owner with `queued` jobs may not have one more."""
    if quota.queued_jobs and queued >= quota.queued_jobs:
        return QueuedJobsError(limit=quota.queued_jobs, retry_after_s=JOBS_RETRY_AFTER_S)
    minutes = quota.audio_minutes_per_day
    if minutes and day.audio_ms >= minutes * MINUTE_MS:
        return AudioMinutesError(limit=minutes, retry_after_s=day.left_s)
    return None
