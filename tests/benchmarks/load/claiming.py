"""200 tasks a second are claimed by real workers, and never do two hold one task.

Hints are sent twice, so that workers race for the same tasks.
"""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from redis import Redis

from tests.benchmarks.goals import Goal, at_least, exactly
from tests.benchmarks.stand import Stand, Used
from tests.store import DOWNLOAD, fill

WANTED = 200
TASKS = 4000
WORKERS = 2
SLOTS = 4
PATIENCE_S = 600.0


class _Doubler:
    """Sends every hint that it sees in the queue once more, as it stands there."""

    def __init__(self, stand: Stand) -> None:
        self._redis = Redis.from_url(stand.environment["HEARSIGHT_BROKER_URL"])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doubler")
        self.doubled: set[bytes | str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._redis.close()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            seen = set(self._redis.lrange(DOWNLOAD, 0, -1)) - self.doubled
            if seen:
                self._redis.lpush(DOWNLOAD, *seen)
                self.doubled |= seen


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
