"""Which waiting tasks are due for a hint: the order of the queue is decided here.

Owners take turns, and within an owner the task with the lowest rank goes first (ADR 0019).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from hearsight_core.contract import Hint
from hearsight_core.jobs import TaskState
from hearsight_core.store.database import Database
from hearsight_core.store.tables import tasks, turns

_DUE = """
    state = 'waiting' AND queue = :queue AND job_owner = {owner}
    AND ready_at <= now() AND (hinted_at IS NULL OR hinted_at <= now() - :resend)
"""

_IN_FLIGHT = text(
    "SELECT count(*) FROM tasks"
    " WHERE queue = :queue AND state = 'waiting' AND hinted_at > now() - :resend"
)

# Two steps through the index, one owner at a time ("loose index scan", wiki.postgresql.org): what
# it costs grows with the owners that have something waiting, not with how much they have.
_TAKE = text(
    f"""
WITH RECURSIVE found AS (
    SELECT (SELECT min(job_owner) FROM tasks WHERE state = 'waiting' AND queue = :queue) AS owner
    UNION ALL
    SELECT (
        SELECT min(job_owner) FROM tasks
        WHERE state = 'waiting' AND queue = :queue AND job_owner > found.owner
    )
    FROM found WHERE owner IS NOT NULL
),
work AS (
    SELECT owner, count(*) AS tasks
    FROM (
        SELECT job_owner AS owner FROM tasks WHERE state = 'running' AND queue = :queue
        UNION ALL
        SELECT job_owner FROM tasks
        WHERE state = 'waiting' AND queue = :queue AND hinted_at > now() - :resend
    ) AS every
    GROUP BY owner
),
owners AS (
    SELECT owner, coalesce(work.tasks, 0) AS in_work, served_at, count(*) OVER () AS competing
    FROM found
    LEFT JOIN work USING (owner)
    LEFT JOIN (SELECT owner, served_at FROM turns WHERE queue = :queue) AS turns USING (owner)
    WHERE EXISTS (SELECT FROM tasks WHERE {_DUE.format(owner="found.owner")})
    ORDER BY in_work, served_at NULLS FIRST, owner
    LIMIT :room
),
next AS MATERIALIZED (
    SELECT
        due.*,
        served_at,
        competing,
        in_work + row_number() OVER (
            PARTITION BY owner ORDER BY rank_at, created_at, part_index, id
        ) AS place
    FROM owners
    CROSS JOIN LATERAL (
        SELECT id, rank_at, created_at, part_index FROM tasks
        WHERE {_DUE.format(owner="owners.owner")}
        ORDER BY rank_at, created_at, part_index, id
        LIMIT :room
    ) AS due
    ORDER BY place, served_at NULLS FIRST, rank_at, created_at, part_index, id
    LIMIT :room
),
taken AS MATERIALIZED (
    SELECT tasks.id, place, served_at, competing
    FROM tasks JOIN next USING (id)
    WHERE state = 'waiting' AND (hinted_at IS NULL OR hinted_at <= now() - :resend)
    FOR UPDATE OF tasks SKIP LOCKED
)
UPDATE tasks SET hinted_at = now()
FROM taken WHERE tasks.id = taken.id
RETURNING
    tasks.id, attempt, job_owner, trace_parent, rank_at, tasks.created_at, part_index,
    place, served_at, competing
"""  # noqa: S608  names of our own
)


@dataclass(frozen=True, kw_only=True)
class Due:
    """A hint to be sent, and the span that made its task."""

    hint: Hint
    trace_parent: str | None


def queues(database: Database) -> list[str]:
    """Names the queues that tasks wait in.

    It steps from one name to the next in the index, as `take_due` does from owner to owner:
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

    A hint counts as in flight until its task is claimed, or for `resend_s` seconds. The owner with
    the fewest tasks in flight and in work is next, of several the one served longest ago; tasks of
    one owner go by rank. Tasks that another caller is marking at this moment are skipped.
    """
    resend = timedelta(seconds=resend_s)
    with database.begin() as connection:
        in_flight = connection.execute(_IN_FLIGHT, {"queue": queue, "resend": resend}).scalar_one()
        if in_flight >= in_flight_max:
            return []
        rows = connection.execute(
            _TAKE, {"queue": queue, "resend": resend, "room": in_flight_max - in_flight}
        ).all()
        if rows and rows[0].competing > 1:
            # Where nobody else waits, nobody needs to know whose turn it was.
            _note_turns(connection, queue, {row.job_owner for row in rows})
        # As the query ordered them; None sorts first, as an owner that was never served does.
        rows = sorted(
            rows,
            key=lambda row: (
                row.place,
                row.served_at is not None,
                row.served_at,
                *_by_rank(row),
            ),
        )
        return [_due(row) for row in rows]


def take(database: Database, task_ids: Sequence[str]) -> list[Due]:
    """Marks these tasks as hinted and returns them, as far as they wait and are due.

    It asks neither whose turn it is nor how many hints are in flight. Tasks that somebody else is
    changing at this moment are skipped.
    """
    with database.begin() as connection:
        rows = connection.execute(
            update(tasks)
            .where(tasks.c.id.in_(_still_waiting(task_ids).where(tasks.c.ready_at <= func.now())))
            .values(hinted_at=func.now())
            .returning(tasks)
        ).all()
    return [_due(row) for row in sorted(rows, key=_by_rank)]


def recall(database: Database, task_ids: Sequence[str]) -> None:
    """Marks these tasks as not hinted, as far as they still wait.

    Those that somebody else is changing at this moment, to claim or to end them, are skipped.
    """
    with database.begin() as connection:
        connection.execute(
            update(tasks).where(tasks.c.id.in_(_still_waiting(task_ids))).values(hinted_at=None)
        )


def _still_waiting(task_ids: Sequence[str]) -> Select[tuple[str]]:
    """Locks the tasks, and waits for nobody: others may lock the same ones in another order."""
    return (
        select(tasks.c.id)
        .where(tasks.c.id.in_(task_ids), tasks.c.state == TaskState.WAITING)
        .with_for_update(skip_locked=True)
    )


def _due(row: Row[Any]) -> Due:
    return Due(hint=Hint(task_id=str(row.id), attempt=row.attempt), trace_parent=row.trace_parent)


def _by_rank(row: Row[Any]) -> tuple[datetime, datetime, int]:
    return (row.rank_at, row.created_at, row.part_index or 0)


def _note_turns(connection: Connection, queue: str, owners: Iterable[str]) -> None:
    """Notes that these owners were served now."""
    # In one order by everybody: who writes the same turns waits, and never in a circle.
    told = [{"queue": queue, "owner": owner, "served_at": func.now()} for owner in sorted(owners)]
    connection.execute(
        insert(turns)
        .values(told)
        .on_conflict_do_update(
            index_elements=[turns.c.queue, turns.c.owner], set_={"served_at": func.now()}
        )
    )


def forget_turns(database: Database, *, older_than_s: float) -> int:
    """Removes turns taken that long ago; returns how many. An owner without one is served first."""
    with database.begin() as connection:
        return connection.execute(
            delete(turns).where(turns.c.served_at < func.now() - timedelta(seconds=older_than_s))
        ).rowcount
