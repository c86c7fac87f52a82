"""A download worker that does nothing with its tasks but note when it held them.

Claim, heartbeat, outcome, hints and news are a worker's own; Celery feeds it. The file in
LOAD_HELD gets a line for each task: task, worker, beginning and end in nanoseconds of one clock.
"""

import os
import sys
import time
from pathlib import Path

from hearsight_core.contract import TaskKind, queue_of
from hearsight_core.lease import Lease
from hearsight_core.settings import WorkerSettings
from hearsight_core.worker_process import Context, configure_logs, serve


def main() -> int:
    """Works until told to end; returns the exit code."""
    settings = WorkerSettings()
    configure_logs(settings)
    held = Path(os.environ["LOAD_HELD"])

    def work(lease: Lease, context: Context) -> None:
        begun = time.monotonic_ns()
        lease.check()
        with held.open("a", encoding="ascii") as file:
            line = f"{lease.task.id} {context.worker.id} {begun} {time.monotonic_ns()}\n"
            file.write(line)

    return serve(
        queue_of(TaskKind.DOWNLOAD), settings, slots=settings.worker_concurrency or 4, work=work
    )


if __name__ == "__main__":
    sys.exit(main())
