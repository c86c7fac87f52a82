"""How much there is: jobs by status and source, tasks by queue, slots of workers."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import case, column, func, select, table

from hearsight_core.contract import JobStatus
from hearsight_core.store.database import Database
from hearsight_core.store.tables import jobs, workers

queue_load = table(
    "queue_load",
    column("queue"),
    column("waiting"),
    column("running"),
    column("oldest_waiting_s"),
)
"""The view that autoscalers read as well; a migration makes it."""


def jobs_by_status_and_source(database: Database) -> dict[tuple[JobStatus, str], int]:
    """Counts the jobs of each status that came as a `url` or an `upload`; reads every job."""
    source = case((jobs.c.source_url.is_(None), "upload"), else_="url").label("source")
    with database.begin() as connection:
        rows = connection.execute(
            select(jobs.c.status, source, func.count())
            .where(jobs.c.deleted_at.is_(None))
            .group_by(jobs.c.status, source)
        )
        return {(JobStatus(status), source): count for status, source, count in rows}


@dataclass(frozen=True, kw_only=True)
class QueueLoad:
    """What is to be done on a queue: tasks of live jobs, and how long the oldest waits already."""

    waiting: int
    running: int
    oldest_waiting_s: float


def loads(database: Database) -> dict[str, QueueLoad]:
    """Reads the load of each queue that has unfinished tasks."""
    with database.begin() as connection:
        return {
            row.queue: QueueLoad(
                waiting=row.waiting, running=row.running, oldest_waiting_s=row.oldest_waiting_s
            )
            for row in connection.execute(select(queue_load))
        }


def slots(database: Database, *, within_s: float) -> dict[str, int]:
    """Counts, by queue, the task slots of the workers seen within the last `within_s` seconds."""
    with database.begin() as connection:
        rows = connection.execute(
            select(workers.c.queue, func.sum(workers.c.slots))
            .where(workers.c.seen_at > func.now() - timedelta(seconds=within_s))
            .group_by(workers.c.queue)
        )
        return {str(queue): count for queue, count in rows}
