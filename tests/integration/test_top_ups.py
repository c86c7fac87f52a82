"""Hints are sent for all who ask at once, and the thread that does it outlives what it meets."""

import time
from collections.abc import Callable

from redis import Redis

from hearsight_core.broker import HINTS_AT_LEAST
from hearsight_core.store.database import Database
from hearsight_core.top_ups import TopUps
from tests.store import DOWNLOAD, accepted

SOON_S = 20


def _queued(broker_url: str) -> int:
    with Redis.from_url(broker_url) as client:
        return int(client.llen(DOWNLOAD))


def _await_queued(broker_url: str, count: int) -> None:
    _until(lambda: _queued(broker_url) == count)


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_asked_for_after_a_commit_is_sent(
    database: Database, top_ups: TopUps, broker_url: str
) -> None:
    for count in (1, 2, 3):
        accepted(database)
        top_ups.ask([DOWNLOAD])
        _await_queued(broker_url, count)


def test_a_job_of_high_priority_has_hints_in_flight_recalled(
    database: Database, top_ups: TopUps, broker_url: str
) -> None:
    for _ in range(HINTS_AT_LEAST):
        accepted(database)
    top_ups.ask([DOWNLOAD])
    _await_queued(broker_url, HINTS_AT_LEAST)
    urgent = accepted(database, priority="high").task_id
    top_ups.ask([DOWNLOAD], "high")
    top_ups.ask([DOWNLOAD])
    with Redis.from_url(broker_url) as client:
        _until(lambda: urgent in str(client.lindex(DOWNLOAD, -1)))


def test_what_was_asked_for_is_sent_before_the_end(
    database: Database, top_ups: TopUps, broker_url: str
) -> None:
    for _ in range(3):
        accepted(database)
        top_ups.ask([DOWNLOAD])
    top_ups.close()
    assert _queued(broker_url) == 3


def test_the_thread_outlives_a_queue_that_is_none(
    database: Database, top_ups: TopUps, broker_url: str
) -> None:
    with Redis.from_url(broker_url) as client:
        client.set("no-list", "x")
    top_ups.ask(["no-list"])
    accepted(database)
    top_ups.ask([DOWNLOAD])
    _await_queued(broker_url, 1)
