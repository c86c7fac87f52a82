"""Event streams: one Redis subscription of this process feeds everybody who watches a job."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from hearsight_core.contract import EVENTS_CHANNEL
from hearsight_core.progress import Event
from hearsight_core.telemetry.metrics import WATCHERS

log = structlog.get_logger(__name__)

BACKLOG = 64
"""Events kept for a watcher that reads slowly; beyond them it is sent to the database."""

RECONNECT_S = 1.0


class Watcher:
    """One reader's events. Empty-handed or overrun, it is told to read the database instead."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._behind = False
        self._wake = asyncio.Event()

    def push(self, event: Event) -> None:
        """Adds an event; one too many, and all of them give way to a look at the database."""
        if len(self._events) >= BACKLOG:
            self.fall_behind()
        else:
            self._events.append(event)
            self._wake.set()

    def fall_behind(self) -> None:
        """Notes that events may have been missed."""
        self._events.clear()
        self._behind = True
        self._wake.set()

    async def next(self, patience_s: float) -> Event | None:
        """Waits for an event; None says: read the database, something may have been missed."""
        if not self._events and not self._behind:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), patience_s)
            except TimeoutError:
                return None
        if self._behind:
            self._behind = False
            return None
        return self._events.popleft()


class Watchers:
    """Everybody who watches, by job."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._by_job: defaultdict[int, set[Watcher]] = defaultdict(set)

    @contextmanager
    def watching(self, job_id: int) -> Iterator[Watcher]:
        """Registers a watcher for the length of the block."""
        watcher = Watcher()
        self._by_job[job_id].add(watcher)
        WATCHERS.inc()
        try:
            yield watcher
        finally:
            WATCHERS.dec()
            self._by_job[job_id].discard(watcher)
            if not self._by_job[job_id]:
                del self._by_job[job_id]

    async def run(self) -> None:
        """Feeds the watchers until cancelled; a broken connection is made anew."""
        while True:
            try:
                await self._listen()
            except RedisError as error:
                log.warning("no events: Redis is away", error=str(error))
            except Exception:
                # Without this task every stream would fall silent; it is told, and begun anew.
                log.exception("the feed of events met something nobody foresaw")
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        redis = Redis.from_url(
            self._redis_url, decode_responses=True, socket_keepalive=True, health_check_interval=10
        )
        async with redis, redis.pubsub() as subscription:
            await subscription.subscribe(EVENTS_CHANNEL)
            while True:
                message = await subscription.get_message(timeout=5.0)
                if message is None:
                    continue
                if message["type"] == "message":
                    self._deliver(message["data"])
                else:
                    # Redis confirms a subscription: the first, or one that the client renewed by
                    # itself after a broken connection. What was published before is in the
                    # database alone.
                    self._all_fall_behind()

    def _deliver(self, payload: str) -> None:
        try:
            event = Event.model_validate_json(payload)
        except ValidationError:
            log.exception("an event could not be read; its watchers ask the database")
            self._all_fall_behind()
            return
        # A plain look-up must not grow the defaultdict by every job that nobody watches.
        for watcher in self._by_job.get(event.progress.job_id, ()):
            watcher.push(event)

    def _all_fall_behind(self) -> None:
        for watchers in self._by_job.values():
            for watcher in watchers:
                watcher.fall_behind()
