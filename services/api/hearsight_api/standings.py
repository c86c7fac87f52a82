"""How jobs stand, for everybody who asks at the same time with one look at each store.

A look at the stores costs as much as all the rest of a request. People who poll come by the
hundred, so what comes while one look is under way waits for the next, and shares it. Nobody is told
anything older than the request.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from hearsight_core.contract import ProgressData
from hearsight_core.errors import DatabaseError
from hearsight_core.jobs import progress_of
from hearsight_core.progress import News
from hearsight_core.store import listing
from hearsight_core.store.database import Database

MOST = 500
"""Jobs looked up at once."""


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
        self._wanted: dict[int, list[asyncio.Future[Standing]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def of(self, job_id: int) -> Standing:
        """How the job stands now, whoever's it is."""
        wanted: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(job_id, []).append(wanted)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all(), name="standings")
        return await wanted

    async def _look_for_all(self) -> None:
        while self._wanted:
            ids = list(self._wanted)[:MOST]
            waiting = {job_id: self._wanted.pop(job_id) for job_id in ids}
            try:
                found = await run_in_threadpool(self._look, ids)
            except Exception as error:  # noqa: BLE001  whoever asked is told, whatever it is
                for futures in waiting.values():
                    for wanted in futures:
                        if not wanted.done():
                            wanted.set_exception(error)
                continue
            for job_id, futures in waiting.items():
                for wanted in futures:
                    if not wanted.done():  # its client may be gone
                        wanted.set_result(found[job_id])
        self._looking = None

    def _look(self, ids: Sequence[int]) -> dict[int, Standing]:
        snapshots = self._news.snapshots(ids)
        try:
            jobs = listing.several(self._database, ids)
        except DatabaseError as error:
            return {
                job_id: Standing(snapshot=snapshots.get(job_id), stored=None, away=error)
                for job_id in ids
            }
        return {
            job_id: Standing(
                snapshot=snapshots.get(job_id),
                stored=progress_of(jobs[job_id]) if job_id in jobs else None,
            )
            for job_id in ids
        }
