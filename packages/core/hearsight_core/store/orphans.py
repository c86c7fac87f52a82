"""Which objects nobody needs: no job points at them, and no attempt will any more."""

import re
from collections.abc import Sequence

from sqlalchemy import select

from hearsight_core.contract import JobStatus
from hearsight_core.jobs import TaskState
from hearsight_core.store.database import Database
from hearsight_core.store.tables import jobs, parts, tasks

_OF_JOB = re.compile(r"jobs/([0-9]{1,18})/")


def orphans(database: Database, keys: Sequence[str]) -> list[str]:
    """Picks those of `keys` that no job needs.

    A job needs its media, and its parts until it is completed or its media is removed. What belongs
    to a job with a running task is left alone: it may be about to be pointed at.
    """
    job_of = {key: int(found[1]) for key in keys if (found := _OF_JOB.match(key))}
    ids = set(job_of.values())
    with database.begin() as connection:
        needed = set(
            connection.execute(select(jobs.c.media_key).where(jobs.c.media_key.in_(keys))).scalars()
        )
        needed |= set(
            connection.execute(
                select(parts.c.object_key)
                .join(jobs, jobs.c.id == parts.c.job_id)
                .where(
                    jobs.c.id.in_(ids),
                    jobs.c.status != JobStatus.COMPLETED,
                    jobs.c.media_removed_at.is_(None),
                )
            ).scalars()
        )
        busy = set(
            connection.execute(
                select(tasks.c.job_id)
                .where(tasks.c.job_id.in_(ids), tasks.c.state == TaskState.RUNNING)
                .distinct()
            ).scalars()
        )
    return [key for key in keys if key not in needed and job_of.get(key) not in busy]
