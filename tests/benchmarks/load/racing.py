"""Claims as the store makes them: processes race for the same hints, and finish what they got."""

import multiprocessing
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from hearsight_core.contract import Hint
from hearsight_core.store import leases, outcomes
from hearsight_core.store.database import Database
from tests.benchmarks.goals import Goal, at_least, exactly
from tests.benchmarks.stand import Stand, Used
from tests.store import EN, fill, rows

WANTED = 200
TASKS = 4000
PROCESSES = 2
THREADS = 4
PATIENCE_S = 300.0


@dataclass(frozen=True)
class _Got:
    """The tasks that a process has claimed, and when it was at it, in seconds of one clock."""

    tasks: list[str]
    began: float
    ended: float


def _race(url: str, ids: list[str], ready: Barrier, told: "Queue[_Got]") -> None:
    """Claims whatever of these tasks is still to be had, with some threads at once."""
    database = Database(url, pool_size=THREADS, application="racing")

    def claimed(task_id: str) -> bool:
        hint = Hint(task_id=task_id, attempt=0)
        claim = leases.claim(database, hint, owner="racer", lease_s=60)
        if claim is None:
            return False
        outcomes.finish(database, claim.task, EN)
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        ready.wait(PATIENCE_S)
        began = time.monotonic()
        got = list(pool.map(claimed, ids))
        ended = time.monotonic()
    told.put(_Got([task for task, own in zip(ids, got, strict=True) if own], began, ended))
    ready.wait(PATIENCE_S)  # until it is known what this has cost PostgreSQL
    database.close()


def measure(stand: Stand) -> list[Goal]:
    """Gives every hint to every process."""
    fill(stand.database, TASKS)
    ids = [str(row["id"]) for row in rows(stand.database, "SELECT id FROM tasks ORDER BY rank_at")]
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(PROCESSES + 1), context.Queue()
    url = stand.environment["HEARSIGHT_DATABASE_URL"]
    racers = [context.Process(target=_race, args=(url, ids, ready, told)) for _ in range(PROCESSES)]
    for racer in racers:
        racer.start()
    ready.wait(PATIENCE_S)
    used = Used([])
    got: list[_Got] = [told.get(timeout=PATIENCE_S) for _ in racers]
    cost = used.told(TASKS)
    ready.wait(PATIENCE_S)
    for racer in racers:
        racer.join(PATIENCE_S)
    stand.empty()
    times = Counter(task for one in got for task in one.tasks)
    seconds = max(one.ended for one in got) - min(one.began for one in got)
    return [
        at_least(
            f"claims by {PROCESSES} processes of {THREADS} threads, each finished",
            WANTED,
            times.total() / seconds,
            "a second",
            remark=f"; {cost}",
        ),
        exactly(
            "tasks claimed exactly once",
            TASKS,
            sum(count == 1 for count in times.values()),
            "tasks",
            remark=f", by process {', '.join(f'{len(one.tasks):,}' for one in got)}",
        ),
    ]
