"""Celery: its settings, and how a hint is sent.

Messages are hints, the truth stands in PostgreSQL: so a message is acknowledged as soon as it is
taken, nothing is prefetched, and a message that can't be sent is left to the dispatcher.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack

import structlog
from celery import Celery
from celery.backends.redis import RedisBackend
from kombu.exceptions import BatchPublishError, OperationalError
from opentelemetry.trace import SpanKind
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hearsight_core.contract import CELERY_TASK_NAME, NEWS_TTL_S, Hint, kind_of
from hearsight_core.errors import RedisUnavailableError
from hearsight_core.progress import SOCKET_TIMEOUT_S
from hearsight_core.settings import CoreSettings
from hearsight_core.store import hints, leases
from hearsight_core.store.database import Database
from hearsight_core.store.hints import Due
from hearsight_core.telemetry import traces
from hearsight_core.telemetry.metrics import HINTS

log = structlog.get_logger(__name__)

WORKER_SEEN_WITHIN_S = 30
"""A worker that gave no sign of life for so long is not reckoned with when hints are sent."""

RESEND_BEHIND_OTHERS_S = 60
"""After so long a hint counts as lost even if others lie in the queue. If it lies there itself, it
is doubled, and the second one finds nothing to claim."""

HINTS_AT_LEAST = 4
"""Hints in flight even if no worker is known, so that the first one finds work at once."""


class UnawaitedResults(RedisBackend):  # type: ignore[misc]  # Celery ships no types
    """Results on Redis for whoever looks at them; nobody waits for one, and one may be lost.

    Celery's own would subscribe to the result of every hint before sending it, and end in a
    RuntimeError while the Redis db of the results is away. And a task whose result it can't store
    would count as running for ever: a worker with as many of them as slots takes nothing more,
    though it lives and Redis is back.
    """

    def on_task_call(self, producer: object, task_id: str) -> dict[str, object]:
        """Subscribes to nothing."""
        del producer, task_id
        return {}

    def store_result(self, task_id: str, result: object, state: str, **more: object) -> object:
        """Stores a result, or says in the log that it is lost.

        A hint that found nothing to claim has none: it must not overwrite the result of the attempt
        that counts.
        """
        if result is None:
            return None
        try:
            return super().store_result(task_id, result, state, **more)
        except RedisError as error:
            log.warning("a result is lost", task_id=task_id, state=state, error=str(error))
            return result

    def _store_result(
        self,
        task_id: str,
        result: object,
        state: str,
        traceback: object = None,
        request: object = None,
        **_: object,
    ) -> object:
        """Stores a result in place of an earlier attempt's.

        Celery's own asks for what is there first, and keeps the first result for good. Here the
        fence has decided whose result counts: an attempt that lost its lease has none.
        """
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        meta["task_id"] = task_id
        self._set_with_state(self.get_key_for_task(task_id), self.encode(meta), state)
        return result


_BACKEND = f"{UnawaitedResults.__module__}:{UnawaitedResults.__qualname__}"


def celery_app(settings: CoreSettings) -> Celery:
    """The Celery app of this process.

    It knows no list of queues: a worker names the one it reads, the sender the one it sends to.
    """
    app = Celery(
        "hearsight", broker=settings.broker_url, backend=f"{_BACKEND}+{settings.redis_url}"
    )
    timeouts = {"socket_timeout": 5.0, "socket_connect_timeout": 3.0}
    app.conf.update(
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        result_expires=NEWS_TTL_S,
        result_backend_transport_options={
            **timeouts,
            "retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2},
        },
        broker_transport_options=timeouts,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that is full, read-only or loading refuses commands; Celery would end the worker,
        # and the tasks in work with it.
        broker_channel_error_retry=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
    )
    return app


class HintSender:
    """Sends hints for the tasks that are next, as many as the live workers can take."""

    def __init__(self, app: Celery, database: Database, settings: CoreSettings) -> None:
        self._app = app
        self._database = database
        self._redis = Redis.from_url(
            settings.broker_url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
        self._per_slot = settings.hints_per_slot
        self._resend_s = settings.hint_resend_s

    def top_up_all(self) -> int:
        """As `top_up`, for every queue that tasks wait in; the database tells which these are."""
        return sum(self.top_up(queue) for queue in hints.queues(self._database))

    def top_up(self, queue: str, *, anew: bool = False) -> int:
        """Sends what is due on `queue`; returns how many hints went out.

        With `anew`, hints that nobody has taken yet are recalled, and it is decided once more what
        is next: a task that ranks before theirs need not wait for them.

        Hints that lie in the queue are on their way. Once it is empty, one whose task is still not
        claimed was lost with the worker that took it, or never came through: it is sent again.
        Under a load that never lets the queue empty, that is done after `RESEND_BEHIND_OTHERS_S`.

        Raises:
            DatabaseError: PostgreSQL can't be asked; the dispatcher tries again.
        """
        if anew:
            self._recall(queue)
        try:
            queued = self._redis.llen(queue)
        except RedisError as error:
            log.warning("no hints are sent: Redis is away", error=str(error))
            return 0
        slots = leases.live_slots(self._database, queue, within_s=WORKER_SEEN_WITHIN_S)
        in_flight_max = max(HINTS_AT_LEAST, round(self._per_slot * slots))
        if queued >= in_flight_max:
            return 0  # nobody takes them: more would pile up
        due = hints.take_due(
            self._database,
            queue,
            in_flight_max=in_flight_max,
            resend_s=RESEND_BEHIND_OTHERS_S if queued else self._resend_s,
        )
        return self._send(queue, due) if due else 0

    def send_first(self, queue: str, task_ids: Sequence[str]) -> int:
        """Sends hints for those of these tasks that are due; returns how many went out.

        If any are, hints that nobody has taken yet are recalled; `top_up` sends them behind these.

        Raises:
            DatabaseError: PostgreSQL can't be asked.
        """
        due = hints.take(self._database, task_ids)
        if not due:
            return 0
        self._recall(queue)
        return self._send(queue, due)

    def _recall(self, queue: str) -> None:
        """Takes the hints back that lie in `queue`.

        If this process ends in the middle of it, they count as lost and are sent again in time.
        """
        try:
            with self._redis.pipeline() as together:
                together.lrange(queue, 0, -1)
                together.delete(queue)
                lying, _ = together.execute()
        except RedisError as error:
            log.warning("no hints are recalled: Redis is away", error=str(error))
            return
        if lying:
            hints.recall(self._database, [json.loads(hint)["headers"]["id"] for hint in lying])

    def ping(self) -> None:
        """Asks the broker for a sign of life.

        Raises:
            RedisUnavailableError: none came.
        """
        try:
            self._redis.ping()
        except RedisError as error:
            raise RedisUnavailableError(detail=str(error)) from error

    def _send(self, queue: str, due: Sequence[Due]) -> int:
        """Sends hints; each is told in the trace of the job it is for, whoever sends it."""
        with ExitStack() as stack:
            spans = [
                stack.enter_context(
                    traces.span(
                        traces.SEND_HINT,
                        kind=SpanKind.PRODUCER,
                        parent=one.trace_parent or "",
                        attributes={traces.TASK_ID: one.hint.task_id, traces.QUEUE: queue},
                    )
                )
                for one in due
            ]
            if self._sent(queue, [one.hint for one in due]):
                return len(due)
            for span in spans:
                traces.failed(span, RedisUnavailableError.code)
            return 0

    def _sent(self, queue: str, due: Sequence[Hint]) -> bool:
        """Sends hints in one round trip; False if they may not all have come through."""
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for hint in due:
                    self._app.send_task(
                        CELERY_TASK_NAME[kind_of(queue)],
                        kwargs=hint.model_dump(),
                        queue=queue,
                        task_id=hint.task_id,
                        producer=producer,
                        retry=False,
                    )
        except (OperationalError, BatchPublishError, RedisError) as error:
            # Not lost: the tasks wait in PostgreSQL, and are hinted again after hint_resend_s.
            HINTS.labels(queue=queue, fate="lost").inc(len(due))
            log.warning(
                "hints were not sent",
                queue=queue,
                task_ids=[hint.task_id for hint in due],
                error=str(error),
            )
            return False
        HINTS.labels(queue=queue, fate="sent").inc(len(due))
        return True
