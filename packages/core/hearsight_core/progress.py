"""News about jobs on Redis: the snapshot `task_progress:{job_id}` and the event that goes with it.

News may be lost, the truth stays in PostgreSQL: a publisher that can't reach Redis says so in the
log and goes on, and a reader that finds nothing asks the database.
"""

from collections.abc import Iterable, Sequence

import structlog
from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hearsight_core.contract import (
    EVENTS_CHANNEL,
    NEWS_TTL_S,
    ProgressData,
    Segment,
    progress_key,
)
from hearsight_core.errors import RedisUnavailableError
from hearsight_core.store.rows import StoredSegment
from hearsight_core.telemetry.metrics import NEWS_LOST

log = structlog.get_logger(__name__)

SOCKET_TIMEOUT_S = 2.0
"""News is worth waiting for this long, not longer: work goes on without it."""

_PUBLISH = """
local old = redis.call('GET', KEYS[1])
if old and (cjson.decode(old)['version'] or 0) > tonumber(ARGV[3]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
"""
"""Snapshot and event in one step; what is older than the snapshot is dropped."""


class SegmentEvent(BaseModel):
    """A recognised segment with its number in the job's order of events."""

    seq: int
    part_index: int
    segment: Segment

    @classmethod
    def of(cls, stored: StoredSegment) -> "SegmentEvent":
        """The event that tells of a stored segment."""
        return cls(seq=stored.seq, part_index=stored.part_index, segment=stored.segment)


class Event(BaseModel):
    """What one change brought.

    A watcher that has seen everything up to `segments_after` needs nothing but this event to have
    seen everything up to `progress.version`; any other asks the database.
    """

    progress: ProgressData
    segments_after: int
    segments: list[SegmentEvent] = []


class News:
    """Publishes and reads progress."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            decode_responses=True,
        )
        self._publish = self._redis.register_script(_PUBLISH)

    def publish(
        self,
        progress: ProgressData,
        *,
        segments_after: int | None = None,
        segments: tuple[StoredSegment, ...] = (),
        ttl_s: int = NEWS_TTL_S,
    ) -> None:
        """Replaces the snapshot and tells the watchers; lost without harm if Redis is away."""
        try:
            self._send(progress, segments_after, segments, ttl_s)
        except RedisError as error:
            NEWS_LOST.inc()
            log.warning("progress was not published", job_id=progress.job_id, error=str(error))

    def publish_all(self, told: Iterable[ProgressData]) -> None:
        """As `publish`, for many jobs in one round trip."""
        jobs = list(told)
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for progress in jobs:
                    self._send(progress, None, (), NEWS_TTL_S, through=pipeline)
                pipeline.execute()
        except RedisError as error:
            NEWS_LOST.inc(len(jobs))
            log.warning("progress was not published", jobs=len(jobs), error=str(error))

    def _send(
        self,
        progress: ProgressData,
        segments_after: int | None,
        segments: tuple[StoredSegment, ...],
        ttl_s: int,
        *,
        through: Redis | None = None,
    ) -> None:
        event = Event(
            progress=progress,
            segments_after=progress.version - 1 if segments_after is None else segments_after,
            segments=[SegmentEvent.of(stored) for stored in segments],
        )
        self._publish(
            keys=[progress_key(progress.job_id)],
            args=[
                progress.model_dump_json(),
                ttl_s,
                progress.version,
                EVENTS_CHANNEL,
                event.model_dump_json(),
            ],
            client=through,
        )

    def snapshot(self, job_id: int) -> ProgressData | None:
        """Reads the snapshot; None if there is none, it can't be read, or Redis is away."""
        return self.snapshots([job_id]).get(job_id)

    def snapshots(self, job_ids: Sequence[int]) -> dict[int, ProgressData]:
        """As `snapshot`, for many jobs at once; a job without one is missing in the answer."""
        try:
            found = self._redis.mget([progress_key(job_id) for job_id in job_ids])
        except RedisError as error:
            log.warning("progress was not read", job_id=job_ids[0], error=str(error))
            return {}
        read = {}
        for job_id, snapshot in zip(job_ids, found, strict=True):
            if snapshot is None:
                continue
            try:
                read[job_id] = ProgressData.model_validate_json(snapshot)
            except ValidationError as error:
                # Another version's, or another program's: the database knows better.
                log.warning("a snapshot can't be read", job_id=job_id, error=str(error))
        return read

    def forget(self, job_id: int) -> None:
        """Drops the snapshot of a deleted job; it expires by itself if Redis is away."""
        try:
            self._redis.delete(progress_key(job_id))
        except RedisError as error:
            log.warning("progress was not dropped", job_id=job_id, error=str(error))

    def ping(self) -> None:
        """Asks Redis for a sign of life.

        Raises:
            RedisUnavailableError: none came.
        """
        try:
            self._redis.ping()
        except RedisError as error:
            raise RedisUnavailableError(detail=str(error)) from error

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
