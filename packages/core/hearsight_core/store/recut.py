"""What was cut of a file that is gone, compared with the one that was fetched after it."""

from sqlalchemy import delete, select

from hearsight_core.jobs import Job, Part, Task
from hearsight_core.store.changes import change_job
from hearsight_core.store.database import Database
from hearsight_core.store.rows import part_of
from hearsight_core.store.tables import parts, segments, tasks
from hearsight_core.store.work import working_on


def parts_of(database: Database, job_id: int) -> list[Part]:
    """Finds all parts of a job, in their order."""
    with database.begin() as connection:
        rows = connection.execute(
            select(parts).where(parts.c.job_id == job_id).order_by(parts.c.part_index)
        ).all()
        return [part_of(row) for row in rows]


def drop_parts(database: Database, task: Task, first_index: int) -> Job:
    """Removes the job's parts from one on, with their tasks and all that was recognised of them.

    Whoever works on one of them finds its task gone. The numbers of later segments go on after
    those of the removed ones. What the owner was charged for the parts stays charged: the work was
    done.

    Raises:
        LeaseLost: the attempt is no longer the current one.
        Cancelled: the job has ended.
    """
    with database.begin() as connection:
        job = working_on(connection, task)
        for table in (segments, tasks):
            connection.execute(
                delete(table).where(table.c.job_id == job.id, table.c.part_index >= first_index)
            )
        rows = connection.execute(
            delete(parts)
            .where(parts.c.job_id == job.id, parts.c.part_index >= first_index)
            .returning(parts)
        )
        gone = [part_of(row) for row in rows]
        recognised_ms = job.recognised_ms - sum(
            end - start for part in gone for start, end in part.chunks[: part.chunks_done]
        )
        nothing_left = {"language": None, "language_probability": None, "model": None}
        return change_job(
            connection,
            job,
            speech_ms=job.speech_ms - sum(part.speech_ms for part in gone),
            recognised_ms=recognised_ms,
            reused_ms=min(job.reused_ms, recognised_ms),
            duration_ms=None,
            **(nothing_left if first_index == 0 else {}),
        )
