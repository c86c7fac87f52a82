"""How a download goes, told as it goes."""

import time

from hearsight_core.contract import Stage
from hearsight_core.jobs import Job, progress_of
from hearsight_core.lease import Lease
from hearsight_core.messages import render
from hearsight_core.store import work
from hearsight_core.worker_process import Context
from hearsight_download_worker.fetch import FetchProgress

NEWS_EVERY_S = 0.25
STORE_EVERY_S = 5.0
"""Pauses between two pieces of news, and between two writes of progress to the database."""
STORE_WITH_PARTS_EVERY_S = 1.0
"""The same, once parts are recognised meanwhile: their segments make newer versions of the job, and
news of an older one counts for nothing."""


class DownloadNews:
    """Tells how a download goes: often on Redis, now and then in the database.

    The overall percentage comes from the database alone, so that it never goes back, whatever
    happens to this attempt or to Redis.
    """

    def __init__(self, lease: Lease, context: Context) -> None:
        self._lease = lease
        self._context = context
        self._job: Job = lease.job
        self._percent = 0.0
        self._news_due = 0.0
        self._store_due = 0.0

    def __call__(self, progress: FetchProgress) -> None:
        """Tells of it, if it is time to."""
        now = time.monotonic()
        if now < self._news_due:
            return
        self._news_due = now + NEWS_EVERY_S
        if progress.percent is not None:
            self._percent = max(self._percent, round(progress.percent, 1))
        worker = self._context.worker
        if now >= self._store_due:
            self._job = work.report(
                worker.database,
                self._lease.task,
                Stage.DOWNLOAD,
                self._percent,
                render("progress.download", worker.language),
            )
            self._lease.saw(self._job)
            has_parts = self._job.speech_ms > 0
            self._store_due = now + (STORE_WITH_PARTS_EVERY_S if has_parts else STORE_EVERY_S)
        worker.news.publish(
            progress_of(self._job).model_copy(
                update={
                    "progress_percent": self._percent,
                    "filename": progress.filename or self._job.filename,
                    "current_bytes": progress.current_bytes,
                    "total_bytes": progress.total_bytes,
                    "speed": progress.speed,
                    "eta_seconds": progress.eta_seconds,
                }
            )
        )
