"""What several kinds of integration tests need on top of the servers."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Protocol, TypeVar

import httpx
import pytest

from hearsight_core.broker import HintSender, celery_app
from hearsight_core.progress import News
from hearsight_core.settings import AsrSettings, CoreSettings, DownloadSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store.database import Database
from hearsight_core.top_ups import TopUps
from hearsight_core.worker import Worker
from tests.chaos.places import Bucket, bucket
from tests.conftest import TEMPLATE, PostgresServer
from tests.downloading import settings_for
from tests.servers import api
from tests.servers.api import Served
from tests.servers.media import MediaServer, media_server
from tests.store import ASR

MakeWorker = Callable[[], Worker]

T = TypeVar("T")


class Together(Protocol):
    """Calls functions at the same moment, each in a thread, and returns what they returned."""

    def __call__(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Waits for all of them; the first exception is raised here."""


@pytest.fixture
def together() -> Together:
    def run(calls: Sequence[Callable[[], T]]) -> list[T]:
        start = Barrier(len(calls))

        def at_once(call: Callable[[], T]) -> T:
            start.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(at_once, calls))

    return run


@pytest.fixture
def media() -> Iterator[MediaServer]:
    with media_server() as server:
        yield server


@pytest.fixture
def download_settings(
    broker_url: str, redis_url: str, media: MediaServer, tmp_path: Path
) -> DownloadSettings:
    """Those of a download worker that may fetch from `media`, and tries again at once."""
    return settings_for(
        media, tmp_path, broker_url=broker_url, redis_url=redis_url, retry_backoff_s=0
    )


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """An S3 store behind a proxy that fails as it is told."""
    with bucket(tmp_path_factory.mktemp("bucket")) as up:
        yield up


@pytest.fixture
def through(failing: Bucket) -> Iterator[ObjectStorage]:
    """The failing store, through its proxy."""
    yield failing.opened(through_proxy=True)
    failing.heal()


@pytest.fixture(scope="session")
def served(
    postgres_server: PostgresServer, valkey_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One API for all the tests that need no settings of their own, on stores nobody else uses."""
    postgres_server.run(f"CREATE DATABASE served TEMPLATE {TEMPLATE}")
    folder = tmp_path_factory.mktemp("served")
    env = {
        "HEARSIGHT_DATABASE_URL": postgres_server.database_url("served"),
        "HEARSIGHT_BROKER_URL": f"{valkey_server}/2",
        "HEARSIGHT_REDIS_URL": f"{valkey_server}/3",
        "HEARSIGHT_STORAGE_URL": (folder / "media").as_uri(),
    }
    database = Database(env["HEARSIGHT_DATABASE_URL"], pool_size=4, application="hearsight-test")
    news = News(env["HEARSIGHT_REDIS_URL"])
    storage = ObjectStorage.from_settings(CoreSettings(storage_url=env["HEARSIGHT_STORAGE_URL"]))
    try:
        with api.running(folder / "api.log", env) as server:
            yield Served(api=server, env=env, database=database, news=news, storage=storage)
    finally:
        news.close()
        database.close()


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """A client of the API."""
    with served.api.client() as client:
        yield client


@pytest.fixture
def asr_worker(
    database: Database, news: News, broker_url: str, redis_url: str
) -> Iterator[MakeWorker]:
    """Makes ASR workers that have signed on, and ends them."""
    made: list[Worker] = []
    settings = AsrSettings(broker_url=broker_url, redis_url=redis_url, heartbeat_s=0.1)

    def worker() -> Worker:
        hints = HintSender(celery_app(settings), database, settings)
        made.append(
            Worker(queue=ASR, slots=2, settings=settings, database=database, news=news, hints=hints)
        )
        made[-1].start()
        return made[-1]

    yield worker
    for one in made:
        one.close()


@pytest.fixture
def top_ups(
    database: Database, database_url: str, broker_url: str, redis_url: str
) -> Iterator[TopUps]:
    """What sends hints of tasks that wait, at work."""
    settings = CoreSettings(database_url=database_url, broker_url=broker_url, redis_url=redis_url)
    one = TopUps(HintSender(celery_app(settings), database, settings))
    one.start()
    yield one
    one.close()
