"""How much is taken at once: of a key, of an owner, of everybody. Beyond it: 429 or 503, and when.

A key's rate is kept in Redis, since all API processes share it; while Redis is away each process
keeps its own. What one process can bear (requests, uploads, event streams) it counts by itself.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from hearsight_api.keyring import Caller
from hearsight_core.errors import OverloadError, RequestRateError
from hearsight_core.keys import NO_QUOTA, Quota
from hearsight_core.settings import ApiSettings
from hearsight_core.store import quotas
from hearsight_core.store.database import Database

log = structlog.get_logger(__name__)

BURST_S = 10.0
"""Who was quiet may send at once what its rate allows in so long."""

REDIS_TIMEOUT_S = 0.5
REDIS_AWAY_S = 5.0
"""Redis that did not answer is not asked again for so long: requests must not wait for it."""

KEPT = 10_000
"""Keys whose rate is kept in memory at most, while Redis is away."""

COUNT_EVERY_S = 1.0
BUSY_RETRY_AFTER_S = 2
QUEUE_RETRY_AFTER_S = 60

_TAKE: Final = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = due - now - ARGV[2]
if wait > 0 then
  return tostring(wait)
end
redis.call('SET', KEYS[1], string.format('%.6f', due + ARGV[1]), 'EX', math.ceil(ARGV[2]) + 60)
return '0'
"""
"""A leaky bucket as one number, the time by which all requests so far are paid for (GCRA, as ATM
switches police cells: ITU-T I.371). ARGV: seconds a request costs, seconds of burst."""


class Rates:
    """Each key's rate of requests."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._take = self._redis.register_script(_TAKE)
        self._away_until = 0.0
        self._due: OrderedDict[str, float] = OrderedDict()

    async def take(self, key_id: str, per_minute: int) -> None:
        """Counts one request of a key.

        Raises:
            RequestRateError: it is one too many; the error tells when there is room again.
        """
        cost_s = 60 / per_minute
        now = time.monotonic()
        wait_s = None
        if now >= self._away_until:
            try:
                told = await self._take(keys=[f"rate:{key_id}"], args=[cost_s, BURST_S])
                wait_s = float(told)
            except RedisError as error:
                self._away_until = now + REDIS_AWAY_S
                log.warning("rates are kept by this process alone", error=str(error))
        if wait_s is None:
            wait_s = self._take_here(key_id, cost_s, now)
        if wait_s > 0:
            raise RequestRateError(limit=per_minute, retry_after_s=wait_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _take_here(self, key_id: str, cost_s: float, now: float) -> float:
        due = max(self._due.pop(key_id, 0.0), now)
        wait_s = due - now - BURST_S
        self._due[key_id] = due if wait_s > 0 else due + cost_s
        if len(self._due) > KEPT:
            self._due.popitem(last=False)
        return max(0.0, wait_s)


class Places:
    """So many may be busy with something at once, in this process."""

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._free = most

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds a place for the length of the block. To be used from the event loop alone.

        Raises:
            OverloadError: all are taken.
        """
        if self._free <= 0:
            raise OverloadError(what=self._what, retry_after_s=BUSY_RETRY_AFTER_S)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class Queue:
    """How many jobs there are to do, counted once a second at most."""

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self._lock = threading.Lock()
        self._count = 0
        self._counted_at = float("-inf")

    def add(self, jobs: int) -> None:
        """Notes so many more, until they are counted again."""
        self._count += jobs

    def room(self) -> int:
        """How many more are let in.

        Raises:
            DatabaseError: PostgreSQL can't be asked.
        """
        with self._lock:
            stale = time.monotonic() - self._counted_at > COUNT_EVERY_S
            if stale:
                # Others go on with the old count while this one asks.
                self._counted_at = time.monotonic()
        if stale:
            self._count = quotas.unfinished(self._database)
        return max(0, self._most - self._count)

    def require_room(self) -> None:
        """Lets one more job in.

        Raises:
            OverloadError: there are as many as are taken.
            DatabaseError: as `room`.
        """
        if not self.room():
            raise queue_full()


def queue_full() -> OverloadError:
    """What is said to whoever comes when there are as many jobs as are taken."""
    return OverloadError(what="queued jobs", retry_after_s=QUEUE_RETRY_AFTER_S)


class Limits:
    """All of them, for the routes."""

    def __init__(self, settings: ApiSettings, database: Database) -> None:
        self._settings = settings
        self.rates = Rates(settings.redis_url)
        self.requests = Places("requests", settings.max_requests)
        self.uploads = Places("uploads", settings.max_uploads)
        self.watchers = Places("event streams", settings.max_watchers)
        self.queue = Queue(database, settings.max_queued_jobs)

    async def count(self, caller: Caller) -> None:
        """Counts a request to its key.

        Raises:
            RequestRateError: as `Rates.take`.
        """
        own = caller.limits.requests_per_minute
        per_minute = self._settings.quota_requests_per_minute if own is None else own
        if caller.key_id is not None and per_minute:
            await self.rates.take(caller.key_id, per_minute)

    def quota(self, caller: Caller) -> Quota:
        """What the caller's owner may have; without keys nobody is told from anybody."""
        if caller.key_id is None:
            return NO_QUOTA
        own, usual = caller.limits, self._settings
        return Quota(
            queued_jobs=usual.quota_queued_jobs if own.queued_jobs is None else own.queued_jobs,
            audio_minutes_per_day=(
                usual.quota_audio_minutes_per_day
                if own.audio_minutes_per_day is None
                else own.audio_minutes_per_day
            ),
        )
