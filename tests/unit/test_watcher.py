"""A watcher hands out events in order, and sends its reader to the database when in doubt."""

import asyncio

import pytest

from hearsight_api.watchers import BACKLOG, Watcher, Watchers
from hearsight_core.contract import JobStatus, ProgressData
from hearsight_core.progress import Event
from hearsight_core.telemetry.metrics import WATCHERS

SOON = 0.01
"""Patience of a reader who expects nothing, seconds."""


def event(version: int, *, job_id: int = 7) -> Event:
    progress = ProgressData(job_id=job_id, status=JobStatus.PROCESSING, version=version)
    return Event(progress=progress, segments_after=version - 1)


async def versions(watcher: Watcher) -> list[int | None]:
    """Everything the watcher holds; None stands for a look at the database."""
    found: list[int | None] = []
    while True:
        got = await watcher.next(SOON)
        found.append(got.progress.version if got else None)
        if got is None and not watcher._events and not watcher._behind:
            return found


def test_events_come_in_order() -> None:
    async def read() -> list[int | None]:
        watcher = Watcher()
        for version in (1, 2, 3):
            watcher.push(event(version))
        return await versions(watcher)

    assert asyncio.run(read()) == [1, 2, 3, None]


def test_an_event_wakes_who_waits_for_it() -> None:
    async def read() -> Event | None:
        watcher = Watcher()
        reading = asyncio.create_task(watcher.next(60))
        await asyncio.sleep(0)
        watcher.push(event(1))
        return await reading

    assert asyncio.run(read()) == event(1)


def test_who_hears_nothing_for_long_looks_into_the_database() -> None:
    assert asyncio.run(Watcher().next(SOON)) is None


def test_a_reader_too_slow_is_sent_to_the_database_and_then_goes_on() -> None:
    async def read() -> list[int | None]:
        watcher = Watcher()
        for version in range(BACKLOG + 1):
            watcher.push(event(version))
        watcher.push(event(BACKLOG + 1))
        return await versions(watcher)

    assert asyncio.run(read()) == [None, BACKLOG + 1, None]


def test_a_backlog_that_just_fits_is_kept() -> None:
    async def read() -> list[int | None]:
        watcher = Watcher()
        for version in range(BACKLOG):
            watcher.push(event(version))
        return await versions(watcher)

    assert asyncio.run(read()) == [*range(BACKLOG), None]


def test_what_may_have_been_missed_wakes_who_waits() -> None:
    async def read() -> Event | None:
        watcher = Watcher()
        reading = asyncio.create_task(watcher.next(60))
        await asyncio.sleep(0)
        watcher.fall_behind()
        return await reading

    assert asyncio.run(read()) is None


def test_an_event_reaches_every_watcher_of_its_job_and_no_other() -> None:
    async def read() -> list[list[int | None]]:
        watchers = Watchers("redis://127.0.0.1:1/1")
        with (
            watchers.watching(7) as one,
            watchers.watching(7) as two,
            watchers.watching(8) as other,
        ):
            watchers._deliver(event(5).model_dump_json())
            return [await versions(watcher) for watcher in (one, two, other)]

    assert asyncio.run(read()) == [[5, None], [5, None], [None]]


def test_an_event_that_cannot_be_read_sends_everybody_to_the_database() -> None:
    async def read() -> bool:
        watchers = Watchers("redis://127.0.0.1:1/1")
        with watchers.watching(7) as watcher:
            watchers._deliver('{"progress": "of another version"}')
            return watcher._behind

    assert asyncio.run(read())


def test_nothing_is_kept_of_jobs_that_nobody_watches() -> None:
    watchers = Watchers("redis://127.0.0.1:1/1")
    open_before = WATCHERS._value.get()
    with watchers.watching(7), watchers.watching(7):
        watchers._deliver(event(1, job_id=8).model_dump_json())
        assert list(watchers._by_job) == [7]
        assert WATCHERS._value.get() == open_before + 2
    assert not watchers._by_job
    assert WATCHERS._value.get() == open_before


def test_a_watcher_that_breaks_off_is_forgotten() -> None:
    watchers = Watchers("redis://127.0.0.1:1/1")
    with pytest.raises(ConnectionError), watchers.watching(7):
        raise ConnectionError
    assert not watchers._by_job
