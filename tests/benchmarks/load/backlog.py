"""With 100,000 jobs waiting, nothing costs more than twice of what it costs with 100.

What is timed is what the API, the dispatcher and a worker call in the store, and the requests
themselves: each many times, in turns with 100 and with 100,000 jobs, and the lower quartiles
compared: what a busy machine adds by chance is in the upper ones.
"""

import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from hearsight_core.errors import QueuedJobsError
from hearsight_core.keys import Quota
from hearsight_core.store import counts, hints, leases, listing, outcomes, quotas
from hearsight_core.store.database import Database
from tests.benchmarks.goals import Goal, at_most
from tests.benchmarks.load.traffic import request, send
from tests.benchmarks.stand import NOWHERE, Stand
from tests.store import DOWNLOAD, EN, accepted, fill, rows

FEW, MANY = 100, 100_000
OWNERS = [f"owner-{n}" for n in range(20)]
TIMES = 60
ROUNDS = 3
MOST = 2.0
USUAL = Quota(queued_jobs=1000, audio_minutes_per_day=0)


def _hinted(database: Database) -> None:
    """Two hints, taken back at once: so that each finds the queue as the one before did."""
    due = hints.take_due(database, DOWNLOAD, in_flight_max=2, resend_s=3600)
    assert len(due) == 2
    rows(
        database,
        "UPDATE tasks SET hinted_at = NULL WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING 1",
        ids=[one.hint.task_id for one in due],
    )


def _quota_checked(database: Database) -> None:
    with suppress(QueuedJobsError):
        quotas.check(database, OWNERS[3], USUAL)


def _claimed(database: Database) -> None:
    """A task claimed and given back."""
    [due] = hints.take_due(database, DOWNLOAD, in_flight_max=1, resend_s=3600)
    claim = leases.claim(database, due.hint, owner="benchmark", lease_s=60)
    assert claim is not None
    outcomes.let_go(database, claim.task, EN)


def _calls(database: Database) -> dict[str, Callable[[], object]]:
    return {
        "list (store)": partial(listing.newest, database, limit=51),
        "list an owner's (store)": partial(listing.newest, database, limit=51, owner=OWNERS[7]),
        "submit (store)": partial(accepted, database, owner=OWNERS[3]),
        "an owner's quota": partial(_quota_checked, database),
        "queues that tasks wait in": partial(hints.queues, database),
        "next hints": partial(_hinted, database),
        "next hint, claim, give back": partial(_claimed, database),
    }


def _filled(stand: Stand, jobs: int) -> None:
    stand.empty()
    for start in range(0, jobs, 20_000):
        fill(stand.database, min(20_000, jobs - start), owners=OWNERS)
    # What PostgreSQL does by itself within minutes; until then it would be at it while we look.
    with stand.database.connect() as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _quartile_ms(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.quantiles(taken)[0] * 1000


def _requests(urls: list[str]) -> dict[str, float]:
    """Milliseconds of the API's answers, one at a time."""
    body = json.dumps({"url": NOWHERE}).encode()
    asked = {
        "GET /api/jobs": request("GET", "/api/jobs"),
        "POST /api/tasks/process": request("POST", "/api/tasks/process", body=body),
    }
    found = {}
    for name, wanted in asked.items():
        left = iter([wanted] * TIMES)
        heard = send(urls, lambda left=left: next(left, None), connections=1)  # type: ignore[misc]
        assert all(status < 300 for status in heard.statuses), heard.statuses
        found[name] = statistics.quantiles(heard.waits_s)[0] * 1000
    return found


def measure(stand: Stand) -> list[Goal]:
    """Fills, times, empties, and so on in turns."""
    found: dict[int, dict[str, list[float]]] = {FEW: {}, MANY: {}}
    for _ in range(ROUNDS):
        for jobs, told in found.items():
            _filled(stand, jobs)
            for name, call in _calls(stand.database).items():
                told.setdefault(name, []).append(_quartile_ms(call))
            with stand.apis() as [server]:
                for name, taken in _requests([server.url]).items():
                    told.setdefault(name, []).append(taken)
    goals = []
    for name, few in found[FEW].items():
        less, more = min(few), min(found[MANY][name])
        goals.append(
            at_most(
                f"{name}: {MANY:,} waiting against {FEW}",
                MOST,
                more / less,
                "times",
                remark=f" ({less:.2f} ms, {more:.2f} ms)",
            )
        )
    _filled(stand, MANY)
    began = time.perf_counter()
    counts.loads(stand.database)
    # For people who look at the table; it is asked every 5 s and by nobody who waits.
    goals.append(
        Goal(
            f"load of all queues with {MANY:,} waiting",
            "told",
            f"{(time.perf_counter() - began) * 1000:.0f} ms",
            missed=False,
        )
    )
    stand.empty()
    return goals
