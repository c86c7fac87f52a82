"""A worker that Redis fails goes on working."""

import time
from pathlib import Path

import redis

from hearsight.stack import valkey
from hearsight.stack.ports import free_port
from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import TERMINAL, TaskKind, queue_of
from hearsight_core.settings import CoreSettings
from hearsight_core.store import listing, submission
from hearsight_core.store.database import Database
from tests.servers import download_worker
from tests.servers.download_worker import FORBIDDEN
from tests.store import EN, request

JOBS = 3
LIMIT_S = 120


def _accepted(database: Database, settings: CoreSettings) -> list[int]:
    """Jobs that are hinted to whichever worker comes."""
    jobs = [submission.accept(database, request(FORBIDDEN), EN).job.id for _ in range(JOBS)]
    HintSender(celery_app(settings), database, settings).top_up(queue_of(TaskKind.DOWNLOAD))
    return jobs


def _await_end(database: Database, jobs: list[int], log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not all(listing.get(database, job).status in TERMINAL for job in jobs):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_a_result_that_cannot_be_stored_costs_no_slot(
    database: Database, database_url: str, broker_url: str, storage_url: str, tmp_path: Path
) -> None:
    settings = CoreSettings(
        database_url=database_url,
        broker_url=broker_url,
        redis_url=f"redis://127.0.0.1:{free_port()}/1",
        storage_url=storage_url,
    )
    jobs, log = _accepted(database, settings), tmp_path / "worker.log"
    with download_worker.running(settings, log):
        _await_end(database, jobs, log)


def test_a_worker_outlives_a_redis_that_is_full(
    database: Database, database_url: str, storage_url: str, tmp_path: Path
) -> None:
    with valkey.running(tmp_path) as url, redis.Redis.from_url(url) as server:
        settings = CoreSettings(
            database_url=database_url,
            broker_url=f"{url}/0",
            redis_url=f"{url}/1",
            storage_url=storage_url,
        )
        jobs, log = _accepted(database, settings), tmp_path / "worker.log"
        server.config_set("maxmemory", 1)
        with download_worker.running(settings, log) as worker:
            deadline = time.monotonic() + LIMIT_S
            while "'maxmemory'" not in log.read_text():
                assert worker.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            server.config_set("maxmemory", 0)
            _await_end(database, jobs, log)
