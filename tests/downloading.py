"""Download workers in the test's own process, each attempt of which can be followed and drained."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint
from hearsight_core.progress import News
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store.database import Database
from hearsight_core.worker import Worker
from hearsight_core.worker_process import Context
from hearsight_download_worker.tasks import Downloader
from tests.servers.media import MediaServer
from tests.store import DOWNLOAD


def settings_for(media: MediaServer, folder: Path, **more: object) -> DownloadSettings:
    """Settings of workers that may fetch from a media server, and use a folder of the test's."""
    return DownloadSettings.model_validate(
        {
            "heartbeat_s": 0.1,
            "scratch_dir": folder / "scratch",
            "HEARSIGHT_DOWNLOAD_ALLOW_HOSTS": media.authority,
            **more,
        }
    )


class Downloading:
    """Makes download workers that have signed on, and has them download."""

    def __init__(
        self, settings: DownloadSettings, database: Database, news: News, storage: ObjectStorage
    ) -> None:
        self._settings = settings
        self._database = database
        self._news = news
        self._storage = storage
        self._download = Downloader(settings)
        self.made: list[Worker] = []

    def worker(self) -> Worker:
        """Another one."""
        hints = HintSender(celery_app(self._settings), self._database, self._settings)
        worker = Worker(
            queue=DOWNLOAD,
            slots=1,
            settings=self._settings,
            database=self._database,
            news=self._news,
            hints=hints,
        )
        self.made.append(worker)
        worker.start()
        return worker

    def run(
        self, worker: Worker, task_id: str, *, attempt: int, storage: ObjectStorage | None = None
    ) -> object:
        """Has a worker download what a task asks for; returns how that ended.

        Args:
            worker: One of those made here.
            task_id: The task.
            attempt: How often it was tried before.
            storage: Where it stores, if not where all others do.
        """
        context = Context(worker=worker, storage=storage or self._storage)
        hint = Hint(task_id=task_id, attempt=attempt)
        outcome = worker.run(hint, lambda lease: self._download(lease, context))
        assert outcome is not None
        return outcome["outcome"]

    def close(self) -> None:
        """Ends them."""
        for worker in self.made:
            worker.close()
        self._download.close()


@contextmanager
def download_workers(
    settings: DownloadSettings, database: Database, news: News, storage: ObjectStorage
) -> Iterator[Downloading]:
    """Download workers that end with the block."""
    made = Downloading(settings, database, news, storage)
    try:
        yield made
    finally:
        made.close()
