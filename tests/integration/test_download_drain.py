"""What a download worker that ends has finished is kept; only a download in flight starts over."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hearsight_core.contract import JobStatus, Stage
from hearsight_core.progress import News
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import listing, submission
from hearsight_core.store.database import Database
from tests.downloading import Downloading, download_workers
from tests.servers.media import MediaServer
from tests.store import ASR, EN, queued, request, rows, states


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
def downloads(
    download_settings: DownloadSettings, database: Database, news: News, noticing: Noticing
) -> Iterator[Downloading]:
    with download_workers(download_settings, database, news, noticing) as made:
        yield made


def test_media_that_is_stored_when_the_drain_comes_is_not_fetched_again(
    database: Database, media: MediaServer, noticing: Noticing, downloads: Downloading
) -> None:
    made = submission.accept(database, request(media.url("/plain/speech.mp3")), EN)
    first = downloads.worker()
    noticing.stored = first.drain
    assert downloads.run(first, made.task_id, attempt=0) == "given_back"
    assert listing.get(database, made.job.id).media_key is not None
    assert states(database, made.job.id) == ["waiting"]
    asked = len(media.requests)
    assert downloads.run(downloads.worker(), made.task_id, attempt=1) == "done"
    assert len(media.requests) == asked
    assert queued(database, ASR)


def test_a_download_in_flight_starts_over_and_is_no_failure(
    database: Database, media: MediaServer, downloads: Downloading
) -> None:
    made = submission.accept(database, request(media.url("/slow/speech.mp3?rate=60000")), EN)
    first = downloads.worker()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(downloads.run, first, made.task_id, attempt=0)
        while listing.get(database, made.job.id).stage is not Stage.DOWNLOAD:
            assert not running.done()
            time.sleep(0.02)
        first.drain()
        assert running.result(60) == "given_back"
    job = listing.get(database, made.job.id)
    assert (job.status, job.media_key) == (JobStatus.PROCESSING, None)
    [task] = rows(database, "SELECT state, failures FROM tasks")
    assert task == {"state": "waiting", "failures": 0}
    assert downloads.run(downloads.worker(), made.task_id, attempt=1) == "done"
