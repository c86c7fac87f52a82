"""How jobs stand, for everybody who asks at the same time with one look at each store.

A look at the stores costs as much as all the rest of a request, and people who poll come by the
hundred. Nobody is told anything older than the request.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hearsight_api.together import Together
from hearsight_core.contract import ProgressData
from hearsight_core.errors import DatabaseError
from hearsight_core.jobs import Job, progress_of
from hearsight_core.progress import News
from hearsight_core.store import listing
from hearsight_core.store.database import Database

MOST = 500
"""Requests that share a look."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What Redis and PostgreSQL know of a job; `away`: PostgreSQL could not be asked."""

    snapshot: ProgressData | None
    stored: ProgressData | None
    away: DatabaseError | None = None


class Standings:
    """Looks jobs up. To be used from the event loop alone."""

    def __init__(self, database: Database, news: News) -> None:
        self._database = database
        self._news = news
        self._together = Together(self._look, most=MOST)

    async def of(self, job_id: int) -> Standing:
        """How the job stands now, whoever's it is."""
        return await self._together.ask(job_id)

    def _look(self, wanted: Sequence[int]) -> list[Standing]:
        ids = list(dict.fromkeys(wanted))
        snapshots = self._news.snapshots(ids)
        jobs: dict[int, Job] = {}
        away: DatabaseError | None = None
        try:
            jobs = listing.several(self._database, ids)
        except DatabaseError as error:
            away = error
        found = {
            job_id: Standing(
                snapshot=snapshots.get(job_id),
                stored=progress_of(jobs[job_id]) if job_id in jobs else None,
                away=away,
            )
            for job_id in ids
        }
        return [found[job_id] for job_id in wanted]
