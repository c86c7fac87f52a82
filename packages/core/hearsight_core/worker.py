"""The life of one task in a worker: claim, lease, heartbeat, checkpoint, outcome.

One `Worker` a process. Every task runs in a thread of its own; one more thread sends the heartbeat
for all of them in one statement.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from hearsight_core.broker import HintSender
from hearsight_core.contract import Hint
from hearsight_core.errors import (
    Cancelled,
    DatabaseError,
    Draining,
    HearSightError,
    Interruption,
    LeaseLost,
    UnexpectedError,
)
from hearsight_core.jobs import Job, Task, progress_of
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.settings import WorkerSettings
from hearsight_core.store import leases, outcomes
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import RetryPolicy
from hearsight_core.telemetry import told, traces
from hearsight_core.telemetry.metrics import HINTS

log = structlog.get_logger(__name__)

T = TypeVar("T")

RECORD_PAUSE_S = 1.0
"""Pause between tries to record an outcome while PostgreSQL is away."""


class Worker:
    """This process as the store knows it: its name, its leases, its heartbeat."""

    def __init__(
        self,
        *,
        queue: str,
        slots: int,
        settings: WorkerSettings,
        database: Database,
        news: News,
        hints: HintSender,
    ) -> None:
        self.id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.queue = queue
        self.slots = slots
        self.database = database
        self.news = news
        self.language = settings.language
        self.lease_s = settings.lease_s
        self.draining = threading.Event()
        self._hints = hints
        self._policy = RetryPolicy.of(settings)
        self._heartbeat_s = settings.heartbeat_s
        self._leases: dict[str, Lease] = {}
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._last_beat = time.monotonic()
        self._thread = threading.Thread(
            target=self._beat_until_ended, name="heartbeat", daemon=True
        )

    def start(self) -> None:
        """Sign on and start the heartbeat.

        Raises:
            DatabaseError: PostgreSQL can't be reached.
        """
        self._beat()
        self._thread.start()
        log.info("worker is ready", worker=self.id, queue=self.queue, slots=self.slots)

    def drain(self) -> None:
        """Take no more tasks; those in work store what they have, and are given back."""
        self.draining.set()

    def close(self) -> None:
        """Stop the heartbeat and sign off; call it when no task runs any more."""
        self._ended.set()
        self._thread.join()
        try:
            leases.sign_off(self.database, self.id)
        except DatabaseError as error:
            log.warning("the worker could not sign off", error=str(error))

    def heartbeat_age_s(self) -> float:
        """Seconds since a heartbeat last came through."""
        return time.monotonic() - self._last_beat

    def healthy(self) -> str | None:
        """Liveness: the heartbeat thread runs. A database that is away is no reason to restart."""
        return None if self._thread.is_alive() else "the heartbeat thread has ended"

    def ready(self) -> str | None:
        """Readiness: heartbeats come through and the worker takes tasks."""
        if self.draining.is_set():
            return "draining"
        if self.heartbeat_age_s() > self._heartbeat_s * 3:
            return f"no heartbeat came through for {self.heartbeat_age_s():.0f} s"
        return None

    def run(
        self,
        hint: Hint,
        work: Callable[[Lease], None],
        then: Callable[[Job], None] = lambda _: None,
    ) -> dict[str, object] | None:
        """Claims the hinted task, does `work`, records how it ended and hands the job to `then`.

        Returns:
            What the Celery result shows, or None if there was nothing to claim or to record.
        """
        if self.draining.is_set():
            return None
        try:
            claim = leases.claim(self.database, hint, owner=self.id, lease_s=self.lease_s)
        except DatabaseError as error:
            HINTS.labels(queue=self.queue, fate="lost").inc()
            log.warning("a hint is left to be sent again", **hint.model_dump(), error=str(error))
            return None
        if claim is None:
            HINTS.labels(queue=self.queue, fate="stale").inc()
            return None
        lease = Lease(claim, self)
        with self._guard:
            self._leases[claim.task.id] = lease
        try:
            with told.attempt(self.queue, claim.task, waited_s=claim.waited_s):
                lease.trace_parent = traces.here()
                log.info("claimed", kind=claim.task.kind, waited_s=round(claim.waited_s, 3))
                self.publish(claim.job)
                return self._outcome(lease, work, then)
        finally:
            with self._guard:
                del self._leases[claim.task.id]

    def publish(self, job: Job) -> None:
        """Tells the watchers how the stored job stands; nothing of a job that was deleted."""
        if not job.deleted:
            self.news.publish(progress_of(job))

    def top_up(self, queues: Iterable[str]) -> None:
        """Sends the hints that are due; the dispatcher does the same a moment later."""
        for queue in queues:
            try:
                self._hints.top_up(queue)
            except DatabaseError as error:
                log.warning("hints are left to the dispatcher", error=str(error))

    def _outcome(
        self, lease: Lease, work: Callable[[Lease], None], then: Callable[[Job], None]
    ) -> dict[str, object] | None:
        try:
            outcome, job = self._attempt(lease, work)
        except LeaseLost:
            # Not an error of this worker: whoever owns the task now records how it ends.
            log.warning("the lease was lost; nothing of this attempt counts any more")
            told.tell_outcome(self.queue, "lost", None)
            return None
        told.tell_outcome(self.queue, outcome, job)
        self.publish(job)
        self.top_up([self.queue])
        then(job)
        return {"job_id": job.id, "outcome": outcome, "status": job.status.value}

    def _attempt(self, lease: Lease, work: Callable[[Lease], None]) -> tuple[str, Job]:
        """Does the work and records the outcome; returns its name and the job after it."""
        task = lease.task
        try:
            work(lease)
        except Draining:
            log.info("given back: this worker is about to end")
            return "given_back", self._let_go(task)
        except Cancelled:
            log.info("stopped on request")
            return "stopped", self._let_go(task)
        except Interruption:
            raise
        except HearSightError as error:
            log.warning("the attempt failed", code=error.code, error=str(error))
            return error.code, self._failed(task, error)
        except Exception as error:
            # Whatever it is, the job must not hang on it: it counts as a failed attempt.
            log.exception("the attempt failed for a reason nobody foresaw")
            unexpected = UnexpectedError(detail=f"{type(error).__name__}: {error}")
            return unexpected.code, self._failed(task, unexpected)
        job = self._recorded(lambda: outcomes.finish(self.database, task, self.language))
        log.info("done")
        return "done", job

    def _let_go(self, task: Task) -> Job:
        return self._recorded(lambda: outcomes.let_go(self.database, task, self.language))

    def _failed(self, task: Task, error: HearSightError) -> Job:
        return self._recorded(
            lambda: outcomes.fail(self.database, task, error, self._policy, self.language)
        )

    def _recorded(self, record: Callable[[], T]) -> T:
        """Records an outcome, and keeps trying while PostgreSQL is away and the lease may hold."""
        while True:
            try:
                return record()
            except DatabaseError as error:
                if self.heartbeat_age_s() > self.lease_s:
                    raise LeaseLost from error
                log.warning("the outcome is not recorded yet", error=str(error))
                time.sleep(RECORD_PAUSE_S)

    def _beat_until_ended(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            try:
                self._beat()
            except DatabaseError as error:
                log.warning("no heartbeat: the database is away", error=str(error))
            except Exception:
                # Without this thread every lease would be lost; it is told, and tried again.
                log.exception("the heartbeat met something nobody foresaw")

    def _beat(self) -> None:
        with self._guard:
            held = dict(self._leases)
        sent = time.monotonic()
        beat = leases.heartbeat(
            self.database,
            owner=self.id,
            queue=self.queue,
            slots=0 if self.draining.is_set() else self.slots,
            held={task_id: lease.task.attempt for task_id, lease in held.items()},
            lease_s=self.lease_s,
        )
        self._last_beat = sent
        with self._guard:
            for task_id, lease in held.items():
                if self._leases.get(task_id) is not lease:
                    continue  # finished while the heartbeat was on its way
                if task_id not in beat.held:
                    lease.lose()
                elif task_id in beat.stop:
                    lease.stop()
