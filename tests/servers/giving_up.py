"""A worker that claims two tasks and ends itself: `python -m tests.servers.giving_up HOW ID ID`.

How: `hang`, so that its watchdog ends it; `hang holding the lock`, Python's own, so that no thread
can run; `device`, which fails. The stores are those of the environment.
"""

import ctypes
import sys
import threading
import time

from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint, TaskKind, queue_of
from hearsight_core.errors import DeviceFailedError
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.settings import WorkerSettings
from hearsight_core.store.database import Database
from hearsight_core.watchdog import Watchdog
from hearsight_core.worker import Worker

LIMIT_S = 1.0
LONG_S = 600


def main(how: str, *task_ids: str) -> int:
    """Never comes back."""
    settings = WorkerSettings()
    database = Database(settings.database_url, pool_size=4, application="giving-up")
    worker = Worker(
        queue=queue_of(TaskKind.DOWNLOAD),
        slots=len(task_ids),
        settings=settings,
        database=database,
        news=News(settings.redis_url),
        hints=HintSender(celery_app(settings), database, settings),
    )
    worker.start()
    begun = time.monotonic()
    all_at_work = threading.Barrier(len(task_ids))
    Watchdog(lambda: time.monotonic() - begun, LIMIT_S).start(worker.abandon)

    def work(_: Lease) -> None:
        all_at_work.wait()
        if how == "device":
            worker.abandon(DeviceFailedError(detail="an illegal memory access"))
        # PyDLL's functions are called with Python's lock held, CDLL's without.
        (ctypes.PyDLL if how == "hang holding the lock" else ctypes.CDLL)(None).sleep(LONG_S)

    for task_id in task_ids:
        threading.Thread(
            target=worker.run, args=(Hint(task_id=task_id, attempt=0), work), daemon=True
        ).start()
    time.sleep(LONG_S)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
