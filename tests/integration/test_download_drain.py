"""What a download worker that ends has finished is kept; only a download in flight starts over."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint, JobStatus, Stage
from hearsight_core.progress import News
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import listing, submission
from hearsight_core.store.database import Database
from hearsight_core.worker import Worker
from hearsight_core.worker_process import Context
from hearsight_download_worker.tasks import Downloader
from tests.servers.media import MediaServer, media_server
from tests.store import ASR, DOWNLOAD, EN, queued, request, rows, states


class Noticing(ObjectStorage):
    """The real store; it says when a file has been stored."""

    stored: Callable[[], object] = staticmethod(lambda: None)

    def put_file(self, key: str, path: Path) -> None:
        """Stores it, and says so."""
        super().put_file(key, path)
        self.stored()


@pytest.fixture
def noticing(storage_url: str) -> Noticing:
    opened = Noticing.from_settings(DownloadSettings(storage_url=storage_url))
    assert isinstance(opened, Noticing)
    return opened


@pytest.fixture
def media() -> Iterator[MediaServer]:
    with media_server() as server:
        yield server


Make = Callable[[], Worker]


@pytest.fixture
def settings(
    broker_url: str, redis_url: str, media: MediaServer, tmp_path: Path
) -> DownloadSettings:
    return DownloadSettings(
        broker_url=broker_url,
        redis_url=redis_url,
        heartbeat_s=0.1,
        scratch_dir=tmp_path / "scratch",
        HEARSIGHT_DOWNLOAD_ALLOW_HOSTS=media.authority,
    )


@pytest.fixture
def make(database: Database, news: News, settings: DownloadSettings) -> Iterator[Make]:
    """Makes download workers that have signed on, and ends them."""
    made: list[Worker] = []

    def worker() -> Worker:
        hints = HintSender(celery_app(settings), database, settings)
        made.append(
            Worker(
                queue=DOWNLOAD,
                slots=1,
                settings=settings,
                database=database,
                news=news,
                hints=hints,
            )
        )
        made[-1].start()
        return made[-1]

    yield worker
    for one in made:
        one.close()


Run = Callable[[Worker, Hint], object]


@pytest.fixture
def run(settings: DownloadSettings, noticing: Noticing) -> Iterator[Run]:
    """Has a worker download what a hint names; returns how that ended."""
    download = Downloader(settings)

    def done(worker: Worker, hint: Hint) -> object:
        context = Context(worker=worker, storage=noticing)
        outcome = worker.run(hint, lambda lease: download(lease, context))
        assert outcome is not None
        return outcome["outcome"]

    yield done
    download.close()


def test_media_that_is_stored_when_the_drain_comes_is_not_fetched_again(
    database: Database, media: MediaServer, noticing: Noticing, make: Make, run: Run
) -> None:
    made = submission.accept(database, request(media.url("/plain/speech.mp3")), EN)
    first = make()
    noticing.stored = first.drain
    assert run(first, Hint(task_id=made.task_id, attempt=0)) == "given_back"
    assert listing.get(database, made.job.id).media_key is not None
    assert states(database, made.job.id) == ["waiting"]
    asked = len(media.requests)
    assert run(make(), Hint(task_id=made.task_id, attempt=1)) == "done"
    assert len(media.requests) == asked
    assert queued(database, ASR)


def test_a_download_in_flight_starts_over_and_is_no_failure(
    database: Database, media: MediaServer, make: Make, run: Run
) -> None:
    made = submission.accept(database, request(media.url("/slow/speech.mp3?rate=60000")), EN)
    first = make()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, first, Hint(task_id=made.task_id, attempt=0))
        while listing.get(database, made.job.id).stage is not Stage.DOWNLOAD:
            assert not running.done()
            time.sleep(0.02)
        first.drain()
        assert running.result(60) == "given_back"
    job = listing.get(database, made.job.id)
    assert (job.status, job.media_key) == (JobStatus.PROCESSING, None)
    [task] = rows(database, "SELECT state, failures FROM tasks")
    assert task == {"state": "waiting", "failures": 0}
    assert run(make(), Hint(task_id=made.task_id, attempt=1)) == "done"
