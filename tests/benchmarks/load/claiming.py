"""200 tasks a second are claimed by real workers, and never do two hold one task.

Hints are sent twice, so that workers race for the same tasks.
"""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint
from hearsight_core.settings import CoreSettings
from hearsight_core.store.database import Database
from hearsight_core.store.hints import Due
from tests.benchmarks.goals import Goal, at_least, exactly
from tests.benchmarks.stand import Stand, Used
from tests.store import DOWNLOAD, fill, rows

WANTED = 200
TASKS = 4000
WORKERS = 2
SLOTS = 4
PATIENCE_S = 600.0


class _Doubler:
    """Sends every hint that it sees in flight once more."""

    def __init__(self, stand: Stand) -> None:
        environment = stand.environment
        settings = CoreSettings(
            database_url=environment["HEARSIGHT_DATABASE_URL"],
            broker_url=environment["HEARSIGHT_BROKER_URL"],
            redis_url=environment["HEARSIGHT_REDIS_URL"],
        )
        self._database: Database = stand.database
        self._sender = HintSender(celery_app(settings), stand.database, settings)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doubler")
        self.doubled: set[Hint] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            for row in rows(
                self._database,
                "SELECT id, attempt FROM tasks WHERE state = 'waiting' AND hinted_at IS NOT NULL",
            ):
                hint = Hint(task_id=str(row["id"]), attempt=int(str(row["attempt"])))
                if hint not in self.doubled:
                    self._sender.send(DOWNLOAD, Due(hint=hint, trace_parent=None))
                    self.doubled.add(hint)


def measure(stand: Stand) -> list[Goal]:
    """Lets the workers empty the queue."""
    held = stand.folder / "held"
    held.touch()
    settings = {
        "CELERY_WORKER_CONCURRENCY": str(SLOTS),
        "LOAD_HELD": str(held),
        "HEARSIGHT_HINTS_PER_SLOT": "8",
    }
    with (
        stand.apis() as servers,
        stand.workers(WORKERS, "tests.benchmarks.load.told_worker", **settings),
    ):
        used = Used(servers)
        with _Doubler(stand) as doubler:
            fill(stand.database, TASKS)
            _await(held)
        cost = used.told(TASKS)
    lines = [line.split() for line in held.read_text("ascii").splitlines()]
    times = Counter(line[0] for line in lines)
    begun = [int(line[2]) for line in lines]
    seconds = (max(begun) - min(begun)) / 1e9
    by_worker = Counter(line[1] for line in lines)
    stand.empty()
    return [
        at_least(
            f"claims by {WORKERS} workers of {SLOTS} slots",
            WANTED,
            len(lines) / seconds,
            "a second",
            remark=f"; {cost}",
        ),
        exactly(
            "tasks held by more than one worker",
            0,
            sum(count > 1 for count in times.values()),
            "tasks",
            remark=f", of {len(times):,}; {len(doubler.doubled):,} hints doubled; by worker"
            f" {', '.join(f'{count:,}' for count in by_worker.values())}",
        ),
    ]


def _await(held: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while held.read_bytes().count(b"\n") < TASKS:
        assert time.monotonic() < deadline, "the workers did not empty the queue"
        time.sleep(0.2)
