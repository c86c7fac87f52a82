"""Taking jobs: those that come together are stored together, and each is answered once it is."""

from collections.abc import Sequence

from hearsight_api.limits import Queue, queue_full
from hearsight_api.together import Together
from hearsight_core.contract import TaskKind, queue_of
from hearsight_core.errors import DatabaseError
from hearsight_core.jobs import Job, progress_of
from hearsight_core.messages import Language
from hearsight_core.progress import News
from hearsight_core.store import submission
from hearsight_core.store.database import Database
from hearsight_core.store.submission import Accepted, Asked
from hearsight_core.telemetry.metrics import JOBS_ACCEPTED
from hearsight_core.top_ups import TopUps

MOST = 100
"""Jobs of one transaction: it stays as short as those of the workers."""

LANES = 2
"""One that waits for a job of the same number, which another process is storing at that moment,
does not hold up the others."""


class Submissions:
    """Stores jobs, tells their watchers and has their hints sent; a lost one is sent again later.

    To be used from the event loop alone.
    """

    def __init__(
        self,
        *,
        database: Database,
        news: News,
        queue: Queue,
        top_ups: TopUps,
        language: Language,
    ) -> None:
        self._database = database
        self._news = news
        self._queue = queue
        self._top_ups = top_ups
        self._language: Language = language
        self._together = Together(self._take, most=MOST, lanes=LANES)

    async def accept(self, asked: Asked) -> Accepted:
        """As the store's `accept`, if there is room.

        Raises:
            OverloadError: there are as many jobs as are taken.
        """
        return await self._together.ask(asked)

    def _take(self, asked: Sequence[Asked]) -> list[Accepted | Exception]:
        let_in = asked[: self._queue.room()]
        taken = self._stored(let_in)
        if new := [one.job for one in taken if isinstance(one, Accepted) and one.created]:
            self._tell(new)
        return [*taken, *(queue_full() for _ in asked[len(let_in) :])]

    def _stored(self, asked: Sequence[Asked]) -> Sequence[Accepted | Exception]:
        try:
            return submission.accept_all(self._database, asked, self._language)
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001  whoever asked is told, whatever it is
            if len(asked) == 1:
                return [error]
            # One that can't be stored takes no other along.
            return [told for one in asked for told in self._stored([one])]

    def _tell(self, jobs: Sequence[Job]) -> None:
        self._queue.add(len(jobs))
        for job in jobs:
            JOBS_ACCEPTED.labels(source="url" if job.source_url else "upload").inc()
        self._news.publish_all(progress_of(job) for job in jobs)
        for priority in {job.priority for job in jobs}:
            self._top_ups.ask([queue_of(TaskKind.DOWNLOAD)], priority)
