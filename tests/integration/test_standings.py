"""Requests that come together share a look at the stores, and nobody is told anything old."""

import asyncio

import pytest
from sqlalchemy.exc import DataError

from hearsight_api.standings import Standings
from hearsight_core.errors import DatabaseError
from hearsight_core.jobs import progress_of
from hearsight_core.progress import News
from hearsight_core.store import control
from hearsight_core.store.database import Database
from tests.store import EN, accepted


def test_each_is_told_of_its_own_job(database: Database, news: News) -> None:
    jobs = [accepted(database).job for _ in range(3)]
    news.publish(progress_of(jobs[0]))

    async def ask() -> list[tuple[bool, int | None]]:
        standings = Standings(database, news)
        ids = [*(job.id for job in jobs), jobs[0].id, 999]
        found = await asyncio.gather(*(standings.of(job_id) for job_id in ids))
        return [
            (one.snapshot is not None, one.stored.job_id if one.stored else None) for one in found
        ]

    first, second, third = (job.id for job in jobs)
    assert asyncio.run(ask()) == [
        (True, first),
        (False, second),
        (False, third),
        (True, first),
        (False, None),
    ]


def test_a_request_is_told_what_was_stored_before_it_came(database: Database, news: News) -> None:
    job = accepted(database).job

    async def ask() -> None:
        standings = Standings(database, news)
        busy = [asyncio.create_task(standings.of(job.id)) for _ in range(50)]
        await asyncio.sleep(0)  # a look is under way now
        changed = await asyncio.to_thread(control.cancel, database, job.id, EN)
        after = await standings.of(job.id)
        assert after.stored is not None
        assert after.stored.version == changed.version
        await asyncio.gather(*busy)

    asyncio.run(ask())


def test_a_client_that_leaves_takes_nobody_else_s_answer(database: Database, news: News) -> None:
    job = accepted(database).job

    async def ask() -> None:
        standings = Standings(database, news)
        leaving, staying = (asyncio.create_task(standings.of(job.id)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).stored is not None
        assert (await standings.of(job.id)).stored is not None

    asyncio.run(ask())


def test_what_redis_knows_is_told_while_postgresql_is_away(database: Database, news: News) -> None:
    job = accepted(database).job
    news.publish(progress_of(job))
    database.close()

    async def ask() -> None:
        found = await Standings(database, news).of(job.id)
        assert found.snapshot == progress_of(job)
        assert isinstance(found.away, DatabaseError)

    asyncio.run(ask())


def test_an_error_that_nobody_foresaw_reaches_whoever_asked(database: Database, news: News) -> None:
    async def ask() -> None:
        standings = Standings(database, news)
        with pytest.raises(DataError):
            await standings.of(2**70)
        assert (await standings.of(1)).stored is None

    asyncio.run(ask())
