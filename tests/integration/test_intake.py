"""A worker takes the next message when a slot is free, and a doubled one changes nothing."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import states
from redis import Redis

from hearsight_core.broker import HintSender, celery_app
from hearsight_core.settings import CoreSettings
from hearsight_core.store import submission
from hearsight_core.store.database import Database
from tests.servers import download_worker
from tests.servers.download_worker import FORBIDDEN
from tests.store import DOWNLOAD, EN, request, rows

LIMIT_S = 120


@pytest.fixture
def settings(database_url: str, broker_url: str, redis_url: str, storage_url: str) -> CoreSettings:
    return CoreSettings(
        database_url=database_url,
        broker_url=broker_url,
        redis_url=redis_url,
        storage_url=storage_url,
    )


@pytest.fixture
def broker(settings: CoreSettings) -> Iterator[Redis]:
    with Redis.from_url(settings.broker_url) as client:
        yield client


def _await(what: Callable[[], bool], limit_s: float, log: Path) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_one_task_follows_another_without_a_pause(
    database: Database, settings: CoreSettings, tmp_path: Path
) -> None:
    count, log = 90, tmp_path / "worker.log"
    for _ in range(count):
        submission.accept(database, request(FORBIDDEN), EN)
    HintSender(celery_app(settings), database, settings).top_up(DOWNLOAD)

    def ended() -> int:
        [found] = rows(database, "SELECT count(finished_at) AS count FROM jobs")
        return int(str(found["count"]))

    with download_worker.running(settings, log):
        _await(lambda: ended() > 0, LIMIT_S, log)
        # A pause of a second after each would take longer.
        _await(lambda: ended() == count, count * 0.7, log)


def test_a_doubled_hint_leaves_the_result_of_the_attempt_that_counts(
    database: Database, settings: CoreSettings, broker: Redis, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    made = submission.accept(database, request(FORBIDDEN), EN)
    HintSender(celery_app(settings), database, settings).top_up(DOWNLOAD)
    [hint] = broker.lrange(DOWNLOAD, 0, -1)
    with Redis.from_url(settings.redis_url) as results:
        key = f"celery-task-meta-{made.task_id}"
        with download_worker.running(settings, log):
            _await(lambda: results.exists(key) == 1, LIMIT_S, log)
            stored = results.get(key)
            broker.lpush(DOWNLOAD, hint, hint)
            _await(lambda: broker.llen(DOWNLOAD) == 0, LIMIT_S, log)
        assert results.get(key) == stored


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # it is Celery that calls it
def test_a_later_attempt_has_the_last_word_in_the_result(settings: CoreSettings) -> None:
    """A task that failed and was tried again is not told as failed for ever."""
    app, task_id = celery_app(settings), uuid.uuid4().hex
    for outcome in ("network.refused", "done"):
        app.backend.store_result(task_id, {"outcome": outcome}, states.SUCCESS)
    assert app.AsyncResult(task_id).result == {"outcome": "done"}
