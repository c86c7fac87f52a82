"""Hints are sent for all who ask at once, and the thread that does it outlives what it meets."""

import time

from redis import Redis

from hearsight_core.store.database import Database
from hearsight_core.top_ups import TopUps
from tests.store import DOWNLOAD, accepted

SOON_S = 20


def _queued(broker_url: str) -> int:
    with Redis.from_url(broker_url) as client:
        return int(client.llen(DOWNLOAD))


def _await_queued(broker_url: str, count: int) -> None:
    deadline = time.monotonic() + SOON_S
    while _queued(broker_url) != count:
        assert time.monotonic() < deadline, _queued(broker_url)
        time.sleep(0.02)


def test_what_is_asked_for_after_a_commit_is_sent(
    database: Database, top_ups: TopUps, broker_url: str
) -> None:
    for count in (1, 2, 3):
        accepted(database)
        top_ups.ask([DOWNLOAD])
        _await_queued(broker_url, count)


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
