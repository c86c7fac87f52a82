"""What one process tells of the whole deployment: how many jobs, tasks and slots there are."""

import time
from collections.abc import Iterable

from hearsight_core.broker import WORKER_SEEN_WITHIN_S
from hearsight_core.contract import JobStatus
from hearsight_core.store import counts
from hearsight_core.store.counts import QueueLoad
from hearsight_core.store.database import Database
from hearsight_core.telemetry.metrics import (
    JOBS,
    SOURCES,
    TASK_SLOTS,
    TASKS_IN_WORK,
    TASKS_OLDEST_WAITING_SECONDS,
    TASKS_WAITING,
)

TASKS_EVERY_S = 5.0
JOBS_EVERY_S = 30.0
"""Counting tasks reads those that are not finished, counting jobs reads every job."""

_NOTHING = QueueLoad(waiting=0, running=0, oldest_waiting_s=0)


class Stock:
    """Gauges of what the database holds. One process at a time tells: two would count it twice."""

    def __init__(self, database: Database, queues: Iterable[str]) -> None:
        self._database = database
        self._queues = set(queues)
        self._tasks_due = self._jobs_due = 0.0

    def tell(self) -> None:
        """Counts again what was last counted too long ago.

        Raises:
            DatabaseError: PostgreSQL is away.
        """
        now = time.monotonic()
        if now >= self._tasks_due:
            self._tell_tasks()
            self._tasks_due = now + TASKS_EVERY_S
        if now >= self._jobs_due:
            self._tell_jobs()
            self._jobs_due = now + JOBS_EVERY_S

    def forget(self) -> None:
        """Tells nothing any more: another process does, or nobody can."""
        self._tasks_due = self._jobs_due = 0.0
        for gauge in (
            JOBS,
            TASKS_WAITING,
            TASKS_IN_WORK,
            TASKS_OLDEST_WAITING_SECONDS,
            TASK_SLOTS,
        ):
            gauge.clear()

    def _tell_tasks(self) -> None:
        loads = counts.loads(self._database)
        slots = counts.slots(self._database, within_s=WORKER_SEEN_WITHIN_S)
        # A queue that was told of once has 0 from now on when it is empty.
        self._queues |= {*loads, *slots}
        for queue in self._queues:
            load = loads.get(queue, _NOTHING)
            TASKS_WAITING.labels(queue=queue).set(load.waiting)
            TASKS_IN_WORK.labels(queue=queue).set(load.running)
            TASKS_OLDEST_WAITING_SECONDS.labels(queue=queue).set(load.oldest_waiting_s)
            TASK_SLOTS.labels(queue=queue).set(slots.get(queue, 0))

    def _tell_jobs(self) -> None:
        found = counts.jobs_by_status_and_source(self._database)
        for status in set(JobStatus) - {JobStatus.IDLE}:
            for source in SOURCES:
                JOBS.labels(status=status, source=source).set(found.get((status, source), 0))
