"""Removes objects that nobody needs any more, once for the whole deployment.

A thread of its own in every API process: the object store may be slow or away, and the dispatcher
must not wait for it. An advisory lock lets one process at a time do a step.
"""

import threading
import time
from collections.abc import Iterator, Sequence

import structlog

from hearsight_core.errors import HearSightError, ObjectStoreError
from hearsight_core.progress import News
from hearsight_core.storage import (
    ObjectStorage,
    Stat,
    job_prefix,
    jobs_prefix,
    parts_prefix,
    upload_prefix,
)
from hearsight_core.store import control, retention
from hearsight_core.store.database import Database
from hearsight_core.store.leadership import HOUSEKEEPER_LOCK, leading
from hearsight_core.store.orphans import orphans
from hearsight_core.telemetry.metrics import EXPIRED

log = structlog.get_logger(__name__)

STEP_EVERY_S = 1.0

DAY_S = 24 * 3600.0

BATCH = 50
"""Jobs that lose something in one step: what follows, and how long locks are held, stays small."""


class Housekeeper:
    """What goes: deleted jobs with all they have, and orphans older than `orphan_age_s` seconds.

    Jobs are deleted, and their media removed, `job_age_s` and `media_age_s` seconds after their
    end; 0: never.

    Orphans are uploads that were never accepted, what attempts stored that lost their lease before
    it was pointed at, and what killed processes left half-written in a folder. All objects are gone
    through every `sweep_every_s`, a page a step.
    """

    def __init__(
        self,
        *,
        database: Database,
        news: News,
        storage: ObjectStorage,
        orphan_age_s: float,
        sweep_every_s: float,
        job_age_s: float = 0,
        media_age_s: float = 0,
    ) -> None:
        self._database = database
        self._news = news
        self._storage = storage
        self._orphan_age_s = orphan_age_s
        self._sweep_every_s = sweep_every_s
        self._job_age_s = job_age_s
        self._media_age_s = media_age_s
        self._pages: Iterator[Sequence[Stat]] | None = None
        self._sweep_due = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End after the step in work."""
        self._ended.set()
        self._thread.join()

    def alive(self) -> bool:
        """Tells whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.wait(STEP_EVERY_S):
            try:
                with leading(self._database, HOUSEKEEPER_LOCK) as leadership:
                    if leadership is not None:
                        self.expire()
                        self.remove_deleted()
                        self.sweep()
            except HearSightError as error:
                self._pages = None
                log.warning("housekeeping was cut short", error=str(error))
            except Exception:
                # The loop must outlive whatever one step met; it is told, and tried again.
                log.exception("housekeeping met something nobody foresaw")

    def expire(self) -> None:
        """Deletes the next jobs, and removes the next media, whose time is over.

        What a crash leaves behind the pointer is an orphan, and goes with the sweep.

        Raises:
            DatabaseError: PostgreSQL is away.
        """
        if self._job_age_s:
            old = retention.expire_jobs(self._database, age_s=self._job_age_s, limit=BATCH)
            EXPIRED.labels(what="job").inc(len(old))
            for job_id in old:
                log.info("a job was kept long enough", job_id=job_id)
                self._news.forget(job_id)
        if self._media_age_s:
            for job_id, key in retention.expire_media(
                self._database, age_s=self._media_age_s, limit=BATCH
            ):
                EXPIRED.labels(what="media").inc()
                log.info("a job's media was kept long enough", job_id=job_id)
                try:
                    if key is not None:
                        self._storage.delete(key)
                    self._storage.delete_prefix(parts_prefix(job_id))
                except ObjectStoreError as error:
                    log.warning("media is left to the sweep", job_id=job_id, error=str(error))

    def remove_deleted(self) -> None:
        """Removes the objects, then the rows, of deleted jobs that nobody works on any more."""
        for job_id, media_key in control.purgeable(self._database):
            try:
                if media_key is not None:
                    self._storage.delete(media_key)
                self._storage.delete_prefix(job_prefix(job_id))
            except ObjectStoreError as error:
                log.warning("a deleted job's objects stay for now", job_id=job_id, error=str(error))
                continue
            control.purge(self._database, job_id)
            self._news.forget(job_id)

    def sweep(self) -> None:
        """Looks at the next page of objects, and removes the orphans on it.

        Raises:
            ObjectStoreError: the store does not answer; the sweep begins anew when it is due.
            DatabaseError: PostgreSQL is away.
        """
        if self._pages is None:
            if time.monotonic() < self._sweep_due:
                return
            self._sweep_due = time.monotonic() + self._sweep_every_s
            self._pages = self._all_pages()
        page = next(self._pages, None)
        if page is None:
            self._pages = None
            return
        old = [found.key for found in page if found.age_s > self._orphan_age_s]
        unneeded = orphans(self._database, old) if old else []
        if unneeded:
            self._storage.delete_all(unneeded)
            log.info("orphaned objects were removed", count=len(unneeded), first=unneeded[0])

    def _all_pages(self) -> Iterator[Sequence[Stat]]:
        removed = self._storage.remove_unfinished(older_than_s=self._orphan_age_s)
        if removed:
            log.info("unfinished objects were removed", count=removed)
        yield from self._storage.pages(upload_prefix())
        yield from self._storage.pages(jobs_prefix())
