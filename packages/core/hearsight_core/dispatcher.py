"""Repairs what crashes leave behind, once for the whole deployment.

Runs in every API process; an advisory lock lets one of them do the work. Each round it takes back
the tasks of workers that died and leases that ran out, and sends the hints that are due.
"""

import threading
import time
from collections.abc import Iterable

import structlog

from hearsight_core.broker import HintSender
from hearsight_core.errors import HearSightError
from hearsight_core.jobs import progress_of
from hearsight_core.messages import Language
from hearsight_core.missing import Missing
from hearsight_core.progress import News
from hearsight_core.stock import Stock
from hearsight_core.store import hints, leases
from hearsight_core.store.database import Database
from hearsight_core.store.leadership import leading
from hearsight_core.store.outcomes import RetryPolicy
from hearsight_core.telemetry import told
from hearsight_core.telemetry.metrics import DISPATCHER_LEADS, LEASES_TAKEN_BACK

log = structlog.get_logger(__name__)

WORKER_FORGOTTEN_S = 600
"""A worker that gave no sign of life for so long is struck from the list."""

TURN_FORGOTTEN_S = 24 * 3600
"""Whose turn it was so long ago makes no difference any more."""

TERM_S = 30.0
"""How long one process leads before it lets go of its transaction and takes the lock anew, so that
no transaction stays open for hours (open transactions keep VACUUM from its work)."""


class Dispatcher:
    """The rounds, and the thread they run in."""

    def __init__(
        self,
        *,
        database: Database,
        hints: HintSender,
        news: News,
        policy: RetryPolicy,
        language: Language,
        interval_s: float,
        queues: Iterable[str],
    ) -> None:
        self._database = database
        self._hints = hints
        self._news = news
        self._policy = policy
        self._language: Language = language
        self._interval_s = interval_s
        self._missing = Missing()
        self._stock = Stock(database, queues)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End after the round in work."""
        self._ended.set()
        self._thread.join()
        self._resign()

    def alive(self) -> bool:
        """Tells whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self._lead()
            except HearSightError as error:
                self._missing.wait()
                self._resign()
                log.warning("the dispatcher's round was cut short", error=str(error))
            except Exception:
                self._missing.wait()
                # The loop must outlive whatever one round met; it is told, and tried again.
                self._resign()
                log.exception("the dispatcher met something nobody foresaw")

    def _lead(self) -> None:
        until = time.monotonic() + TERM_S
        with leading(self._database) as leadership:
            if leadership is None:
                self._resign()
                self._missing.forget()
                return
            DISPATCHER_LEADS.set(1)
            leases.forget_workers(self._database, unseen_s=WORKER_FORGOTTEN_S)
            hints.forget_turns(self._database, older_than_s=TURN_FORGOTTEN_S)
            while True:
                leadership.confirm()
                self.round()
                self._stock.tell()
                if time.monotonic() > until or self._ended.wait(self._interval_s):
                    return

    def _resign(self) -> None:
        """Another process leads, or none can: what the leader tells is not told here any more."""
        DISPATCHER_LEADS.set(0)
        self._stock.forget()

    def round(self) -> None:
        """One round.

        Raises:
            DatabaseError: PostgreSQL is away; the next round tries again.
        """
        self._take_back()
        self._hints.top_up_all()

    def _take_back(self) -> None:
        dead = self._missing.look(self._database)
        back: dict[str, list[str]] = {}
        for taken in leases.take_back(self._database, self._policy, self._language, lost=dead):
            job = taken.job
            LEASES_TAKEN_BACK.inc()
            log.warning(
                "a worker was lost",
                job_id=job.id,
                task_id=taken.task.id,
                attempt=taken.task.attempt,
                trace_id=job.trace_id,
                status=job.status,
                code=taken.error.code,
            )
            told.tell_retry(taken.queue, taken.error.code, job)
            told.tell_end(job)
            self._news.publish(progress_of(job))
            back.setdefault(taken.queue, []).append(taken.task.id)
        for queue, task_ids in back.items():
            self._hints.send_first(queue, task_ids)
        for worker in leases.strike_off(self._database, dead):
            log.warning("a worker died", worker=worker)
