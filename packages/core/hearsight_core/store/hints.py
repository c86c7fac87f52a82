"""Which waiting tasks are due for a hint: the order of the queue is decided here."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, or_, select, text, update

from hearsight_core.contract import Hint
from hearsight_core.jobs import TaskState
from hearsight_core.store.database import Database
from hearsight_core.store.tables import tasks


@dataclass(frozen=True, kw_only=True)
class Due:
    """A hint to be sent, and the span that made its task."""

    hint: Hint
    trace_parent: str | None


def queues(database: Database) -> list[str]:
    """Names the queues that tasks wait in.

    It steps from one name to the next in the index ("loose index scan", wiki.postgresql.org):
    DISTINCT would read an entry for every waiting task.
    """
    with database.begin() as connection:
        names = connection.execute(
            text(
                "WITH RECURSIVE found AS ("
                " SELECT (SELECT min(queue) FROM tasks WHERE state = 'waiting') AS queue"
                " UNION ALL"
                " SELECT (SELECT min(tasks.queue) FROM tasks"
                " WHERE state = 'waiting' AND tasks.queue > found.queue)"
                " FROM found WHERE found.queue IS NOT NULL"
                ") SELECT queue FROM found WHERE queue IS NOT NULL"
            )
        )
        return list(names.scalars())


def take_due(database: Database, queue: str, *, in_flight_max: int, resend_s: float) -> list[Due]:
    """Marks the next waiting tasks as hinted, up to `in_flight_max` in flight, and returns them.

    A hint counts as in flight until its task is claimed, or for `resend_s` seconds. Tasks that
    another caller is marking at this moment are skipped.
    """
    with database.begin() as connection:
        fresh = func.now() - timedelta(seconds=resend_s)
        in_flight = connection.execute(
            select(func.count())
            .select_from(tasks)
            .where(
                tasks.c.queue == queue,
                tasks.c.state == TaskState.WAITING,
                tasks.c.hinted_at > fresh,
            )
        ).scalar_one()
        if in_flight >= in_flight_max:
            return []
        due = (
            select(tasks.c.id)
            .where(
                tasks.c.queue == queue,
                tasks.c.state == TaskState.WAITING,
                tasks.c.ready_at <= func.now(),
                or_(tasks.c.hinted_at.is_(None), tasks.c.hinted_at <= fresh),
            )
            .order_by(tasks.c.rank_at, tasks.c.created_at, tasks.c.part_index, tasks.c.id)
            .limit(in_flight_max - in_flight)
            .with_for_update(skip_locked=True)
            # As a subquery in IN it could be run once for every row, each time locking others.
            .cte("due")
        )
        rows = connection.execute(
            update(tasks)
            .where(tasks.c.id == due.c.id)
            .values(hinted_at=func.now())
            .returning(
                tasks.c.id,
                tasks.c.attempt,
                tasks.c.rank_at,
                tasks.c.part_index,
                tasks.c.trace_parent,
            )
        ).all()
        rows = sorted(rows, key=lambda row: (row.rank_at, row.part_index or 0))
        return [
            Due(hint=Hint(task_id=row.id, attempt=row.attempt), trace_parent=row.trace_parent)
            for row in rows
        ]
