"""The life of one task in a worker: claim, lease, heartbeat, checkpoint, outcome.

One `Worker` a process. Every task runs in a thread of its own; one more thread sends the heartbeat
for all of them in one statement, and keeps the session by which a dead process is noticed; another
sends the hints that are due when tasks end.
"""

import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import NoReturn, TypeVar

import structlog

from hearsight_core.broker import HintSender
from hearsight_core.contract import Hint
from hearsight_core.errors import (
    Cancelled,
    DatabaseError,
    DeviceFailedError,
    Draining,
    EngineHungError,
    HearSightError,
    Interruption,
    LeaseLost,
    UnexpectedError,
)
from hearsight_core.jobs import Job, Task, progress_of
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.room import Room
from hearsight_core.settings import WorkerSettings
from hearsight_core.store import leases, outcomes, sessions
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import RetryPolicy
from hearsight_core.store.sessions import WorkerSession
from hearsight_core.telemetry import told, traces
from hearsight_core.telemetry.metrics import HINTS
from hearsight_core.top_ups import TopUps

log = structlog.get_logger(__name__)

T = TypeVar("T")

RECORD_PAUSE_S = 1.0
"""Pause between tries to record an outcome while PostgreSQL is away."""

SESSION_PAUSE_S = 0.3
"""Pause between tries to begin a session anew; the dispatcher waits a second for it."""

EXIT_CODES = {EngineHungError.code: 70, DeviceFailedError.code: 71}
"""How a process ends that has given itself up, by the reason."""

LET_TAKE_BACK_S = 3.0
"""How long a new worker lets the dispatcher find those that died, before it takes anything."""

LOOK_S = 0.1
"""Pause between two looks whether it has."""

LAST_WORDS_S = 5.0
"""How long such a process tries to leave the reason behind."""


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
        self.top_ups = TopUps(hints)
        self.id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.queue = queue
        self.slots = slots
        self.database = database
        self.news = news
        self.language = settings.language
        self.lease_s = settings.lease_s
        self.draining = threading.Event()
        self._policy = RetryPolicy.of(settings)
        self._heartbeat_s = settings.heartbeat_s
        self._room = Room(self.draining)
        self._ended = threading.Event()
        self._session = WorkerSession(database)
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
        self.top_ups.start()
        self._let_take_back()
        log.info("worker is ready", worker=self.id, queue=self.queue, slots=self.slots)

    def _let_take_back(self) -> None:
        """Waits a moment for the tasks of dead workers to go back to their queues.

        A worker that is started in place of one that died can be there before that is noticed. It
        would fill its slots with tasks that come later, and those that were interrupted would wait.
        """
        until = time.monotonic() + LET_TAKE_BACK_S
        while sessions.without_session(self.database) and time.monotonic() < until:
            time.sleep(LOOK_S)

    def drain(self) -> None:
        """Take no more tasks; those in work store what they have, and are given back."""
        self.draining.set()

    def close(self) -> None:
        """Stop the heartbeat and sign off; call it when no task runs any more."""
        self.top_ups.close()
        self._ended.set()
        self._session.wake()
        self._thread.join()
        try:
            leases.sign_off(self.database, self.id)
        except DatabaseError as error:
            log.warning("the worker could not sign off", error=str(error))
        self._session.close()

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
        with self._room.entered() as admitted:
            return self._claimed(hint, work, then) if admitted else None

    def abandon(self, error: HearSightError) -> NoReturn:
        """Ends this process at once, for nothing done in it can be trusted any more.

        Its tasks are taken back with `error` as the reason.
        """
        self.draining.set()
        # In a thread, which can be left: PostgreSQL may not answer, or the thread hold its lock.
        saying = threading.Thread(target=self._leave_word, args=(error,), daemon=True)
        saying.start()
        saying.join(LAST_WORDS_S)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODES[error.code])

    def _leave_word(self, error: HearSightError) -> None:
        try:
            leases.note_end(self.database, self.id, error)
        except DatabaseError as failure:
            log.warning("the worker could not say why it ends", error=str(failure))

    def _claimed(
        self, hint: Hint, work: Callable[[Lease], None], then: Callable[[Job], None]
    ) -> dict[str, object] | None:
        """As `run`, for a process that takes tasks."""
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
        with (
            self._room.held(lease),
            told.attempt(self.queue, claim.task, waited_s=claim.waited_s),
        ):
            lease.trace_parent = traces.here()
            log.info("claimed", kind=claim.task.kind, waited_s=round(claim.waited_s, 3))
            self.publish(claim.job)
            return self._outcome(lease, work, then)

    def publish(self, job: Job) -> None:
        """Tells the watchers how the stored job stands; nothing of a job that was deleted."""
        if not job.deleted:
            self.news.publish(progress_of(job))

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
        self.top_ups.ask([self.queue])
        then(job)
        return {"job_id": job.id, "outcome": outcome, "status": job.status.value}

    def _attempt(self, lease: Lease, work: Callable[[Lease], None]) -> tuple[str, Job]:
        """Does the work and records the outcome; returns its name and the job after it."""
        task = lease.task
        try:
            if self._policy.wants_alone(task):
                log.warning("the last try after lost ones: alone in this process")
                self._room.clear_for(lease)
                leases.mark_alone(self.database, task)
            work(lease)
        except Draining:
            log.info("given back: this worker is about to end, or another task has it alone")
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
        away = False
        while True:
            self._session.watch(SESSION_PAUSE_S if self._session.lost else self._heartbeat_s)
            if self._ended.is_set():
                return
            try:
                self._beat()
                away = False
            except DatabaseError as error:
                if not away:
                    log.warning("no heartbeat: the database is away", error=str(error))
                away = True
            except Exception:
                # Without this thread every lease would be lost; it is told, and tried again.
                log.exception("the heartbeat met something nobody foresaw")

    def _beat(self) -> None:
        held = self._room.leases()
        session_lock = self._session.renewed()
        sent = time.monotonic()
        beat = leases.heartbeat(
            self.database,
            owner=self.id,
            queue=self.queue,
            slots=0 if self.draining.is_set() else self.slots,
            held={task_id: lease.task.attempt for task_id, lease in held.items()},
            lease_s=self.lease_s,
            session_lock=session_lock,
        )
        self._last_beat = sent
        # One that was finished while the heartbeat was on its way hears it and does not mind.
        for task_id, lease in held.items():
            if task_id not in beat.held:
                lease.lose()
            elif task_id in beat.stop:
                lease.stop()
