"""Repairs what crashes leave behind, once for the whole deployment.

Runs in every API process; an advisory lock lets one of them do the work. Each round it takes back
the tasks of workers that died and leases that ran out, and sends the hints that are due.
"""

import threading
import time

import structlog

from hearsight_core.broker import HintSender
from hearsight_core.contract import JobStatus, Queue
from hearsight_core.errors import HearSightError
from hearsight_core.jobs import progress_of
from hearsight_core.messages import Language
from hearsight_core.progress import News
from hearsight_core.store import leases, listing, sessions
from hearsight_core.store.database import Database
from hearsight_core.store.leadership import leading
from hearsight_core.store.outcomes import RetryPolicy
from hearsight_core.telemetry.metrics import JOBS, LEASES_TAKEN_BACK

log = structlog.get_logger(__name__)

WORKER_FORGOTTEN_S = 600
"""A worker that gave no sign of life for so long is struck from the list."""

TERM_S = 30.0
"""How long one process leads before it lets go of its transaction and takes the lock anew, so that
no transaction stays open for hours (open transactions keep VACUUM from its work)."""


LOOK_AGAIN_S = 0.9
"""Time between the two looks that find a worker without its session: one whose connection was cut
begins a new one at once."""

BACK_AFTER_S = 5.0
"""How long workers have to begin sessions anew after PostgreSQL was away."""


class Missing:
    """Which workers are dead: those found without their session twice, with a pause between."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._from = 0.0

    def forget(self) -> None:
        """Begins anew: another process led, and what was seen is old."""
        self._seen = {}

    def wait(self) -> None:
        """Begins anew after a while: the sessions of the living may have been lost with ours."""
        self._seen = {}
        self._from = time.monotonic() + BACK_AFTER_S

    def look(self, database: Database) -> frozenset[str]:
        """Names the workers that are dead.

        Raises:
            DatabaseError: PostgreSQL is away.
        """
        now = time.monotonic()
        if now < self._from:
            return frozenset()
        without = sessions.without_session(database)
        self._seen = {worker: self._seen.get(worker, now) for worker in without}
        return frozenset(
            worker for worker, since in self._seen.items() if now - since >= LOOK_AGAIN_S
        )


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
    ) -> None:
        self._database = database
        self._hints = hints
        self._news = news
        self._policy = policy
        self._language: Language = language
        self._interval_s = interval_s
        self._missing = Missing()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End after the round in work."""
        self._ended.set()
        self._thread.join()

    def alive(self) -> bool:
        """Tells whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self._lead()
            except HearSightError as error:
                self._missing.wait()
                log.warning("the dispatcher's round was cut short", error=str(error))
            except Exception:
                self._missing.wait()
                # The loop must outlive whatever one round met; it is told, and tried again.
                log.exception("the dispatcher met something nobody foresaw")

    def _lead(self) -> None:
        until = time.monotonic() + TERM_S
        with leading(self._database) as leadership:
            if leadership is None:
                JOBS.clear()  # the process that leads tells now; two would count every job twice
                self._missing.forget()
            else:
                self._take_stock()
            while leadership is not None:
                leadership.confirm()
                self.round()
                if time.monotonic() > until or self._ended.wait(self._interval_s):
                    return

    def round(self) -> None:
        """One round.

        Raises:
            DatabaseError: PostgreSQL is away; the next round tries again.
        """
        self._take_back()
        for queue in Queue:
            self._hints.top_up(queue)

    def _take_back(self) -> None:
        dead = self._missing.look(self._database)
        for job in leases.take_back(self._database, self._policy, self._language, lost=dead):
            LEASES_TAKEN_BACK.inc()
            log.warning("a worker was lost", job_id=job.id, status=job.status)
            self._news.publish(progress_of(job))
        for worker in leases.strike_off(self._database, dead):
            log.warning("a worker died", worker=worker)

    def _take_stock(self) -> None:
        leases.forget_workers(self._database, unseen_s=WORKER_FORGOTTEN_S)
        counts = listing.count_by_status(self._database)
        for status in set(JobStatus) - {JobStatus.IDLE}:
            JOBS.labels(status=status).set(counts.get(status, 0))
