"""A real download worker with one slot: `with download_worker.running(settings, log)`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hearsight_core.settings import CoreSettings

STOP_S = 120
"""How long it may take to end after SIGTERM."""

FORBIDDEN = "http://127.0.0.1:1/talk.mp3"
"""An address that fails its job at once."""


@contextmanager
def running(settings: CoreSettings, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The worker, for the length of the block; it has to end well when it is told to."""
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "hearsight_download_worker"],
            env={
                **os.environ,
                "HEARSIGHT_DATABASE_URL": settings.database_url,
                "HEARSIGHT_BROKER_URL": settings.broker_url,
                "HEARSIGHT_REDIS_URL": settings.redis_url,
                "HEARSIGHT_STORAGE_URL": settings.storage_url,
                "CELERY_WORKER_CONCURRENCY": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield worker
        worker.terminate()
        assert worker.wait(STOP_S) == 0
    finally:
        worker.kill()
        worker.wait()
