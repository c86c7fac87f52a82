"""Requests for jobs that come together are stored together, and none spoils another's."""

import asyncio
from collections.abc import Sequence

from redis import Redis
from sqlalchemy.exc import IntegrityError

from hearsight_api.limits import Queue
from hearsight_api.submissions import Submissions
from hearsight_core.errors import DatabaseError, OverloadError
from hearsight_core.progress import News
from hearsight_core.store import listing
from hearsight_core.store.database import Database
from hearsight_core.store.submission import Accepted, Asked
from hearsight_core.top_ups import TopUps
from tests.store import EN, request, rows


class _Taker:
    """Hands requests in at the same moment; most jobs that may wait: `most`."""

    def __init__(self, database: Database, news: News, top_ups: TopUps, *, most: int) -> None:
        self._submissions = Submissions(
            database=database,
            news=news,
            queue=Queue(database, most),
            top_ups=top_ups,
            language=EN,
        )

    def take(self, asked: Sequence[Asked]) -> list[Accepted | BaseException]:
        async def all_at_once() -> list[Accepted | BaseException]:
            return await asyncio.gather(
                *(self._submissions.accept(one) for one in asked), return_exceptions=True
            )

        return asyncio.run(all_at_once())


def test_each_is_answered_once_its_job_is_there_with_its_news(
    database: Database, news: News, top_ups: TopUps
) -> None:
    taken = _Taker(database, news, top_ups, most=1000).take(
        [Asked(submission=request(f"https://example.org/{n}")) for n in range(60)]
    )
    for n, one in enumerate(taken):
        assert isinstance(one, Accepted)
        assert one.created
        assert listing.get(database, one.job.id).source_url == f"https://example.org/{n}"
        snapshot = news.snapshot(one.job.id)
        assert snapshot is not None
        assert snapshot.version == one.job.version


def test_hints_are_sent_for_what_was_stored(
    database: Database, news: News, top_ups: TopUps, broker_url: str
) -> None:
    _Taker(database, news, top_ups, most=1000).take([Asked(submission=request()) for _ in range(3)])
    top_ups.close()
    with Redis.from_url(broker_url) as client:
        assert client.llen("download") == 3


def test_one_that_can_t_be_stored_takes_no_other_along(
    database: Database, news: News, top_ups: TopUps
) -> None:
    asked = [Asked(submission=request()) for _ in range(8)]
    # No key can have such an owner; the database refuses it.
    asked.insert(4, Asked(submission=request(owner="No Owner!")))
    taken = _Taker(database, news, top_ups, most=1000).take(asked)
    assert isinstance(taken.pop(4), IntegrityError)
    assert all(isinstance(one, Accepted) for one in taken)
    assert rows(database, "SELECT count(*) AS count FROM jobs") == [{"count": 8}]


def test_as_many_are_let_in_as_there_is_room(
    database: Database, news: News, top_ups: TopUps
) -> None:
    asked = [Asked(submission=request()) for _ in range(20)]
    taken = _Taker(database, news, top_ups, most=5).take(asked)
    assert sum(isinstance(one, Accepted) for one in taken) == 5
    assert sum(isinstance(one, OverloadError) for one in taken) == 15


def test_while_postgresql_is_away_everybody_is_told(
    database: Database, news: News, top_ups: TopUps
) -> None:
    taker = _Taker(database, news, top_ups, most=1000)
    database.close()
    taken = taker.take([Asked(submission=request()) for _ in range(3)])
    assert all(isinstance(one, DatabaseError) for one in taken)
