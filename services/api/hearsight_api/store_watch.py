"""Whether the stores answer this process, told as metrics: one thread that asks now and then."""

import shutil
import threading
from collections.abc import Callable

import structlog

from hearsight_core.broker import HintSender
from hearsight_core.errors import StorageError
from hearsight_core.progress import News
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import health, migrate
from hearsight_core.store.database import Database
from hearsight_core.telemetry.metrics import (
    SCHEMA_BEHIND,
    STORAGE_FREE_BYTES,
    STORAGE_SIZE_BYTES,
    STORE_UP,
)

log = structlog.get_logger(__name__)

EVERY_S = 15.0
CLOSE_S = 2.0
"""How long a question in the air may hold up the end of the process."""


class StoreWatch:
    """Asks each store for a sign of life."""

    def __init__(
        self, *, database: Database, news: News, hints: HintSender, storage: ObjectStorage
    ) -> None:
        self._database = database
        self._news = news
        self._hints = hints
        self._storage = storage
        self._up: dict[str, bool] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while True:
            self._ask("postgresql", self._postgresql)
            self._ask("redis", self._redis)
            self._ask("objects", self._objects)
            if self._ended.wait(EVERY_S):
                return

    def _ask(self, store: str, question: Callable[[], None]) -> None:
        """Tells whether the store answers; the log, only when that changes."""
        was_up = self._up.get(store, True)
        try:
            question()
        except StorageError as error:
            up = False
            if was_up and not self._ended.is_set():
                log.warning("a store is away", store=store, error=str(error))
        except Exception:
            # The thread must outlive whatever a store answers; it is told, and asked again.
            up = False
            log.exception("a store answered what nobody foresaw", store=store)
        else:
            up = True
            if not was_up:
                log.info("a store is back", store=store)
        self._up[store] = up
        STORE_UP.labels(store=store).set(up)

    def _postgresql(self) -> None:
        SCHEMA_BEHIND.set(migrate.is_behind(health.revision(self._database)))

    def _redis(self) -> None:
        """Both databases, which may be on different servers."""
        self._news.ping()
        self._hints.ping()

    def _objects(self) -> None:
        self._storage.ping()
        if self._storage.folder is not None:
            room = shutil.disk_usage(self._storage.folder)
            STORAGE_FREE_BYTES.set(room.free)
            STORAGE_SIZE_BYTES.set(room.total)
